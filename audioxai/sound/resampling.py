"""Band-limited resampling by a windowed sinc: torchaudio's; ours for rates whose kernel there would take gigabytes."""

from __future__ import annotations

import functools
import math
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from audioxai.errors import ConfigError
from audioxai.support.optional import required_import

__all__ = ["resample"]

_LARGEST_KERNEL = 1 << 22  # numbers; rates without a common divisor need more
_CHUNK = 1 << 14
_BETA = 14.769656459379492  # torchaudio's


def resample(
    waveform: Tensor,
    orig_freq: int,
    new_freq: int,
    lowpass_filter_width: int = 6,
    rolloff: float = 0.99,
    resampling_method: Literal["sinc_interp_hann", "sinc_interp_kaiser"] = "sinc_interp_hann",
    beta: float | None = None,
) -> Tensor:
    """``torchaudio.functional.resample`` with weights in float64, an exact length, and any two rates; differentiable.

    Args:
        waveform: (..., T) float.
        orig_freq: rate of the input in Hz.
        new_freq: rate of the output in Hz.
        lowpass_filter_width: zero crossings of the sinc on each side; more is sharper and slower.
        rolloff: cut-off as a fraction of the lower Nyquist frequency.
        resampling_method: window of the sinc.
        beta: shape of the Kaiser window; default 14.769656459379492.

    Returns:
        (..., ceil(T * new_freq / orig_freq)) float.

    Raises:
        ConfigError: rates that are no positive whole numbers, or another option out of range.
        MissingDependencyError: torchaudio is absent or does not load.
    """
    if not (_is_rate(orig_freq) and _is_rate(new_freq)):
        raise ConfigError(f"sample rates must be positive whole numbers of Hz; got {orig_freq!r} and {new_freq!r}")
    if lowpass_filter_width < 1 or not 0 < rolloff <= 1:
        raise ConfigError(
            f"resampling needs lowpass_filter_width >= 1 and 0 < rolloff <= 1; got {lowpass_filter_width}, {rolloff}"
        )
    if resampling_method not in ("sinc_interp_hann", "sinc_interp_kaiser"):
        raise ConfigError(f"resampling_method={resampling_method!r} is not known; choose a sinc_interp_ method")
    if orig_freq == new_freq:
        return waveform
    beta = None if resampling_method == "sinc_interp_hann" else _BETA if beta is None else beta
    gcd = math.gcd(int(orig_freq), int(new_freq))
    orig, new = int(orig_freq) // gcd, int(new_freq) // gcd
    samples = waveform.shape[-1]
    length = -(-new * samples // orig)
    rows = waveform.reshape(math.prod(waveform.shape[:-1]), samples)
    width = math.ceil(lowpass_filter_width * orig / (min(orig, new) * rolloff))
    if new * (orig + 2 * width) > _LARGEST_KERNEL:
        resampled = _sample_by_sample(rows, length, orig, new, width, lowpass_filter_width, rolloff, beta)
    else:
        options = (resampling_method, lowpass_filter_width, rolloff, beta)
        # torchaudio rounds the length to float32: it gets more than enough, and what is beyond the length goes.
        rows = torch.nn.functional.pad(rows, (0, orig * (1 + (length >> 23))))
        with torch.autocast(rows.device.type, enabled=False):
            resampled = _resampler(orig, new, *options, device=rows.device, dtype=rows.dtype)(rows)[:, :length]
    return resampled.reshape(*waveform.shape[:-1], length)


@functools.lru_cache(maxsize=16)
def _resampler(*options: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """torchaudio's module, its weights computed in float64: in float32 they are off by 2e-5."""
    with torch.inference_mode(False), torch.no_grad():
        module = required_import("torchaudio.transforms", "Resample")(*options, dtype=torch.float64)
        return module.to(dtype).to(device)


def _sample_by_sample(
    rows: Tensor, length: int, orig: int, new: int, width: int, zeros: int, rolloff: float, beta: float | None
) -> Tensor:
    """(R, T) to (R, length), each output sample by its own weights, in chunks; ``width`` is the reach of the sinc."""
    padded = torch.nn.functional.pad(rows, (width, width + 1))
    reach = torch.arange(-width, width + 2)
    made = [rows[:, :0]]
    for first in range(0, length, _CHUNK):
        place = torch.arange(first, min(first + _CHUNK, length)) * orig
        whole, part = place // new, (place % new).double() / new
        with torch.no_grad():
            weights = _sinc(reach - part[:, None], min(orig, new) * rolloff / orig, zeros, beta).to(rows)
        taps = padded[:, (whole[:, None] + reach + width).to(rows.device)]
        made.append((taps * weights).sum(-1))
    return torch.cat(made, 1)


def _sinc(distance: Tensor, cutoff: float, zeros: int, beta: float | None) -> Tensor:
    """Weights of input samples at a distance from an output sample, in input samples."""
    t = (distance * cutoff).clamp(-zeros, zeros)
    if beta is None:
        window = torch.cos(t * math.pi / zeros / 2) ** 2
    else:
        inner = beta * (1 - (t / zeros) ** 2).clamp(min=0).sqrt()
        window = torch.i0(inner) / torch.i0(torch.tensor(beta, dtype=torch.float64))
    return torch.sinc(t) * window * cutoff


def _is_rate(value: Any) -> bool:
    number = isinstance(value, Real)
    return number and value is not True and value > 0 and int(value) == value
