"""Folders of clips: read, pad, batch and divide them; one bad file does not lose the others."""

from __future__ import annotations

import csv
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from audioxai.data.clips import LabelledClips
from audioxai.data.registry import Split, register
from audioxai.errors import AudioFileError, AudioXAIError, ConfigError
from audioxai.sound.files import find_audio, load

__all__ = ["clips_of", "labelled_clips_of", "loader_of", "named_files"]

_FILE_COLUMNS = ("file", "filename", "path")
_LABEL_COLUMNS = ("label", "category", "class")


def clips_of(folder: Path, sample_rate: int, seconds: float) -> tuple[Tensor, list[str]]:
    """All clips below a folder, cut or zero-padded to one length.

    Returns:
        (n, T), and a line for each file that could not be read.

    Raises:
        AudioFileError: no file could be read.
    """
    clips, _, bad = _read(find_audio([_folder(folder)]), sample_rate, seconds)
    return clips, bad


def labelled_clips_of(
    folder: Path, sample_rate: int, seconds: float, table: Path | None = None
) -> tuple[Tensor, Tensor, list[str], list[str]]:
    """Clips of a folder with one subfolder per class, or with a table of labels.

    Args:
        folder: of the clips.
        sample_rate: in Hz.
        seconds: clips are cut or zero-padded to this length.
        table: CSV with the columns ``file`` (below ``folder``) and ``label``; ESC-50's own table fits too.

    Returns:
        (n, T), classes (n,), labels, and a line for each file that could not be read.

    Raises:
        ConfigError: fewer than two classes, or a table without these columns.
        AudioFileError: no file could be read, or none of a class.
    """
    named = named_files(folder, table)
    labels = sorted({label for _, label in named})
    if len(labels) < 2:
        where = f"the labels in {str(table)!r}" if table else f"the subfolders of {str(folder)!r}"
        raise ConfigError(
            f"a network is trained on at least two classes, one per label; {where} give {labels or 'none'}. Sort the "
            "clips into one subfolder per class, pass --labels FILE.csv, or --classifier for a network of your own"
        )
    clips, kept, bad = _read([file for file, _ in named], sample_rate, seconds)
    classes = torch.tensor([labels.index(named[i][1]) for i in kept])
    if empty := [label for k, label in enumerate(labels) if not (classes == k).any()]:
        raise AudioFileError(f"no clip of {', '.join(map(repr, empty))} could be read; the first problem: {bad[0]}")
    return clips, classes, labels, bad


def named_files(folder: Path, table: Path | None = None) -> list[tuple[Path, str]]:
    """Files of a folder with their labels, from its subfolders or a table; see :func:`labelled_clips_of`.

    Raises:
        ConfigError: a table that lists a file twice, or lacks a column.
    """
    named = _from_subfolders(_folder(folder)) if table is None else _from_table(_folder(folder), table)
    seen: set[Path] = set()
    for file, _ in named:
        if file.resolve() in seen:
            raise ConfigError(
                f"{str(table or folder)!r} lists {str(file)!r} more than once; keep one line for each clip"
            )
        seen.add(file.resolve())
    return named


def _folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise AudioFileError(f"{str(folder)!r} is {'not a folder' if folder.exists() else 'missing'}; check the path")
    return folder


def _from_subfolders(folder: Path) -> list[tuple[Path, str]]:
    subfolders = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [(file, subfolder.name) for subfolder in subfolders for file in find_audio([subfolder])]


def _from_table(folder: Path, table: Path) -> list[tuple[Path, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as text:
            reader = csv.DictReader(text)
            columns = reader.fieldnames or []
            file = next((c for c in _FILE_COLUMNS if c in columns), None)
            label = next((c for c in _LABEL_COLUMNS if c in columns), None)
            if file is None or label is None:
                raise ConfigError(f"{str(table)!r} needs the columns file and label in its first line; got {columns}")
            rows = [(row[file] or "", row[label] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AudioFileError(f"the labels {str(table)!r} cannot be read as CSV: {error}") from error
    if half := [number for number, row in enumerate(rows, start=2) if not all(row)]:
        raise ConfigError(f"{str(table)!r} lacks a file or a label in line {half[0]}")
    return [(folder / name, label) for name, label in rows]


def _read(files: list[Path], sample_rate: int, seconds: float) -> tuple[Tensor, list[int], list[str]]:
    """Clips (n, T), which of ``files`` they are, and a line for each of the others."""
    if not (math.isfinite(seconds) and seconds * sample_rate >= 1):
        raise ConfigError(f"seconds={seconds} must be a positive length")
    samples = round(seconds * sample_rate)
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
        raise AudioFileError(f"none of {len(files)} file(s) could be read; the first problem: {bad[0]}")
    return torch.stack(clips), kept, bad


def loader_of(clips: Tensor, classes: Tensor | None = None, batch_size: int = 16) -> DataLoader[tuple[Tensor, ...]]:
    """Shuffled batches; the last one is kept even if small."""
    data = TensorDataset(clips) if classes is None else TensorDataset(clips, classes)
    return DataLoader(data, batch_size=batch_size, shuffle=True)


@register("folder")
def _own_folder(root: Path, *, labels: Path | None = None, **options: Any) -> Split:
    """Clips of one's own: about a quarter of each class, drawn by file name, is explained; the others train."""
    named = sorted((_below(root, file), label) for file, label in named_files(root, labels))
    classes = sorted({label for _, label in named})
    if len(classes) < 2:
        raise ConfigError(f"a benchmark needs at least two classes; {str(labels or root)!r} gives {classes or 'none'}")
    train, test = [], []
    for k, label in enumerate(classes):
        files = [file for file, given in named if given == label]
        if len(files) < 2:
            raise ConfigError(f"class {label!r} has one clip; a benchmark needs one to train on and one to explain")
        files.sort(key=lambda file: hashlib.sha256(_name(root, file).encode()).digest())
        held_out = max(1, round(len(files) / 4))
        test += [(file, k) for file in files[:held_out]]
        train += [(file, k) for file in files[held_out:]]
    fitted, explained = (
        LabelledClips(root, [file for file, _ in part], [k for _, k in part], classes, **options)
        for part in (train, test)
    )
    words = "about a quarter of each class, drawn by file name, is explained; the others train"
    return Split(fitted, explained, fitted, words)


def _below(root: Path, file: Path) -> Path:
    """A file of a table, which may be named by its whole path, as one below ``root``; others as they are."""
    relative = Path(os.path.relpath(file, root))
    return file if ".." in relative.parts else root / relative


def _name(root: Path, file: Path) -> str:
    return Path(os.path.relpath(file, root)).with_suffix("").as_posix()
