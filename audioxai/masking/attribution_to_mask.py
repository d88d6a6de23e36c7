"""From attribution to mask: the one place where a signed map becomes gains in [0, 1]."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from audioxai.support.options import one_of

__all__ = ["Normalise", "to_mask"]

Normalise = Literal["relu_percentile", "relu_max", "percentile", "max"]
_PERCENTILE = 0.995


def to_mask(attribution: Tensor, normalise: Normalise = "relu_percentile") -> Tensor:
    """Scale each clip's attribution to [0, 1]. A map without any positive value gives an empty mask.

    Args:
        attribution: (B, ...) signed.
        normalise: what is kept, over what. ``relu_``: max(A, 0), what speaks for the target; else |A|, which keeps what
            speaks against it too. ``max``: over the largest value, ruled by single cells in gradient maps;
            ``percentile``: over the 99.5th percentile, clipped at 1. ``"max"``, |A| / max |A|, is the L-MAC recipe's.

    Returns:
        (B, ...) in [0, 1].
    """
    one_of("normalise", normalise, get_args(Normalise))
    values = attribution.clamp(min=0) if normalise.startswith("relu") else attribution.abs()
    flat = values.flatten(1)
    top = flat.amax(1)
    if normalise.endswith("percentile"):
        rank = max(1, round(_PERCENTILE * flat.shape[1]))  # kthvalue, since quantile refuses large inputs
        high = flat.kthvalue(rank, dim=1).values
        top = torch.where(high > 0, high, top)
    # Dividing a subnormal maximum by itself would still be exact; only true zero needs the guard.
    scaled = flat / torch.where(top > 0, top, torch.ones_like(top))[:, None]
    return scaled.clamp(max=1).reshape(attribution.shape)
