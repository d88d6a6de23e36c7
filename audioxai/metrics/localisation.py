"""Where a mask lies, against the known parts of a mixture: one value per clip.

``stem`` and ``other`` are the magnitudes of the explained part and of everything else, on the mask's grid. A cell is
dominated by the stem where its magnitude is the larger of the two.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audioxai.classifiers.targets import TargetLike
from audioxai.errors import InputError
from audioxai.explainers.base import Explainer
from audioxai.metrics.base import Case, Metric

__all__ = [
    "average_ranks", "follow", "interference", "interference_gain", "mask_auc", "pointing_game", "ratio_mask_overlap",
    "si_sdr",
]  # fmt: skip

_FLOOR = 1e-12
_SILENT = 1e-9  # of the other part's energy
_AUDIBLE = 1e-6  # of the loudest cell's power: 60 dB below it


def interference_gain(mask: Tensor, stem: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """What a mask does to the known parts of a mixture, applied to them one by one.

    Args:
        mask: (B, ...) in [0, 1].
        stem: (B, ...) magnitude of the explained part.
        other: (B, ...) magnitude of everything else.

    Returns:
        The gain in signal-to-interference ratio over the mixture's own, in dB, and the kept share of the stem's energy,
        both (B,). NaN where a part is silent, 90 dB below the other; the gain also for an empty mask.
    """
    mask, stem, other = _checked(mask, stem, other)
    kept = [(mask * part).square().flatten(1).sum(1) for part in (stem, other)]
    whole = [part.square().flatten(1).sum(1) for part in (stem, other)]
    silent = (whole[0] <= _SILENT * whole[1]) | (whole[1] <= _SILENT * whole[0])
    share = [torch.where(silent, torch.nan, k / w.clamp(min=_FLOOR)) for k, w in zip(kept, whole, strict=True)]
    gain = 10 * torch.log10(share[0].clamp(min=_FLOOR) / share[1].clamp(min=_FLOOR))
    return torch.where(mask.flatten(1).amax(1) > 0, gain, torch.nan), share[0]


def ratio_mask_overlap(mask: Tensor, stem: Tensor, other: Tensor) -> Tensor:
    """Share of the mask's mass inside the ideal ratio mask stem^2 / (stem^2 + other^2), higher is better.

    The best possible value is 1; a constant mask has the mean of the ideal one. Silent cells belong to nothing. An
    empty mask gives NaN. Source: relevance mass accuracy (Arras et al. 2022) with the ideal ratio mask as truth.

    Args and shapes: as for :func:`interference_gain`; to (B,) in [0, 1].
    """
    mask, stem, other = _checked(mask, stem, other)
    ideal = stem.square() / (stem.square() + other.square()).clamp(min=_FLOOR)
    return (mask * ideal).flatten(1).sum(1) / mask.flatten(1).sum(1)


def pointing_game(mask: Tensor, stem: Tensor, other: Tensor) -> Tensor:
    """Whether the mask's highest cell is dominated by the stem; of several highest ones, the share that is.

    Source: Zhang et al. 2018 (excitation backprop), section 4.2; ties are shared since masks saturate.

    Args and shapes: as for :func:`interference_gain`; to (B,) in [0, 1], higher is better.
    """
    mask, stem, other = _checked(mask, stem, other)
    flat = mask.flatten(1)
    highest = flat == flat.amax(1, keepdim=True)
    hit = highest & (stem > other).flatten(1)
    return hit.sum(1) / highest.sum(1).to(mask)


def mask_auc(mask: Tensor, stem: Tensor, other: Tensor) -> Tensor:
    """Area under the ROC curve of the mask as a detector of the cells that the stem dominates, higher is better.

    Only audible cells count, those within 60 dB of the mixture's loudest; 0.5 is chance. NaN where one part dominates
    all of them. Ties count half, as in the Mann-Whitney statistic.

    Args and shapes: as for :func:`interference_gain`; to (B,) in [0, 1].
    """
    mask, stem, other = _checked(mask, stem, other)
    power = (stem.square() + other.square()).flatten(1)
    audible = power > _AUDIBLE * power.amax(1, keepdim=True)
    dominated = (stem > other).flatten(1)
    areas = []
    for values, heard, own in zip(mask.flatten(1), audible, dominated, strict=True):
        ranks, own = average_ranks(values[heard]), own[heard]
        inside, outside = own.sum().double(), (~own).sum().double()
        areas.append((ranks[own].sum() - inside * (inside + 1) / 2) / (inside * outside))
    return torch.stack(areas).to(mask)


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, higher is better: a measure of audio quality.

    It asks for the whole stem, which an explanation need not be. NaN for a silent reference or estimate. Source: Le
    Roux et al. 2019, eq. 3, means removed. (B, T), (B, T) to (B,).
    """
    if estimate.shape != reference.shape or estimate.ndim != 2:
        raise InputError(f"estimate {tuple(estimate.shape)} and reference {tuple(reference.shape)} must both be (B, T)")
    estimate, reference = (x.double() - x.double().mean(1, keepdim=True) for x in (estimate, reference))
    scale = (estimate * reference).sum(1, keepdim=True) / reference.square().sum(1, keepdim=True)
    target = scale * reference
    ratio = target.square().sum(1) / (estimate - target).square().sum(1).clamp(min=_FLOOR * target.square().sum(1))
    return 10 * torch.log10(ratio.clamp(min=_FLOOR)).float()


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing the mean of theirs. (n,) to (n,) float64."""
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    last = count.cumsum(0).double()
    ranks: Tensor = (last - (count.double() - 1) / 2)[place]
    return ranks


def _checked(mask: Tensor, stem: Tensor, other: Tensor) -> list[Tensor]:
    """All three in float32 at least: masks may be bool, and sums over cells overflow in half precision."""
    if mask.shape != stem.shape or mask.shape != other.shape:
        raise InputError(
            f"mask {tuple(mask.shape)} and parts {tuple(stem.shape)}, {tuple(other.shape)} differ in shape"
        )
    return [x if x.dtype == torch.float64 else x.float() for x in (mask, stem, other)]


def interference(case: Case) -> tuple[Tensor, Tensor]:
    """:func:`interference_gain` of what a case's mask does to amplitudes, on whatever scale it is."""
    parts = case.parts
    assert case.explainer is not None
    space = case.explainer.space
    return interference_gain(space.gain(case.explanation.mask, space.analyse(case.explanation.input)), *parts)


@torch.no_grad()
def follow(explainer: Explainer, mixture: Tensor, stem: Tensor, target: TargetLike) -> tuple[Tensor, Tensor]:
    """Explain ``target`` in mixtures and ask whether the mask keeps its part and drops the rest.

    The mask is applied to the parts' magnitudes one by one, in the explainer's space.

    Args:
        explainer: fitted.
        mixture: (B, T).
        stem: (B, T), the part that the target names; everything else is ``mixture - stem``.
        target: see :mod:`audioxai.classifiers.targets`.

    Returns:
        Gain in signal-to-interference ratio over the mixture's own, in dB, and kept share of the stem's energy, both
        (B,).
    """
    return interference(Case(explainer.explain(mixture, target), explainer, stem))


def _on_parts(measure: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Case], Tensor]:
    return lambda case: measure(case.explanation.mask, *case.parts)


ENTRIES = (
    Metric(
        "ratio mask", _on_parts(ratio_mask_overlap), 1, 0, 1, 2, "known parts", ratio_mask_overlap, "RatioMaskOverlap"
    ),
    Metric("pointing", _on_parts(pointing_game), 1, 0, 1, 2, "known parts", pointing_game, "PointingGame"),
    Metric("mask AUC", _on_parts(mask_auc), 1, 0, 1, 2, "known parts", mask_auc, "MaskAUC"),
    Metric(
        "SIR gain", lambda case: case.once(interference)[0], 1, digits=1,
        group="known parts", function=interference_gain, class_name="InterferenceGain", part=0,
    ),
    Metric(
        "kept", lambda case: case.once(interference)[1], 1, 0, 1,
        group="known parts", function=interference_gain, class_name="KeptShare", part=1,
    ),
    Metric(
        "SI-SDR", lambda case: si_sdr(case.explanation.waveform, case.sources[0]), 1, digits=1,
        group="known parts", function=si_sdr, class_name="SISDR",
    ),
)  # fmt: skip
