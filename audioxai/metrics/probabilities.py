"""What becomes of the class's probability when only the mask's part is left, or all but it.

Notation: p probabilities (B, K) of the clip, o of what the mask keeps, m of what it removes, c the target class of
each clip, by default argmax p with the first index on ties. Source: L-MAC (ICML 2024) section 5, and Chang et al. and
Zhang et al. cited there. Percentages run from 0 to 100. ``multilabel=True`` is for probabilities that are sigmoids; the
rows of others sum to one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from audioxai.errors import InputError
from audioxai.metrics.base import Case, Metric

__all__ = ["average_drop", "average_gain", "average_increase", "faithfulness", "input_fidelity"]

_SLACK = 1e-4


def average_increase(
    probs: Tensor, probs_kept: Tensor, target: Tensor | None = None, *, multilabel: bool = False
) -> Tensor:
    """AI, higher is better: 100 where o_c > p_c, else 0. (B, K), (B, K) to (B,)."""
    p, o = _of_target(target, multilabel, probs, probs_kept)
    return 100.0 * (o > p).to(p)


def average_drop(
    probs: Tensor,
    probs_kept: Tensor,
    target: Tensor | None = None,
    *,
    reference: bool = False,
    multilabel: bool = False,
) -> Tensor:
    """AD, lower is better: 100 max(0, p_c - o_c) / p_c; 0 where p_c is 0. (B, K), (B, K) to (B,).

    ``reference=True`` gives the published figure: a softmax of the probabilities comes first, so that it measures the
    absolute drop and stays below 63.3. Neither can be computed from the other.
    """
    if reference:
        _of_target(target, multilabel, probs, probs_kept)
        target = probs.argmax(1) if target is None else target
        p, o = (x.softmax(1).gather(1, target[:, None])[:, 0] for x in (probs, probs_kept))
        return 100.0 * (p - o).clamp(min=0) / (p + 1e-10)
    p, o = _of_target(target, multilabel, probs, probs_kept)
    return 100.0 * ((p - o).clamp(min=0) / torch.where(p > 0, p, torch.ones_like(p)))  # at most 1, then 100


def average_gain(
    probs: Tensor, probs_kept: Tensor, target: Tensor | None = None, *, multilabel: bool = False
) -> Tensor:
    """AG, higher is better: 100 max(0, o_c - p_c) / (1 - p_c); 0 where p_c is 1. (B, K), (B, K) to (B,)."""
    p, o = _of_target(target, multilabel, probs, probs_kept)
    return 100.0 * ((o - p).clamp(min=0) / torch.where(p < 1, 1 - p, torch.ones_like(p)))


def faithfulness(
    probs: Tensor, probs_removed: Tensor, target: Tensor | None = None, *, multilabel: bool = False
) -> Tensor:
    """FF, higher is better: p_c - m_c, how far the class falls without the explained part. (B, K), (B, K) to (B,)."""
    p, m = _of_target(target, multilabel, probs, probs_removed)
    return p - m


def input_fidelity(
    probs: Tensor, probs_kept: Tensor, target: Tensor | None = None, *, multilabel: bool = False
) -> Tensor:
    """Fid-In, higher is better: 1 where argmax o = c, first index on ties. (B, K), (B, K) to (B,)."""
    _of_target(target, multilabel, probs, probs_kept)
    classes = probs.argmax(1) if target is None else target
    return (probs_kept.argmax(1) == classes).to(probs)


def _of_target(target: Tensor | None, multilabel: bool, *probs: Tensor) -> list[Tensor]:
    """The target class's probability in each tensor, (B,)."""
    _check(multilabel, *probs)
    classes = probs[0].argmax(1) if target is None else target
    if classes.shape != probs[0].shape[:1] or classes.is_floating_point():
        raise InputError(
            f"target must hold {len(probs[0])} integer classes; got {tuple(classes.shape)}, {classes.dtype}"
        )
    if ((classes < 0) | (classes >= probs[0].shape[1])).any():
        raise InputError(f"a target class lies outside 0 to {probs[0].shape[1] - 1}")
    return [p.gather(1, classes[:, None])[:, 0] for p in probs]


def _check(multilabel: bool, *probs: Tensor) -> None:
    for p in probs:
        if p.ndim != 2 or p.shape != probs[0].shape:
            raise InputError(f"probabilities are (B, K) and alike; got {[tuple(q.shape) for q in probs]}")
        if not ((p >= -_SLACK) & (p <= 1 + _SLACK)).all():
            raise InputError(
                f"probabilities lie in [0, 1]; got {float(p.min()):.3g} to {float(p.max()):.3g}. "
                "If these are logits, pass classifier.probabilities(logits)"
            )
        total = p.sum(1)
        if not multilabel and not ((total - 1).abs() <= _SLACK * p.shape[1]).all():
            worst = float(total[(total - 1).abs().argmax()])
            raise InputError(
                f"the probabilities of a clip sum to {worst:.3g}, not to 1. If they are sigmoids, pass "
                "multilabel=True; if they are logits, classifier.probabilities(logits)"
            )


def _of(measure: Callable[..., Tensor], which: Literal["kept", "removed"]) -> Callable[[Case], Tensor]:
    def compute(case: Case) -> Tensor:
        scores = case.explanation.scores
        return measure(scores.input, getattr(scores, which), case.target, multilabel=case.explanation.multilabel)

    return compute


def _published_drop(case: Case) -> Tensor:
    p, kept, _ = case.explanation.scores
    if case.explanation.multilabel:  # a softmax of sigmoids is nobody's convention
        return torch.full((len(p),), math.nan)
    return average_drop(p, kept, case.target, reference=True)


ENTRIES = (
    Metric("AI", _of(average_increase, "kept"), 1, 0, 100, 1, "standard", average_increase, "AverageIncrease"),
    Metric("AD", _of(average_drop, "kept"), -1, 0, 100, 1, "standard", average_drop, "AverageDrop"),
    Metric("AG", _of(average_gain, "kept"), 1, 0, 100, 1, "standard", average_gain, "AverageGain"),
    Metric("FF", _of(faithfulness, "removed"), 1, -1, 1, 2, "standard", faithfulness, "Faithfulness"),
    Metric("Fid-In", _of(input_fidelity, "kept"), 1, 0, 1, 2, "standard", input_fidelity, "InputFidelity"),
    Metric("AD published", _published_drop, -1, 0, 100 * (1 - math.exp(-1)), 1, "published"),
)
