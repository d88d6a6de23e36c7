"""Losses of the learned explainers: pure functions of tensors, one value per clip."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "binary_guidance", "group_log_probabilities", "mask_in", "mask_out", "norm_guidance", "prompt_diversity", "si_snr",
    "similarity", "similarity_matching", "sparsity", "stem_distance", "stem_guidance", "target_log_probabilities",
]  # fmt: skip


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


def group_log_probabilities(logits: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
    """log p and log(1 - p) of several classes together, which mean the same.

    Args:
        logits: (B, K).
        members: (B, K) bool, at least one in each row.

    Returns:
        (B,), (B,); 0 and -inf where all classes are members.
    """
    total = logits.logsumexp(1)
    own, others = (logits.masked_fill(left_out, float("-inf")).logsumexp(1) for left_out in (~members, members))
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


def similarity_matching(similarity: Tensor, kept: Tensor) -> Tensor:
    """|C - C'|: how far the similarity of clip and prompt is from that of what the mask keeps. (...) to (...).

    Source: LMAC-ZS, eq. 5.
    """
    return (similarity - kept).abs()


def prompt_diversity(masks: Tensor, text: Tensor, form: str = "cosine") -> Tensor:
    """How alike the masks of one clip are under different prompts, more than the prompts are. Source: LMAC-ZS, eq. 7.

    Args:
        masks: (P, B, ...) of P prompts for each of B clips.
        text: (P, B, D) embeddings of the prompts, of length 1.
        form: with m the cosine of two masks and t that of their prompts, the mean over pairs of ``"cosine"``:
            max(0, m - max(0, t)); ``"geometry"``: |m - t|; ``"l1"``: -mean |difference of the masks|. The published
            form is not known. A mask of length 0 has cosine 0 with any other.

    Returns:
        (B,); 0 for a single prompt.
    """
    flat = masks.flatten(2).transpose(0, 1)
    words = text.transpose(0, 1)
    count = flat.shape[1]
    if count < 2:
        return flat.new_zeros(len(flat))
    first, second = torch.triu_indices(count, count, 1, device=flat.device)
    if form == "l1":
        return -(flat[:, first] - flat[:, second]).abs().mean((1, 2))
    unit = torch.nn.functional.normalize(flat, dim=2, eps=1e-6)
    alike = unit @ unit.transpose(1, 2)
    told = words @ words.transpose(1, 2)
    m, t = alike[:, first, second], told[:, first, second]
    if form == "geometry":
        return (m - t).abs().mean(1)
    return (m - t.clamp(min=0)).clamp(min=0).mean(1)
