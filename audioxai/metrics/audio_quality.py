"""The sound of an explanation, whatever the mask: how loud is what is kept, and what was added to the clip.

Pure functions, one value per clip; not measures of faithfulness.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audioxai.errors import InputError
from audioxai.metrics.base import Case, Metric
from audioxai.metrics.localisation import si_sdr

__all__ = ["energy_share", "si_sar"]

_FLOOR = 1e-12


def energy_share(kept: Tensor, clip: Tensor) -> Tensor:
    """Energy of what is kept over the clip's. (B, T), (B, T) to (B,); NaN for a silent clip."""
    _check(kept, clip)
    clips = clip.double().square().sum(1)
    return torch.where(clips > 0, kept.double().square().sum(1) / clips, torch.nan).float()


def si_sar(estimate: Tensor, stem: Tensor, other: Tensor) -> Tensor:
    """Scale-invariant sources-to-artefacts ratio in dB, higher is better: what is heard that is neither part.

    The estimate's projection on the plane of both parts over the rest. Unlike SI-SDR it does not mind that the other
    part is left in. NaN where the estimate is silent. Source: Le Roux et al. 2019, section 2, means removed.

    Args:
        estimate: (B, T), what is kept.
        stem: (B, T), the explained part.
        other: (B, T), everything else.

    Returns:
        (B,), at most 120 dB.
    """
    _check(estimate, stem)
    _check(estimate, other)
    e, s, o = (x.double() - x.double().mean(1, keepdim=True) for x in (estimate, stem, other))
    u = _unit(s)
    v = _unit(o - (o * u).sum(1, keepdim=True) * u)
    inside = (e * u).sum(1, keepdim=True) * u + (e * v).sum(1, keepdim=True) * v
    wanted, artefacts = inside.square().sum(1), (e - inside).square().sum(1)
    ratio = wanted / artefacts.clamp(min=_FLOOR * wanted)
    return (10 * torch.log10(ratio.clamp(min=_FLOOR))).float()


def _unit(x: Tensor) -> Tensor:
    length = x.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-9, x / length.clamp(min=1e-9), 0.0)


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"sounds {tuple(a.shape)} and {tuple(b.shape)} must both be (B, T)")


def _sum_of_parts(case: Case) -> Tensor:
    explanation = case.explanation
    return si_sdr(explanation.waveform + explanation.removed, explanation.input)


ENTRIES = (
    Metric(
        "SI-SAR", lambda case: si_sar(case.explanation.waveform, *case.sources), 1, digits=1,
        group="known parts", function=si_sar, class_name="SISAR",
    ),
    Metric(
        "energy", lambda case: energy_share(case.explanation.waveform, case.explanation.input), 0, 0,
        group="sound", function=energy_share, class_name="EnergyShare",
    ),
    Metric("sum SI-SNR", _sum_of_parts, 1, digits=1, group="sound"),
)  # fmt: skip
