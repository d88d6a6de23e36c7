"""The maths of the standard metrics: per-clip tensors in, one value per clip out.

Notation: p probabilities (B, K) of the clip, o of what the mask keeps, m of what it removes, c the target class of
each clip, by default argmax p with the first index on ties. Source: L-MAC (ICML 2024) section 5, and Chang et al. and
Zhang et al. cited there. Percentages run from 0 to 100. ``multilabel=True`` is for probabilities that are sigmoids; the
rows of others sum to one.

The functions of :mod:`~audioxai.metrics.curves`, :mod:`~audioxai.metrics.localisation`,
:mod:`~audioxai.metrics.robustness` and :mod:`~audioxai.metrics.sound` are found here too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audioxai.errors import InputError
from audioxai.metrics.curves import deletion_auc, insertion_auc
from audioxai.metrics.localisation import interference_gain, mask_auc, pointing_game, ratio_mask_overlap, si_sdr
from audioxai.metrics.robustness import infidelity, max_sensitivity
from audioxai.metrics.sound import energy_share, si_sar

__all__ = [
    "average_drop",
    "average_gain",
    "average_increase",
    "complexity",
    "deletion_auc",
    "energy_share",
    "faithfulness",
    "infidelity",
    "input_fidelity",
    "insertion_auc",
    "interference_gain",
    "mask_auc",
    "mask_mean",
    "max_sensitivity",
    "pointing_game",
    "ratio_mask_overlap",
    "si_sar",
    "si_sdr",
    "sparseness",
]

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


def sparseness(mask: Tensor, *, reference: bool = False) -> Tensor:
    """SPS, higher is sparser: the Gini index of the mask, in [0, 1 - 1/n].

    A constant mask has 0, an empty one has no index: NaN. (B, ...) non-negative to (B,).

    ``reference=True`` divides by the largest value of the whole batch and adds 1e-7 to every cell first, as the
    published figures do (Quantus 0.5.3); a clip's figure then depends on the clips beside it.
    """
    values = _cells(mask)
    if reference:
        values = values / values.max() + 1e-7
    values = values.sort(1).values
    n = values.shape[1]
    rank = torch.arange(1, n + 1, device=values.device, dtype=values.dtype)
    return ((2 * rank - n - 1) * values).sum(1) / (n * values.sum(1))


def complexity(mask: Tensor, *, relative: bool = False) -> Tensor:
    """COMP, lower is simpler: the entropy of the mask as a distribution over its n cells, in nats, in [0, ln n].

    ``relative=True`` divides by ln n, so that grids of different size compare. An empty mask gives NaN.
    (B, ...) non-negative to (B,).
    """
    _check_cells(mask)
    # Clip by clip: what one clip needs stays in the processor's cache. -sum q ln q = ln S - sum a ln a / S.
    entropy = torch.stack([_entropy(cells.double()) for cells in mask.flatten(1)])
    return entropy / math.log(mask[0].numel()) if relative else entropy


def _entropy(values: Tensor) -> Tensor:
    total = values.sum()
    return total.log() - torch.xlogy(values, values).sum() / total


def mask_mean(mask: Tensor) -> Tensor:
    """MM, no direction: the mean of the mask. (B, ...) to (B,)."""
    return _cells(mask).mean(1).float()


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


def _cells(mask: Tensor) -> Tensor:
    _check_cells(mask)
    return mask.flatten(1).double()


def _check_cells(mask: Tensor) -> None:
    lowest = mask.flatten(1).amin(1)  # NaN where there is one
    if lowest.isnan().any():
        clip = int(lowest.isnan().nonzero()[0, 0])
        raise InputError(f"the mask of clip {clip} holds NaN; an explainer must give finite masks")
    if (lowest < 0).any():
        raise InputError(
            f"a mask has no negative values; got {float(lowest.min()):.3g}. Normalise the attribution first"
        )
