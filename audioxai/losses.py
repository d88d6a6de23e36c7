"""Losses of the learned explainers: pure functions of tensors, one value per clip."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "binary_guidance",
    "mask_in",
    "mask_out",
    "norm_guidance",
    "si_snr",
    "similarity",
    "sparsity",
    "stem_distance",
    "stem_guidance",
    "target_log_probabilities",
]


def target_log_probabilities(logits: Tensor, target: Tensor, multilabel: bool = False) -> tuple[Tensor, Tensor]:
    """log p and log(1 - p) of the target per clip, both exact however close p is to 0 or 1.

    (B, K) logits and (B,) classes to (B,), (B,).
    """
    own = logits.gather(1, target[:, None])[:, 0]
    if multilabel:
        return torch.nn.functional.logsigmoid(own), torch.nn.functional.logsigmoid(-own)
    total = logits.logsumexp(1)
    others = logits.scatter(1, target[:, None], float("-inf")).logsumexp(1)
    return own - total, others - total


def mask_in(log_p: Tensor) -> Tensor:
    """-log p of the target on what the mask keeps. Source: L-MAC, L_in."""
    return -log_p


def mask_out(log_p: Tensor, log_not_p: Tensor, *, bounded: bool = True) -> Tensor:
    """Falls as the target's probability p on what the mask removes falls.

    ``bounded=True``: -log(1 - p), never below 0. ``False``: log p, unbounded below, as published (L-MAC, -L_out).
    """
    return -log_not_p if bounded else log_p


def sparsity(mask: Tensor) -> Tensor:
    """Mean of each mask, (B, ...) to (B,). Source: L-MAC, ||M||_1, as a per-clip mean."""
    return mask.flatten(1).mean(1)


def stem_guidance(gain: Tensor, stem: Tensor, other: Tensor, floor: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Shares of energy that the mask keeps of a stem and of everything else, in self-made mixtures.

    Args:
        gain: (B, ...) in [0, 1], what the mask does to amplitudes.
        stem: (B, ...) power of the explained part.
        other: (B, ...) power of the rest.
        floor: of the energies, so that silence stays finite.

    Returns:
        Kept share of the stem and of the rest, both (B,) in [0, 1]; their ratio is the gain in signal-to-interference
        ratio.
    """
    gain = gain.square()
    kept = [(gain * power).flatten(1).sum(1) / power.flatten(1).sum(1).clamp(min=floor) for power in (stem, other)]
    return kept[0], kept[1]


def similarity(kept: Tensor, clean: Tensor) -> Tensor:
    """Cosine between log(1 + amplitude) of what is kept and of the clean clip, (B, ...) amplitudes to (B,) in [0, 1].

    Fine-tuning takes the clips in which it reaches a threshold. Source: L-MAC recipe, stage 2, c >= CTH.
    """
    return torch.cosine_similarity(kept.log1p().flatten(1), clean.log1p().flatten(1), dim=1)


def binary_guidance(logits: Tensor, clean: Tensor, threshold: float = 0.35) -> Tensor:
    """Cross-entropy of the mask against the loud cells of the clean clip, a mean over cells.

    Source: L-MAC recipe, stage 2: G = 1[X >= 0.35 max X] with X = log(1 + amplitude) of the clean clip.

    Args:
        logits: (B, ...) of the mask.
        clean: (B, ...) amplitudes.
        threshold: share of the clip's maximum.

    Returns:
        (B,).
    """
    level = clean.log1p().flatten(1)
    loud = (level >= threshold * level.amax(1, keepdim=True)).to(logits)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.flatten(1), loud, reduction="none").mean(1)


def norm_guidance(kept: Tensor, clean: Tensor, floor: float = 1e-8) -> Tensor:
    """Squared distance of what is kept to the clean clip, over the clean clip's energy: (B, ...) amplitudes to (B,).

    Source: L-MAC, objective of stage 2, || M X - X_clean ||, here squared and relative, so that levels do not matter.
    """
    return (kept - clean).square().flatten(1).sum(1) / clean.square().flatten(1).sum(1).clamp(min=floor)


def si_snr(estimate: Tensor, reference: Tensor, floor: float = 1e-8) -> Tensor:
    """Scale-invariant signal-to-noise ratio in dB, (B, T), (B, T) to (B,); finite for silence, at most 80 dB.

    Source: Luo & Mesgarani 2019, eq. 12 to 14: means removed, estimate projected on the reference.
    """
    estimate, reference = (x - x.mean(1, keepdim=True) for x in (estimate, reference))
    scale = (estimate * reference).sum(1, keepdim=True) / (reference.square().sum(1, keepdim=True) + floor)
    target = scale * reference
    signal, noise = target.square().sum(1), (estimate - target).square().sum(1)
    return 10 * torch.log10((signal + floor) / (noise + floor * signal + floor))


def stem_distance(kept: Tensor, removed: Tensor, stem: Tensor, other: Tensor, floor: float = 1e-8) -> Tensor:
    """How far two sounds are from the two parts of a self-made mixture: the sum of log(1 + 100 d) over both.

    d is the energy of the difference as a share of the part's. The logarithm makes clips that are nearly met count as
    much as those far off, up to a signal-to-distortion ratio of 20 dB.

    Args:
        kept: (B, T).
        removed: (B, T).
        stem: (B, T), what should be kept.
        other: (B, T), what should be removed.
        floor: of the energies, so that silence stays finite.

    Returns:
        (B,), 0 where both are met.
    """
    pairs = ((kept, stem), (removed, other))
    shares = [(sound - part).square().sum(1) / part.square().sum(1).clamp(min=floor) for sound, part in pairs]
    return torch.log1p(100 * torch.stack(shares)).sum(0)
