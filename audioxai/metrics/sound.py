"""The sounds of an explanation: do they add up to the clip, how loud is what is kept, and what was added to it.

Figures beside the standard metrics, not measures of faithfulness. Pass :data:`SOUND` or some of it to ``evaluate``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audioxai.errors import ConfigError, InputError
from audioxai.metrics.localisation import si_sdr
from audioxai.metrics.registry import Case, Metric

__all__ = ["SOUND", "energy_share", "si_sar"]

_FLOOR = 1e-12


def energy_share(kept: Tensor, clip: Tensor) -> Tensor:
    """Energy of what is kept over the clip's. (B, T), (B, T) to (B,); NaN for a silent clip."""
    _check(kept, clip)
    return kept.double().square().sum(1).div(clip.double().square().sum(1)).float()


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


def _artefacts(case: Case) -> Tensor:
    if case.stem is None:
        raise ConfigError("SI-SAR needs the known part of each clip; give batches with a 'stem' (B, T)")
    clips = case.explanation.input
    stem = case.stem.to(clips.device)
    return si_sar(case.explanation.waveform, stem, clips - stem)


#: By name: SI-SNR in dB of kept + removed to the clip, energy kept over the clip's, and, for batches with stems, the
#: sources-to-artefacts ratio in dB.
SOUND = {
    entry.name: entry
    for entry in (
        Metric("SI-SNR of the sum", _sum_of_parts, 1, digits=1),
        Metric("energy", lambda case: energy_share(case.explanation.waveform, case.explanation.input), 0, 0),
        Metric("SI-SAR", _artefacts, 1, digits=1),
    )
}
