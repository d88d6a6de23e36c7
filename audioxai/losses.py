"""Losses of the learned explainers: pure functions of tensors, one value per clip."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mask_in", "mask_out", "sparsity", "stem_guidance", "target_log_probabilities"]


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
