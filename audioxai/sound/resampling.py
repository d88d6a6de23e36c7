"""Band-limited resampling by a windowed sinc; the arithmetic of torchaudio's ``resample``."""

from __future__ import annotations

import functools
import math
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from audioxai.errors import ConfigError

__all__ = ["resample"]

_LARGEST_KERNEL = 1 << 22  # numbers; rates without a common divisor need more, and are not worth keeping
_CHUNK = 1 << 14


@functools.lru_cache(maxsize=16)
def _sinc_kernel(orig: int, new: int, zeros: int, rolloff: float, beta: float | None) -> tuple[Tensor, int]:
    """Polyphase windowed-sinc kernels (new, 1, 2 * width + orig) and their one-sided width."""
    with torch.inference_mode(False), torch.no_grad():
        width = _sinc_width(orig, new, zeros, rolloff)
        offsets = torch.arange(-width, width + orig, dtype=torch.float64)
        phases = torch.arange(new, dtype=torch.float64) * orig / new
        return _sinc(offsets - phases[:, None], orig, new, zeros, rolloff, beta)[:, None], width


def _sinc_width(orig: int, new: int, zeros: int, rolloff: float) -> int:
    """Input samples that the sinc reaches on each side."""
    return math.ceil(zeros * orig / (min(orig, new) * rolloff))


def _sinc(distance: Tensor, orig: int, new: int, zeros: int, rolloff: float, beta: float | None) -> Tensor:
    """Weights of input samples at a distance from an output sample, in input samples; float64 to float32."""
    base = min(orig, new) * rolloff / orig
    t = (distance * base).clamp(-zeros, zeros)
    if beta is None:
        window = torch.cos(t * math.pi / zeros / 2) ** 2
    else:
        inner = beta * (1 - (t / zeros) ** 2).clamp(min=0).sqrt()
        window = torch.i0(inner) / torch.i0(torch.tensor(beta, dtype=torch.float64))
    return (torch.sinc(t) * window * base).float()


def _sinc_by_sample(waveform: Tensor, length: int, orig: int, new: int, *shape: Any) -> Tensor:
    """Output samples (R, length) each by its own weights, in chunks: for rates whose kernel would be enormous."""
    width = _sinc_width(orig, new, *shape[:2])
    padded = torch.nn.functional.pad(waveform, (width, width + 1))
    reach = torch.arange(-width, width + 2)
    made = []
    for first in range(0, length, _CHUNK):
        place = torch.arange(first, min(first + _CHUNK, length)) * orig
        whole, part = place // new, (place % new).double() / new
        with torch.no_grad():
            weights = _sinc(reach - part[:, None], orig, new, *shape).to(waveform)
        taps = padded[:, (whole[:, None] + reach + width).to(waveform.device)]
        made.append((taps * weights).sum(-1))
    return torch.cat(made, 1)


def resample(
    waveform: Tensor,
    orig_freq: int,
    new_freq: int,
    lowpass_filter_width: int = 6,
    rolloff: float = 0.99,
    resampling_method: Literal["sinc_interp_hann", "sinc_interp_kaiser"] = "sinc_interp_hann",
    beta: float | None = None,
) -> Tensor:
    """Band-limited resampling by a windowed sinc, differentiable.

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
    """
    if not (_is_rate(orig_freq) and _is_rate(new_freq)):
        raise ConfigError(f"sample rates must be positive whole numbers of Hz; got {orig_freq!r} and {new_freq!r}")
    if lowpass_filter_width < 1 or not 0 < rolloff <= 1:
        raise ConfigError(
            f"resampling needs lowpass_filter_width >= 1 and 0 < rolloff <= 1; got {lowpass_filter_width}, {rolloff}"
        )
    if orig_freq == new_freq:
        return waveform
    if resampling_method not in ("sinc_interp_hann", "sinc_interp_kaiser"):
        raise ConfigError(f"resampling_method={resampling_method!r} is not known; choose a sinc_interp_ method")
    if resampling_method == "sinc_interp_kaiser":
        beta = 14.769656459379492 if beta is None else beta
    else:
        beta = None
    gcd = math.gcd(int(orig_freq), int(new_freq))
    orig, new = int(orig_freq) // gcd, int(new_freq) // gcd
    samples = waveform.shape[-1]
    length = -(-new * samples // orig)
    shape = (lowpass_filter_width, rolloff, beta)
    if new * (orig + 2 * _sinc_width(orig, new, *shape[:2])) > _LARGEST_KERNEL:
        rows = waveform.reshape(-1, samples)
        return _sinc_by_sample(rows, length, orig, new, *shape).reshape(*waveform.shape[:-1], length)
    kernel, width = _sinc_kernel(orig, new, *shape)
    padded = torch.nn.functional.pad(waveform.reshape(-1, 1, samples), (width, width + orig))
    with torch.autocast(waveform.device.type, enabled=False):
        phases = torch.nn.functional.conv1d(padded, kernel.to(waveform), stride=orig)
    return phases.transpose(1, 2).reshape(*waveform.shape[:-1], -1)[..., :length]


def _is_rate(value: Any) -> bool:
    number = isinstance(value, Real)
    return number and value is not True and value > 0 and int(value) == value
