"""Insertion and deletion: how the target's probability moves as cells go in the order of the mask."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audioxai.errors import InputError
from audioxai.metrics.base import Case, Metric, Predict
from audioxai.support.options import at_least_one

__all__ = ["Predict", "deletion_auc", "deletion_curve", "insertion_auc", "insertion_curve", "ranking"]


def deletion_curve(predict: Predict, values: Tensor, mask: Tensor, *, steps: int = 16) -> Tensor:
    """Target's probability with the highest share 0, 1/steps, ..., 1 of the mask's cells set to silence.

    Source: Petsiuk et al. 2018 (RISE), section 4.2.

    Args:
        predict: values (R, ...) and their clips (R,) to probabilities (R,).
        values: (B, ...) what the mask multiplies.
        mask: (B, ...); only the order of its cells matters, equal cells going in a random order, see :func:`ranking`.
        steps: points beyond the first.

    Returns:
        (B, steps + 1).
    """
    return _curve(predict, values, mask, steps, keep=False)


def insertion_curve(predict: Predict, values: Tensor, mask: Tensor, *, steps: int = 16) -> Tensor:
    """Target's probability with only the highest share 0, 1/steps, ..., 1 of the mask's cells present.

    Args and source: as for :func:`deletion_curve`.
    """
    return _curve(predict, values, mask, steps, keep=True)


def deletion_auc(predict: Predict, values: Tensor, mask: Tensor, *, steps: int = 16) -> Tensor:
    """Area under :func:`deletion_curve` by trapezoids, in [0, 1], lower is better. To (B,)."""
    return torch.trapezoid(deletion_curve(predict, values, mask, steps=steps), dx=1 / steps, dim=1)


def insertion_auc(predict: Predict, values: Tensor, mask: Tensor, *, steps: int = 16) -> Tensor:
    """Area under :func:`insertion_curve` by trapezoids, in [0, 1], higher is better. To (B,)."""
    return torch.trapezoid(insertion_curve(predict, values, mask, steps=steps), dx=1 / steps, dim=1)


def ranking(mask: Tensor) -> Tensor:
    """Places of a mask's cells from the highest to the lowest, (B, ...) to (B, n).

    Equal cells come in one random order for all clips: by place, a constant mask would rank low frequencies first.
    """
    flat = mask.flatten(1)
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0)).to(flat.device)
    return shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]


def _curve(predict: Predict, values: Tensor, mask: Tensor, steps: int, *, keep: bool) -> Tensor:
    if mask.shape != values.shape:
        raise InputError(f"mask {tuple(mask.shape)} and values {tuple(values.shape)} differ in shape")
    at_least_one("steps", steps)
    order = ranking(mask)
    cells = order.shape[1]
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(cells, device=order.device).expand_as(order))
    rank = rank.reshape(mask.shape)
    rows = torch.arange(len(values), device=values.device)
    points = []
    for step in range(steps + 1):
        chosen = rank < round(step * cells / steps)
        points.append(predict(values * (chosen if keep else ~chosen), rows))
    return torch.stack(points, 1)


def _area(measure: Callable[[Predict, Tensor, Tensor], Tensor]) -> Callable[[Case], Tensor]:
    def compute(case: Case) -> Tensor:
        values, predict = case.predict()
        return measure(predict, values, case.explanation.mask)

    return compute


ENTRIES = (
    Metric("insertion", _area(insertion_auc), 1, 0, 1, function=insertion_auc, class_name="InsertionAUC"),
    Metric("deletion", _area(deletion_auc), -1, 0, 1, function=deletion_auc, class_name="DeletionAUC"),
)
