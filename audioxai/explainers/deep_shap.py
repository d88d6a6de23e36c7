"""DeepSHAP: differences from a baseline, carried back through the network by slopes instead of gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audioxai.classifier import AudioClassifier
from audioxai.explainers.activations import ELEMENTWISE, MAXIMA, Intercept
from audioxai.explainers.base import Score
from audioxai.explainers.baseline import WithBaseline
from audioxai.explainers.gradient import completeness_gap, differentiable

__all__ = ["DeepSHAP"]


class DeepSHAP(WithBaseline):
    """DeepLIFT's rescale rule, averaged over baselines. Source: Shrikumar et al. 2017; Lundberg and Lee 2017, 4.2.

    Ours rather than shap's or Captum's, and equal to theirs where they are right: networks on spectrograms whose
    activations are modules, each called once. Their hooks on modules miss functional activations and the front end's
    own logarithms, powers and magnitudes, and go wrong on a module that is called twice. Here every call is seen by
    itself: activations, logarithms, powers, roots, magnitudes, and maxima by shap's rule. Other operations, such as
    attention and layer norm, pass the gradient; :attr:`gap_` tells what that costs.

    Args:
        classifier: the wrapped network.
        **baseline: see :class:`audioxai.explainers.baseline.WithBaseline`.

    Attributes:
        gap_: (B,) how far the attributions miss the score's rise over the baseline, as a share of it; a warning is
            given above 5 %.
    """

    def __init__(self, classifier: AudioClassifier, **baseline: Any) -> None:
        super().__init__(classifier, **baseline)
        self.gap_: Tensor | None = None

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        starts = self._baselines(values, score)
        total = torch.zeros_like(values)
        pairs = torch.cartesian_prod(torch.arange(len(starts)), torch.arange(len(values))).to(values.device)
        score.name_predicted()
        for part in torch.split(pairs, max(1, self.max_batch // 2)):
            start, clip = starts[part[:, 0], part[:, 1]], part[:, 1]
            both = torch.cat([values[clip], start]).detach().requires_grad_()
            with differentiable(self.name):
                with Intercept((*ELEMENTWISE, *MAXIMA), _Rescale.apply):
                    explained = score(both, clip.repeat(2))
                (gradient,) = torch.autograd.grad(explained.sum(), both)
            total.index_add_(0, clip, gradient[: len(part)] * (values[clip] - start) / len(starts))
        self.gap_ = completeness_gap(
            self, values, starts, total, score, "the network holds operations without a rule, such as attention"
        )
        return total


class _Rescale(torch.autograd.Function):
    """A function of inputs and baselines (2R, ...) whose gradient is the slope between the two.

    Elementwise, that is (f(x) - f(x0)) / (x - x0), or the plain gradient where x and x0 agree. A maximum hands the
    difference to the cells where the maxima lie.
    """

    @staticmethod
    def forward(ctx: Any, call: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            result: Tensor = call(inner)
        ctx.inner, ctx.result = inner, result
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (gradient,) = gradients
        inner, result = ctx.inner, ctx.result
        x, x0 = inner.detach().chunk(2)
        y, y0 = result.detach().chunk(2)
        (plain,) = torch.autograd.grad(result, inner, gradient, retain_graph=True)
        close = (x - x0).abs() <= 1e-5 * (x.abs() + x0.abs())  # where the quotient would be rounding noise
        rise = torch.where(close, 1.0, x - x0)
        if result.shape == inner.shape:
            slope = (y - y0) / rise
            return None, torch.where(close.repeat(2, *[1] * (x.ndim - 1)), plain, gradient * torch.cat([slope, slope]))
        higher = torch.maximum(y, y0)
        (moved,) = torch.autograd.grad(result, inner, gradient * torch.cat([higher - y0, y - higher]))
        share = moved.chunk(2)[0] + moved.chunk(2)[1]
        slope = torch.where(close, 0.0, share / rise)
        return None, torch.cat([slope, slope])
