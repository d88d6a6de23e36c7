"""Folders of clips: read them, pad them to one length, batch them; one bad file does not lose the others."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from audioxai.audio import find_audio, load
from audioxai.errors import AudioFileError, AudioXAIError, ConfigError

__all__ = ["clips_of", "labelled_clips_of", "loader_of"]


def clips_of(folder: Path, sample_rate: int, seconds: float) -> tuple[Tensor, list[str]]:
    """All clips below a folder, cut or zero-padded to one length.

    Returns:
        (n, T), and a line for each file that could not be read.

    Raises:
        AudioFileError: no file could be read.
    """
    clips, _, _, bad = _read(find_audio([folder]), sample_rate, seconds)
    return clips, bad


def labelled_clips_of(folder: Path, sample_rate: int, seconds: float) -> tuple[Tensor, Tensor, list[str], list[str]]:
    """Clips of a folder with one subfolder per class.

    Returns:
        (n, T), classes (n,), labels, and a line for each file that could not be read.

    Raises:
        ConfigError: fewer than two subfolders with clips.
        AudioFileError: no file could be read.
    """
    if not folder.is_dir():
        raise AudioFileError(f"{str(folder)!r} is not a folder")
    labels = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if len(labels) < 2:
        raise ConfigError(
            f"{str(folder)!r} needs one subfolder of clips per class to train a network, at least two; found "
            f"{labels or 'none'}. For a network of your own pass --classifier MODULE:NAME"
        )
    files = {label: find_audio([folder / label]) for label in labels}
    flat = [(file, index) for index, label in enumerate(labels) for file in files[label]]
    clips, kept, _, bad = _read([file for file, _ in flat], sample_rate, seconds)
    return clips, torch.tensor([flat[i][1] for i in kept]), labels, bad


def _read(files: list[Path], sample_rate: int, seconds: float) -> tuple[Tensor, list[int], int, list[str]]:
    samples = round(seconds * sample_rate)
    if samples < 1:
        raise ConfigError(f"seconds={seconds} is too short")
    clips, kept, bad = [], [], []
    for index, file in enumerate(files):
        try:
            waveform = load(file, sample_rate)[0][:samples]
        except AudioXAIError as error:
            bad.append(str(error))
            continue
        clips.append(torch.nn.functional.pad(waveform, (0, samples - len(waveform))))
        kept.append(index)
    if not clips:
        raise AudioFileError(f"none of {len(files)} file(s) could be read; the first: {bad[0]}")
    return torch.stack(clips), kept, samples, bad


def loader_of(clips: Tensor, classes: Tensor | None = None, batch_size: int = 16) -> DataLoader[tuple[Tensor, ...]]:
    """Shuffled batches; the last one is kept even if small."""
    data = TensorDataset(clips) if classes is None else TensorDataset(clips, classes)
    return DataLoader(data, batch_size=batch_size, shuffle=True)
