"""Losses of the learned explainers: pure functions of tensors, one value per clip."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mask_in", "mask_out", "sparsity", "stem_guidance", "target_log_probability"]

_LEAST = 1e-4


def target_log_probability(logits: Tensor, target: Tensor, multilabel: bool = False) -> Tensor:
    """log p(target) per clip. (B, K) logits and (B,) classes to (B,)."""
    logs = torch.nn.functional.logsigmoid(logits) if multilabel else logits.log_softmax(1)
    return logs.gather(1, target[:, None])[:, 0]


def mask_in(log_p: Tensor) -> Tensor:
    """-log p of the target on what the mask keeps. Source: L-MAC, L_in."""
    return -log_p


def mask_out(log_p: Tensor, *, bounded: bool = True) -> Tensor:
    """Falls as the target's probability on what the mask removes falls.

    ``bounded=True``: -log(1 - p), never below 0. ``False``: log p, unbounded below, as published (L-MAC, -L_out).
    """
    if not bounded:
        return log_p
    return -torch.log1p(-log_p.exp().clamp(max=1 - _LEAST))


def sparsity(mask: Tensor) -> Tensor:
    """Mean of each mask, (B, ...) to (B,). Source: L-MAC, ||M||_1, as a per-clip mean."""
    return mask.flatten(1).mean(1)


def stem_guidance(mask: Tensor, stem: Tensor, other: Tensor, floor: float = 1e-8) -> tuple[Tensor, Tensor]:
    """Shares of energy that the mask keeps of a stem and of everything else, in self-made mixtures.

    Args:
        mask: (B, ...) in [0, 1].
        stem: (B, ...) power of the explained part.
        other: (B, ...) power of the rest.
        floor: of the energies, so that silence stays finite.

    Returns:
        Kept share of the stem and of the rest, both (B,) in [0, 1]; their ratio is the gain in signal-to-interference
        ratio.
    """
    gain = mask.square()
    kept = [(gain * power).flatten(1).sum(1) / power.flatten(1).sum(1).clamp(min=floor) for power in (stem, other)]
    return kept[0], kept[1]
