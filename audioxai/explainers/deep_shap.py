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
from audioxai.explainers.registry import register

__all__ = ["DeepSHAP"]

_COPIES = (2, 3, 5, 7)  # of a pair, until a layer's shape tells which of its axes is the batch


@register("deep-shap")
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

    Clips and baselines go through the network in pairs, so that ``max_batch=1`` too means two rows, and a few more
    where a layer's shape does not tell which of its axes is the batch.

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
            gradient = self._slopes(values[clip], start, clip, score)
            total.index_add_(0, clip, gradient * (values[clip] - start) / len(starts))
        completeness_gap(
            self,
            values,
            starts,
            total,
            score,
            "the network holds operations without a rule, such as attention, layer norm or products of features",
        )
        return total

    def _slopes(self, values: Tensor, starts: Tensor, clip: Tensor, score: Score) -> Tensor:
        """The score's slope between baselines and values, (P, ...) each, of clips (P,)."""
        try:
            return self._slopes_at_once(values, starts, clip, score)
        except _AmbiguousError:  # for so many rows; for another number it may be plain
            if len(clip) == 1:
                return self._slopes_of_copies(values, starts, clip, score)
            parts = (slice(0, -1), slice(-1, None))
            return torch.cat([self._slopes(values[part], starts[part], clip[part], score) for part in parts])

    def _slopes_of_copies(self, values: Tensor, starts: Tensor, clip: Tensor, score: Score) -> Tensor:
        for number in _COPIES:
            copies = clip.new_zeros(number)
            try:
                return self._slopes_at_once(values[copies], starts[copies], clip[copies], score)[:1]
            except _AmbiguousError as error:
                last = error
        raise last

    def _slopes_at_once(self, values: Tensor, starts: Tensor, clip: Tensor, score: Score) -> Tensor:
        both = torch.cat([values, starts]).detach().requires_grad_()
        with differentiable(self.name):
            with Intercept((*ELEMENTWISE, *MAXIMA), partial(_rescale, len(both))):
                explained = score(both, clip.repeat(2))
            (gradient,) = torch.autograd.grad(explained.sum(), both)
        return gradient[: len(clip)]


def _rescale(rows: int, name: str, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A call whose gradient is the slope between inputs and baselines, which are ``rows`` in all."""
    result: Tensor = _Rescale.apply(call, x, rows, name in MAXIMA)
    return result


def _batch_axis(tensor: Tensor, rows: int) -> int:
    """The axis along which inputs come before baselines; the batch may have moved, or been joined with other axes."""
    shape = tensor.shape
    candidates = [axis for axis, size in enumerate(shape) if size == rows or (axis == 0 and size % rows == 0)]
    if len(candidates) == 1:
        return candidates[0]
    raise (_AmbiguousError if candidates else ClassifierError)(
        f"DeepSHAP cannot tell which axis of an activation of shape {tuple(shape)} holds the {rows} rows of the batch; "
        "keep the batch first, or use IntegratedGradients"
    )


class _AmbiguousError(ClassifierError):
    """An activation whose batch could be along several axes."""


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
