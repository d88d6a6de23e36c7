"""DeepSHAP: differences from a baseline, carried back through the network by slopes instead of gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from audioxai.errors import ClassifierError
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

    Clips and baselines go through the network in pairs, so that ``max_batch=1`` too means two rows.

    Attributes:
        gap_: (B,) how far the attributions of the last call's clips miss the score's rise over the baseline, as a share
            of it; a warning is given above 5 %.
    """

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        starts = self._baselines(values, score)
        total = torch.zeros_like(values)
        pairs = torch.cartesian_prod(torch.arange(len(starts)), torch.arange(len(values))).to(values.device)
        score.name_predicted()
        for part in torch.split(pairs, max(1, self.max_batch // 2)):
            start, clip = starts[part[:, 0], part[:, 1]], part[:, 1]
            both = torch.cat([values[clip], start]).detach().requires_grad_()
            with differentiable(self.name):
                with Intercept((*ELEMENTWISE, *MAXIMA), partial(_rescale, len(both))):
                    explained = score(both, clip.repeat(2))
                (gradient,) = torch.autograd.grad(explained.sum(), both)
            total.index_add_(0, clip, gradient[: len(part)] * (values[clip] - start) / len(starts))
        completeness_gap(
            self, values, starts, total, score, "the network holds operations without a rule, such as attention"
        )
        return total


def _rescale(rows: int, name: str, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A call whose gradient is the slope between inputs and baselines, which are ``rows`` in all."""
    result: Tensor = _Rescale.apply(call, x, rows, name in MAXIMA)  # type: ignore[no-untyped-call]
    return result


def _batch_axis(tensor: Tensor, rows: int) -> int:
    """The axis along which inputs come before baselines; the batch may have moved, or been joined with other axes."""
    shape = tensor.shape
    if shape[0] != rows and list(shape).count(rows) == 1:
        return list(shape).index(rows)
    if shape[0] % rows == 0:
        return 0
    raise ClassifierError(
        f"DeepSHAP cannot tell which axis of an activation of shape {tuple(shape)} holds the {rows} rows of the batch; "
        "keep the batch first, or use IntegratedGradients"
    )


class _Rescale(torch.autograd.Function):
    """A function of inputs and baselines whose gradient is the slope between the two.

    Elementwise, that is (f(x) - f(x0)) / (x - x0), or the plain gradient where x and x0 agree. A maximum hands the
    difference to the cells where the maxima lie.
    """

    @staticmethod
    def forward(ctx: Any, call: Any, x: Tensor, rows: int, maximum: bool) -> Tensor:
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            result: Tensor = call(inner)
        ctx.inner, ctx.result, ctx.maximum = inner, result, maximum
        ctx.axes = _batch_axis(inner, rows), _batch_axis(result, rows)
        return result.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, None, None]:
        (gradient,) = gradients
        inner, result, (axis, result_axis) = ctx.inner, ctx.result, ctx.axes
        x, x0 = inner.detach().chunk(2, axis)
        y, y0 = result.detach().chunk(2, result_axis)
        close = (x - x0).abs() <= 1e-5 * (x.abs() + x0.abs())  # where the quotient would be rounding noise
        rise = torch.where(close, 1.0, x - x0)
        if ctx.maximum:
            higher = torch.maximum(y, y0)
            moves = torch.cat([higher - y0, y - higher], result_axis)
            (moved,) = torch.autograd.grad(result, inner, gradient * moves)
            share = sum(moved.chunk(2, axis))
            slope = torch.where(close, 0.0, share / rise)
            return None, torch.cat([slope, slope], axis), None, None
        (plain,) = torch.autograd.grad(result, inner, gradient)
        slope = ((y - y0) / rise).conj()  # the gradient of a complex product; a real slope is its own conjugate
        moved = gradient * torch.cat([slope, slope], axis)
        return None, torch.where(torch.cat([close, close], axis), plain, moved), None, None
