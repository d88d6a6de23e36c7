"""What may be explained: the rules for waveforms and batches, once."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import InputError
from audioxai.sound.dsp import resample
from audioxai.sound.files import load

__all__ = ["WaveformLike", "as_waveform", "read_batch"]

WaveformLike: TypeAlias = "Tensor | np.ndarray[Any, Any] | str | os.PathLike[str] | Sequence[float]"

_AUDIO_KEYS = ("waveform", "audio", "input_values", "wav", "x")
_LOUDEST = 100.0


def as_waveform(given: WaveformLike, sample_rate: int, given_rate: int | None = None, *, finite: bool = True) -> Tensor:
    """A clip or batch in any accepted form as a float32 tensor (B, T) on its own device.

    Args:
        given: (T,), (B, T) or (B, 1, T) tensor or array of floats in [-1, 1], or the path of a file.
        sample_rate: the rate wanted, in Hz.
        given_rate: the rate of a tensor or array, if it is not ``sample_rate``; it is then resampled. A file knows its
            own.
        finite: refuse NaN and infinite samples.

    Raises:
        InputError: wrong shape or type, no samples, NaN or infinite values.
        AudioFileError: a file that cannot be read.
    """
    if isinstance(given, str | os.PathLike):
        if given_rate is not None:
            raise InputError(f"sample_rate={given_rate} was given for the file {os.fspath(given)!r}, which has its own")
        waveform, _ = load(given, sample_rate)
    else:
        waveform = _as_tensor(given)
    if waveform.is_complex() or not waveform.is_floating_point():
        raise InputError(
            f"a waveform holds floats in [-1, 1]; got {waveform.dtype}. Convert 16-bit integers with x.float() / 32768"
        )
    shape = tuple(waveform.shape)
    if waveform.ndim == 3 and shape[1] == 1:
        waveform = waveform[:, 0]
    elif waveform.ndim == 3:
        raise InputError(f"a batch (B, 1, T) must be mono; got {shape}. Average the channels with x.mean(1)")
    elif waveform.ndim == 1:
        waveform = waveform[None]
    if waveform.ndim != 2:
        raise InputError(f"a waveform has shape (T,), (B, T) or (B, 1, T); got {shape}")
    if 0 in waveform.shape:
        raise InputError(f"the waveform of shape {shape} has no samples; give at least one clip of one sample")
    waveform = waveform.detach().float()
    bad = ~torch.isfinite(waveform).all(1)
    if finite and bad.any():
        clip = int(bad.nonzero()[0, 0])
        raise InputError(f"clip {clip} of {len(waveform)} holds NaN or infinite samples; repair or drop it")
    peak = float(waveform.abs().max())
    if peak > _LOUDEST:
        warnings.warn(
            f"the waveform peaks at {peak:.0f}; floats in [-1, 1] are expected, so divide 16-bit values by 32768",
            stacklevel=3,
        )
    if given_rate is not None and given_rate != sample_rate:
        waveform = resample(waveform, given_rate, sample_rate)
    # A tensor made in inference mode may not be saved for a backward pass; a copy may.
    return waveform.clone() if waveform.is_inference() else waveform.contiguous()


def _as_tensor(given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given
    try:
        array = np.asarray(given)
        # Torch takes neither foreign byte orders nor negative strides, and warns about read-only memory.
        return torch.as_tensor(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    except (TypeError, ValueError, RuntimeError) as error:
        files = isinstance(given, list | tuple) and any(isinstance(one, str | os.PathLike) for one in given)
        why = "give one file at a time, or all to explain_dataset" if files else str(error)
        raise InputError(
            f"a waveform is a tensor, an array or the path of a file; got {type(given).__name__} ({why})"
        ) from error


def read_batch(batch: Any, sample_rate: int, *, finite: bool = True) -> Tensor:
    """The waveforms (B, T) of one batch of a loader: a tensor, (waveform, ...) or a dict with a waveform.

    Labels and other entries are ignored; ``finite`` as for :func:`as_waveform`.
    """
    if isinstance(batch, Mapping):
        key = next((k for k in _AUDIO_KEYS if k in batch), None)
        if key is None:
            raise InputError(f"a dict batch needs one of the keys {', '.join(_AUDIO_KEYS)}; got {', '.join(batch)}")
        batch = batch[key]
    elif isinstance(batch, tuple | list) and len(batch) > 0:
        batch = batch[0]
    if not isinstance(batch, Tensor | np.ndarray):
        raise InputError(
            f"a batch is a waveform tensor, (waveform, label) or a dict with a waveform; got {type(batch).__name__}"
        )
    return as_waveform(batch, sample_rate, finite=finite)
