"""Audio files: load with resampling and a stereo policy, save whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import AudioFileError, ConfigError, InputError
from audioxai.sound.containers import cut_short, open_audio, read_blocks
from audioxai.sound.resampling import resample
from audioxai.support.files import PathLike, write_whole

__all__ = ["AUDIO_SUFFIXES", "find_audio", "load", "save"]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".caf")


def load(path: PathLike, sample_rate: int | None = None, *, channel: str | int = "mean") -> tuple[Tensor, int]:
    """Read a WAV, FLAC, Ogg, MP3 or other file that libsndfile knows.

    Args:
        path: the file.
        sample_rate: resample to this rate in Hz; default the file's own.
        channel: what becomes of several channels: ``"mean"`` averages them, an index picks one, ``"all"`` keeps them.

    Returns:
        The waveform, float32 of shape (T,), or (C, T) with ``channel="all"``, and its rate in Hz.

    Raises:
        AudioFileError: missing, empty, truncated or not audio.
        InputError: the file has no such channel.
    """
    path = Path(path)
    with open_audio(path) as (file, announced):
        rate = int(file.samplerate)
        samples = np.concatenate([np.zeros((0, file.channels), np.float32), *read_blocks(file)])
    if samples.shape[0] == 0:
        raise AudioFileError(f"{str(path)!r} holds no samples")
    if announced is not None and samples.shape[0] < announced:
        raise cut_short(path, announced, samples.shape[0])
    channels = torch.from_numpy(samples.T.copy())
    if not torch.isfinite(channels).all():
        raise AudioFileError(f"{str(path)!r} holds NaN or infinite samples; repair or re-export it")
    if channel == "mean":
        waveform = channels.mean(0)
    elif channel == "all":
        waveform = channels
    elif isinstance(channel, int) and -len(channels) <= channel < len(channels):
        waveform = channels[channel]
    elif isinstance(channel, int):
        raise InputError(f"{str(path)!r} has {len(channels)} channel(s), so there is no channel {channel}")
    else:
        raise ConfigError(f"channel={channel!r} is not known; choose 'mean', 'all' or an index")
    if sample_rate is not None and sample_rate != rate:
        waveform, rate = resample(waveform, rate, sample_rate), sample_rate
    return waveform, rate


def save(path: PathLike, waveform: Tensor, sample_rate: int) -> None:
    """Write a WAV or FLAC file, whole or not at all.

    16-bit PCM; a WAV whose peak exceeds 1 is written as 32-bit float, so nothing is clipped.

    Args:
        path: file ending in ``.wav`` or ``.flac``; its folder is created.
        waveform: (T,) or (C, T) float.
        sample_rate: in Hz.

    Raises:
        InputError: wrong shape, NaN or infinite samples, or a FLAC file for samples beyond ±1.
        OutputError: the file could not be written.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("wav", "flac"):
        raise ConfigError(f"cannot write {str(path)!r}: choose a name ending in .wav or .flac")
    if waveform.ndim not in (1, 2):
        raise InputError(f"a file holds a waveform (T,) or (C, T); got shape {tuple(waveform.shape)}")
    samples = waveform.detach().cpu().float().numpy()
    if not np.isfinite(samples).all():
        raise InputError(
            f"{str(path)!r}: the waveform holds NaN or infinite samples; a file would turn them into clicks"
        )
    loud = bool(samples.size and np.abs(samples).max() > 1.0)
    if loud and kind == "flac":
        raise InputError(f"{str(path)!r}: FLAC would clip a peak of {np.abs(samples).max():.3f}; write .wav instead")

    def write(file: BinaryIO) -> None:
        import soundfile

        # Encoded in memory: soundfile turns a full disk under it into an AssertionError.
        encoded = io.BytesIO()
        try:
            soundfile.write(encoded, samples.T, sample_rate, "FLOAT" if loud else "PCM_16", format=kind.upper())
        except soundfile.LibsndfileError as error:
            got = f"shape {tuple(waveform.shape)} at {sample_rate} Hz"
            raise InputError(f"{str(path)!r} cannot hold a waveform of {got} ({error.error_string})") from error
        file.write(encoded.getbuffer())

    write_whole(path, write)


def find_audio(paths: Iterable[PathLike]) -> list[Path]:
    """Files as given, and every audio file below the folders among ``paths``, sorted, hidden ones left out.

    A path that does not exist is returned too: :func:`load` names it, and it does not lose the others.

    Raises:
        AudioFileError: a folder without audio.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("[!.]*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
            if not inside:
                raise AudioFileError(f"no audio file below {str(path)!r}; looked for {', '.join(AUDIO_SUFFIXES)}")
            found += inside
        else:
            found.append(path)
    return found
