"""How sparse, how simple and how large a mask is."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from audioxai.errors import InputError
from audioxai.metrics.base import Case, Metric

__all__ = ["complexity", "mask_mean", "sparseness"]


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


def _of_mask(measure: Callable[[Tensor], Tensor]) -> Callable[[Case], Tensor]:
    return lambda case: measure(case.explanation.mask)


def _relative(case: Case) -> Tensor:
    return case.once(_entropy_of) / math.log(case.explanation.mask[0].numel())


def _published_sparseness(case: Case) -> Tensor:
    # Clip by clip: a figure that depends on the clips beside it cannot be averaged.
    return torch.cat([sparseness(mask[None], reference=True) for mask in case.explanation.mask])


_entropy_of = _of_mask(complexity)
ENTRIES = (
    Metric("SPS", _of_mask(sparseness), 1, 0, 1, 2, "standard", sparseness, "Sparseness"),
    Metric("COMP", lambda case: case.once(_entropy_of), -1, 0, math.inf, 2, "standard", complexity, "Complexity"),
    Metric("COMP/ln n", _relative, -1, 0, 1, 2, "standard"),
    Metric("MM", _of_mask(mask_mean), 0, 0, 1, 2, "standard", mask_mean, "MaskMean"),
    Metric("SPS published", _published_sparseness, 1, 0, 1, 2, "published"),
)
