"""Clips contaminated with other sounds at a set level: the formula, the conditions and their random draws.

A draw depends on the seed and on names alone, never on order, and the sums are made in float64.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import ConfigError, InputError, nearest

__all__ = ["CONDITIONS", "Condition", "contaminate", "mixing_gains", "white_noise"]

Samples = np.ndarray[Any, np.dtype[np.float64]]
_FLOOR = 1e-8  # of norms and peaks: silence stays silent


def white_noise(samples: int, seed: int) -> Samples:
    """Gaussian white noise (T,), float64 of unit variance, the same on every machine.

    Args:
        samples: T.
        seed: of NumPy's PCG64, 0 or more.
    """
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(samples)


@dataclass(frozen=True)
class Condition:
    """A way to contaminate clips.

    Args:
        name: told in manifests and tables.
        snr_db: energy of the clip over that of the contamination, in dB; ``None`` without one.
        source: of the contamination: ``"recordings"`` draws files of a data set, a function ``(T, seed) -> (T,)``
            makes it, ``None`` leaves the clips alone.
        peak: the absolute peak of the result; ``None`` keeps the clip at its own level.

    Raises:
        ConfigError: a level without a contamination or the reverse, or one that is not finite.
    """

    name: str
    snr_db: float | None
    source: Literal["recordings"] | Callable[[int, int], Samples] | None
    peak: float | None = 1.0

    def __post_init__(self) -> None:
        if not (self.source is None or self.source == "recordings" or callable(self.source)):
            raise ConfigError(f"source={self.source!r} must be 'recordings', a function (T, seed) -> (T,), or None")
        if (self.snr_db is None) != (self.source is None) or not math.isfinite(self.snr_db or 0.0):
            raise ConfigError(
                f"condition {self.name!r}: snr_db={self.snr_db!r} must be finite dB with a source, and None without"
            )
        if self.peak is not None and not 0 < self.peak < math.inf:
            raise ConfigError(
                f"condition {self.name!r}: peak={self.peak!r} must be positive, or None to keep the level"
            )


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("id", None, None, peak=None),
        Condition("mixtures", 20 * math.log10(0.8 / 0.2), "recordings"),
        Condition("speech", 20 * math.log10(0.8 / 0.2), "recordings"),
        Condition("white-noise", 20 * math.log10(1.0 / 0.5), white_noise),
        Condition("noise", 0.0, "recordings"),
    )
}
"""Conditions by name: the clips as they are; those of the L-MAC tables, with clips of another fold, with speech and
with white noise; and noise such as WHAM! at equal level. Another contamination costs one entry::

    CONDITIONS["rain"] = Condition("rain", 6.0, "recordings")
"""


def find_condition(condition: str | Condition) -> Condition:
    """A condition by its name."""
    if isinstance(condition, Condition):
        return condition
    if condition not in CONDITIONS:
        raise ConfigError(
            f"condition {condition!r} is not known; the nearest are {nearest(condition, CONDITIONS)}. Add your own to "
            "audioxai.data.CONDITIONS, or pass a Condition"
        )
    return CONDITIONS[condition]


def mixing_gains(clip: Tensor, noise: Tensor | Samples, snr_db: float, peak: float | None = 1.0) -> tuple[float, float]:
    """Factors of clip and contamination in ``m / max|m|`` with ``m = s/||s|| * a + n/||n|| * b``, ``a/b`` by the level.

    Norms are L2 over the whole clip, and a floor of 1e-8 under norms and peak keeps silence silent and finite.

    Args:
        clip: s, (T,).
        noise: n, (T,).
        snr_db: 20 log10(a/b).
        peak: of the result; ``None`` keeps the clip's own level instead, so its factor is 1.

    Returns:
        Factor of the clip, factor of the contamination.

    Raises:
        InputError: different lengths, or more than one dimension.

    Source: the L-MAC evaluation, with the absolute peak in place of the signed maximum.
    """
    s, n = _samples(clip), _samples(noise)
    if s.ndim != 1 or s.shape != n.shape:
        raise InputError(f"clip and contamination must both be (T,); got {tuple(s.shape)} and {tuple(n.shape)}")
    # Summed by NumPy, which uses no threads here.
    norms = [max(math.sqrt(float(np.square(x).sum())), _FLOOR) for x in (s, n)]
    gains = 1.0 / norms[0], 10 ** (-snr_db / 20) / norms[1]
    if peak is None:
        return 1.0, gains[1] / gains[0]
    highest = max(float(np.abs(gains[0] * s + gains[1] * n).max(initial=0.0)), _FLOOR)
    return peak * gains[0] / highest, peak * gains[1] / highest


def scaled(waveform: Tensor | Samples, gain: float) -> Samples:
    """A waveform (T,) times a factor, float64."""
    return gain * _samples(waveform)


def contaminate(clip: Tensor, noise: Tensor | Samples, snr_db: float, *, peak: float | None = 1.0) -> Tensor:
    """A clip with a contamination: see :func:`mixing_gains` for formula, arguments and errors.

    Returns:
        (T,) float32, summed in float64.
    """
    clip_gain, noise_gain = mixing_gains(clip, noise, snr_db, peak)
    return torch.from_numpy((scaled(clip, clip_gain) + scaled(noise, noise_gain)).astype(np.float32))


def draw(seed: int, *words: str | int) -> int:
    """A random number of 63 bits that depends on the seed and the words alone, on every machine and for good."""
    text = "\0".join(map(str, (int(seed), *words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _samples(waveform: Tensor | Samples) -> Samples:
    array = waveform.detach().cpu().numpy() if isinstance(waveform, Tensor) else waveform
    return np.asarray(array, dtype=np.float64)
