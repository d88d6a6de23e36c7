"""Non-negative matrix factorisation of spectrograms: V (F, N) as dictionary W (F, R) times activations H (R, N).

Each column of W is a component's spectrum; its row in H says when it sounds and how loudly. Two ways to learn them:
:func:`nmf`, multiplicative updates (Lee & Seung, "Algorithms for Non-negative Matrix Factorization", NIPS 2000), and
:class:`AmortisedNMF`, where a network gives H, as in the L-MAC recipe's version of L2I.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.errors import ConfigError, InputError
from audioxai.support.options import at_least_one

__all__ = ["AmortisedNMF", "Factors", "nmf", "soft_mask"]

_CHECK_EVERY = 10
_SMALLEST = torch.finfo(torch.float32).eps  # of a denominator that would be zero


@dataclass(frozen=True)
class Factors:
    """A factorisation.

    Args:
        dictionary: W (F, R), columns of unit length; all zero where a component died.
        activations: H (R, N).
        losses: mean of (V - W H)^2 before the first update and after every tenth.
    """

    dictionary: Tensor
    activations: Tensor
    losses: list[float]


def nmf(
    spectrogram: Tensor,
    components: int,
    *,
    iterations: int = 200,
    tolerance: float = 1e-4,
    seed: int = 0,
    start: tuple[Tensor, Tensor] | None = None,
) -> Factors:
    """Factorise by multiplicative updates, which never raise the squared error and keep every entry non-negative.

    Args:
        spectrogram: V (F, N) floats, 0 or more, such as log(1 + magnitude); columns are frames of any number of clips.
        components: R, at most N: with as many components as frames, the frames themselves would be the dictionary.
        iterations: most updates of W and H, in this order.
        tolerance: stop when ten updates lower the square root of the error by less than this share of its start.
        seed: of the random start.
        start: W (F, R) and H (R, N) to start from in place of a random start.

    Raises:
        InputError: V is empty, negative, not finite, or zero everywhere.
        ConfigError: ``components`` or ``iterations`` out of range, or a start of another shape or negative.
    """
    rows, frames = _check(spectrogram)
    if not 1 <= components <= frames:
        raise ConfigError(
            f"components={components} must lie between 1 and the number of frames, here {frames}; "
            "take fewer components or more clips"
        )
    at_least_one("iterations", iterations)
    v = spectrogram.detach().float()
    w, h = _random_start(v, components, seed) if start is None else (part.to(v).clone() for part in start)
    if w.shape != (rows, components) or h.shape != (components, frames) or (w < 0).any() or (h < 0).any():
        raise ConfigError(
            f"start must be W ({rows}, {components}) and H ({components}, {frames}), 0 or more; "
            f"got {tuple(w.shape)} and {tuple(h.shape)}"
        )
    losses = [_error(v, w, h)]
    for step in range(1, iterations + 1):
        w *= _ratio(v @ h.T, w @ (h @ h.T))
        h *= _ratio(w.T @ v, (w.T @ w) @ h)
        if step % _CHECK_EVERY == 0:
            losses.append(_error(v, w, h))
            if losses[-2] ** 0.5 - losses[-1] ** 0.5 < tolerance * losses[0] ** 0.5:
                break
    peak = w.amax(0).clamp(min=torch.finfo(w.dtype).tiny)
    length = (w / peak).norm(dim=0)  # of faint columns the squares would vanish
    return Factors(w / peak / length.clamp(min=_SMALLEST), h * (peak * length)[:, None], losses)


def soft_mask(dictionary: Tensor, activations: Tensor, kept: Tensor, floor: float = 1e-10) -> Tensor:
    """Share of some components in the model W H of a spectrogram, cell by cell.

    Args:
        dictionary: W (F, R).
        activations: H (B, R, N).
        kept: (B, R) bool, the components that the mask keeps.
        floor: added to W H, so that silence gives 0.

    Returns:
        W_kept H_kept / (W H), (B, F, N) in [0, 1]. Source: L2I, section 3.3; ``floor`` of the L-MAC recipe.
    """
    part = dictionary @ (activations * kept[:, :, None])
    return (part / (dictionary @ activations + floor)).clamp(max=1)  # sums in another order may exceed 1 by a digit


class AmortisedNMF(nn.Module):
    """NMF whose activations come from a convolutional encoder over time, learnt together with the dictionary.

    Minimise :meth:`loss` over clips. Source: the L-MAC recipe, which learns L2I's dictionary so.

    Args:
        rows: F.
        components: R.
        hidden: channels between.
        kernel: frames that a convolution sees.
    """

    def __init__(self, rows: int, components: int, hidden: Sequence[int] = (256, 128), kernel: int = 8) -> None:
        super().__init__()
        sizes = [rows, *hidden, components]
        self.encoder = nn.ModuleList(nn.Conv1d(i, o, kernel) for i, o in pairwise(sizes))
        self.weight = nn.Parameter(0.1 * torch.rand(rows, components))
        self._padding = ((kernel - 1) // 2, kernel // 2)

    @property
    def dictionary(self) -> Tensor:
        """W (F, R)."""
        return self.weight.relu()

    def forward(self, spectrogram: Tensor) -> Tensor:
        """V (B, F, N) to H (B, R, N)."""
        h = spectrogram
        for layer in self.encoder:
            h = layer(F.pad(h, self._padding)).relu()
        return h

    def loss(self, spectrogram: Tensor) -> Tensor:
        """Mean of (V - W H)^2 of each clip, (B, F, N) to (B,)."""
        return torch.as_tensor((self.dictionary @ self(spectrogram) - spectrogram).square().mean((1, 2)))


def _check(v: Tensor) -> torch.Size:
    if v.ndim != 2 or v.is_complex() or 0 in v.shape:
        raise InputError(f"a spectrogram to factorise is (F, N) of at least one cell; got {tuple(v.shape)} {v.dtype}")
    if not torch.isfinite(v).all():
        raise InputError("the spectrogram holds NaN or infinite values; repair or drop the clips they come from")
    if float(v.min()) < 0:
        raise InputError(
            f"the spectrogram holds negative values down to {float(v.min()):.3g}; factorise magnitudes or "
            "log(1 + magnitude), not decibels or plain logarithms"
        )
    if not float(v.max()) > 0:
        raise InputError("the spectrogram is zero everywhere: silence has no components; give audible clips")
    return v.shape


def _random_start(v: Tensor, components: int, seed: int) -> tuple[Tensor, Tensor]:
    """|N(0, 1)| scaled so that W H has about the mean of V."""
    generator = torch.Generator().manual_seed(seed)
    scale = (float(v.mean()) / components) ** 0.5
    w, h = (
        scale * torch.randn(size, generator=generator).abs()
        for size in ((v.shape[0], components), (components, v.shape[1]))
    )
    return w.to(v.device), h.to(v.device)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return numerator / torch.where(denominator == 0, _SMALLEST, denominator)


def _error(v: Tensor, w: Tensor, h: Tensor) -> float:
    return float((v - w @ h).square().mean())
