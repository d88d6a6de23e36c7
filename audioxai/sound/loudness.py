"""Loudness after ITU-R BS.1770: K-weighting, then the mean power of the blocks that are not quiet.

Not torchaudio's: its filters are not the standard's (-3.28 for a sine of -3.01 LUFS) and clip loud clips in between;
silence is NaN there, and a clip shorter than a block an error.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from audioxai.errors import InputError

__all__ = ["k_weighting", "loudness"]

Samples = np.ndarray[Any, np.dtype[np.float64]]

# BS.1770-4, tables 1 and 2: head (a high shelf) and RLB (a high pass), numerators and denominators at 48 kHz.
_TABLES_RATE = 48000
_STAGES = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
_BLOCK, _OVERLAP = 0.4, 0.75  # seconds, share
_SILENCE, _BELOW_MEAN = -70.0, -10.0  # gates: LUFS, and LU against the mean of what passes the first


def k_weighting(sample_rate: int) -> Samples:
    """The two filters as second-order sections (2, 6) for ``scipy.signal.sosfilt``.

    The standard's coefficients at 48 kHz are taken back to the analogue filter by the bilinear transform, and from
    there to ``sample_rate`` in Hz.
    """
    c = sample_rate / _TABLES_RATE
    near, far = np.array([1 + c, 1 - c]), np.array([1 - c, 1 + c])  # z at 48 kHz is near / far in z at the new rate
    squares = np.stack([np.convolve(near, near), np.convolve(near, far), np.convolve(far, far)])
    sections = [np.concatenate([np.array(b) @ squares, np.array(a) @ squares]) for b, a in _STAGES]
    return np.stack([section / section[3] for section in sections])


def loudness(waveform: Tensor, sample_rate: int) -> float:
    """Integrated, gated loudness of a mono clip.

    Args:
        waveform: (T,). A clip shorter than a block of 0.4 s is one block.
        sample_rate: in Hz.

    Returns:
        In LUFS; a sine of 997 Hz and peak 1 has -3.01 (-2.89 at 8 kHz, where the filters bend). ``-inf`` where every
        block is below -70 LUFS.

    Raises:
        InputError: not one waveform, or NaN or infinite samples.
    """
    from scipy.signal import sosfilt

    samples = waveform.detach().cpu().double().numpy()
    if samples.ndim != 1 or not samples.size:
        raise InputError(f"loudness is that of one waveform (T,); got shape {tuple(samples.shape)}")
    if not np.isfinite(samples).all():
        raise InputError("the waveform holds NaN or infinite samples, so it has no loudness")
    block = min(len(samples), round(_BLOCK * sample_rate))
    step = max(1, round(_BLOCK * (1 - _OVERLAP) * sample_rate))
    energy = np.concatenate([[0.0], np.cumsum(sosfilt(k_weighting(sample_rate), samples) ** 2)])
    starts = np.arange(0, len(samples) - block + 1, step)
    power = np.maximum((energy[starts + block] - energy[starts]) / block, 0.0)
    loud = power[power > _power(_SILENCE)]
    loud = loud[loud > loud.mean() * 10 ** (_BELOW_MEAN / 10)] if loud.size else loud
    return -0.691 + 10 * math.log10(loud.mean()) if loud.size else -math.inf


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))
