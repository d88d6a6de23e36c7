"""From attribution to mask: the one place where a signed map becomes gains in [0, 1]."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from audioxai.errors import ConfigError

__all__ = ["Normalise", "to_mask"]

Normalise = Literal["max", "relu_max", "percentile"]
_PERCENTILE = 0.995


def to_mask(attribution: Tensor, normalise: Normalise = "max") -> Tensor:
    """Scale each clip's attribution to [0, 1]. A map without any positive value gives an empty mask.

    Args:
        attribution: (B, ...) signed.
        normalise: ``"max"``: |A| / max |A|, as in the L-MAC protocol; ``"relu_max"``: max(A, 0) / max A, for CAMs;
            ``"percentile"``: |A| over its 99.5th percentile, clipped at 1, which a few outliers do not rule.

    Returns:
        (B, ...) in [0, 1].
    """
    if normalise == "relu_max":
        values = attribution.clamp(min=0)
    elif normalise in ("max", "percentile"):
        values = attribution.abs()
    else:
        raise ConfigError(f"normalise={normalise!r} is not known; choose 'max', 'relu_max' or 'percentile'")
    flat = values.flatten(1)
    if normalise == "percentile":
        rank = max(1, round(_PERCENTILE * flat.shape[1]))  # kthvalue, since quantile refuses large inputs
        top = flat.kthvalue(rank, dim=1).values
        top = torch.where(top > 0, top, flat.amax(1))
    else:
        top = flat.amax(1)
    # Dividing a subnormal maximum by itself would still be exact; only true zero needs the guard.
    scaled = flat / torch.where(top > 0, top, torch.ones_like(top))[:, None]
    return scaled.clamp(max=1).reshape(attribution.shape)
