"""Clips of one length out of files: what all data sets of recordings share."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from audioxai.data.cache import ClipCache
from audioxai.errors import AudioFileError, AudioXAIError, ConfigError
from audioxai.sound.files import AUDIO_SUFFIXES, load
from audioxai.support.files import PathLike

__all__ = ["ClipSet", "LabelledClips"]

_SHOWN = 5  # bad files that an error names
_KEPT = 16  # whole recordings kept decoded


class ClipSet:
    """Files as clips of T samples: channels averaged, resampled, cut or zero-padded at the end.

    Args:
        root: folder that the names of the files are relative to.
        files: below ``root``, in the order of the clips.
        sample_rate: in Hz.
        seconds: length of a clip; T = round(seconds * sample_rate).
        cache: folder for the decoded clips, see :class:`ClipCache`; every clip is decoded at once. Default: a clip is
            decoded on first use and kept in memory.
        skip_bad: leave out files that are missing or cannot be read, and list them in ``bad``; every clip is decoded
            at once. Default: missing files are an error at once, unreadable ones when they are read.

    Attributes:
        files: of the clips.
        names: the same relative to ``root``, with ``/``.
        bad: (file, reason) of those left out.
        samples: T.

    Raises:
        AudioFileError: missing or unreadable files; it names the first few and tells how many there are.
        ConfigError: no positive length or rate, or a file outside ``root``.
    """

    def __init__(
        self,
        root: PathLike,
        files: Sequence[Path],
        *,
        sample_rate: int = 16000,
        seconds: float = 5.0,
        cache: PathLike | None = None,
        skip_bad: bool = False,
    ) -> None:
        self.root, self.sample_rate, self.seconds = Path(root), sample_rate, seconds
        self.samples = _samples(seconds, sample_rate)
        reasons = {i: f"{str(file)!r} is missing" for i, file in enumerate(files) if not file.is_file()}
        self._refuse(files, {} if skip_bad else reasons)
        here = [i for i in range(len(files)) if i not in reasons]
        self._memory: dict[Path, Tensor] = {}
        self._wholes: dict[Path, Tensor] = {}
        self._cache: ClipCache | None = None
        if cache is not None and here:
            found = [files[i] for i in here]
            self._cache = ClipCache(
                cache, found, _names(self.root, found), self._decode, sample_rate=sample_rate, samples=self.samples
            )
            reasons |= {here[row]: reason for row, reason in self._cache.bad.items()}
        elif skip_bad:
            reasons |= {here[row]: reason for row, reason in self._read_all([files[i] for i in here]).items()}
        self._refuse(files, {} if skip_bad else reasons)
        self.bad = [(files[i], reasons[i]) for i in sorted(reasons)]
        self._rows = [row for row, i in enumerate(here) if i not in reasons]
        self._kept = [here[row] for row in self._rows]
        self.files = [files[i] for i in self._kept]
        self.names = _names(self.root, self.files)

    def __len__(self) -> int:
        return len(self.files)

    def clip(self, index: int) -> Tensor:
        """Clip (T,) float32, a copy."""
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):  # IndexError, since plain iteration stops on it
            raise IndexError(f"clip {index} is outside this data set of {len(self)}; use 0 to {len(self) - 1}")
        if self._cache is not None:
            return self._cache[self._rows[place]]
        file = self.files[place]
        if file not in self._memory:
            self._memory[file] = self._decode(file)
        return self._memory[file].clone()

    def clips(self) -> Tensor:
        """All clips (B, T).

        Raises:
            AudioFileError: some cannot be read; it names the first few and tells how many there are.
        """
        if self._cache is None:
            self._refuse(self.files, self._read_all(self.files))
        return torch.stack([self.clip(i) for i in range(len(self))]) if len(self) else torch.zeros(0, self.samples)

    def whole(self, index: int) -> Tensor:
        """The whole recording (any length,) of which clip ``index`` is the start."""
        file = self.files[index]
        whole = self._wholes.pop(file) if file in self._wholes else load(file, self.sample_rate)[0]
        self._wholes = dict([*self._wholes.items()][1 - _KEPT :]) | {file: whole}
        return whole.clone()

    def fit(self, waveform: Tensor, offset: int = 0) -> Tensor:
        """T samples (T,) of a waveform from ``offset`` on, zero-padded at the end."""
        cut = waveform[offset : offset + self.samples]
        return torch.nn.functional.pad(cut, (0, self.samples - len(cut)))

    def _decode(self, file: Path) -> Tensor:
        return self.fit(load(file, self.sample_rate)[0])

    def _read_all(self, files: Sequence[Path]) -> dict[int, str]:
        """Decode into memory what is not there yet; the reason for each place that cannot be read."""
        reasons = {}
        for i, file in enumerate(files):
            if file not in self._memory:
                try:
                    self._memory[file] = self._decode(file)
                except AudioXAIError as error:
                    reasons[i] = str(error)
        return reasons

    def _refuse(self, files: Sequence[Path], reasons: dict[int, str]) -> None:
        if reasons:
            lines = [reasons[i] for i in sorted(reasons)[:_SHOWN]]
            more = f"; and {len(reasons) - _SHOWN} more" if len(reasons) > _SHOWN else ""
            raise AudioFileError(
                f"{len(reasons)} of {len(files)} clip(s) in {str(self.root)!r} are missing or cannot be read: "
                f"{'; '.join(lines)}{more}. Restore them, or pass skip_bad=True to leave them out"
            )


class LabelledClips(ClipSet, Dataset[tuple[Tensor, int]]):
    """Clips with classes; an item is (waveform (T,), class).

    Args:
        root: folder that the names of the files are relative to.
        files: below ``root``, in the order of the clips.
        classes: one per file.
        labels: class names; a class is a place among them.
        sample_rate, seconds, cache, skip_bad: see :class:`ClipSet`, also for errors and ``bad``.

    Attributes:
        labels: class names.
        classes: of the clips.
    """

    def __init__(
        self,
        root: PathLike,
        files: Sequence[Path],
        classes: Sequence[int],
        labels: Sequence[str],
        *,
        sample_rate: int = 16000,
        seconds: float = 5.0,
        cache: PathLike | None = None,
        skip_bad: bool = False,
    ) -> None:
        if len(files) != len(classes) or not all(0 <= k < len(labels) for k in classes):
            raise ConfigError(f"{len(files)} files need as many classes from 0 to {len(labels) - 1}; got {classes!r}")
        super().__init__(root, files, sample_rate=sample_rate, seconds=seconds, cache=cache, skip_bad=skip_bad)
        self.labels = tuple(labels)
        self.classes = [classes[i] for i in self._kept]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.clip(index), self.classes[index]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All clips (B, T) and classes (B,)."""
        return self.clips(), torch.tensor(self.classes, dtype=torch.long)


def read_table(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV with at least these columns, or an AudioFileError."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise AudioFileError(f"{str(table)!r} lacks the column(s) {', '.join(missing)}; download it again")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AudioFileError(f"{str(table)!r} cannot be read as CSV: {error}; download it again") from error
    if half := next((i for i, row in enumerate(rows, start=2) if not all(row[column] for column in columns)), None):
        raise AudioFileError(f"{str(table)!r} lacks a value in line {half}; download it again")
    return rows


def find_same_stem(files: Sequence[Path]) -> list[Path]:
    """Each file, or where it is missing the audio file of the same stem beside it, whatever its suffix."""
    listings: dict[Path, dict[str, Path]] = {}
    for folder in {file.parent for file in files}:
        entries = [folder / name for name in (os.listdir(folder) if folder.is_dir() else ())]
        audio = [entry for entry in entries if entry.suffix.lower() in AUDIO_SUFFIXES]
        audio.sort(key=lambda entry: -AUDIO_SUFFIXES.index(entry.suffix.lower()))  # of several, the first suffix wins
        listings[folder] = {entry.stem: entry for entry in audio} | {entry.name: entry for entry in entries}
    return [listings[f.parent].get(f.name) or listings[f.parent].get(f.stem) or f for f in files]


def check_folds(folds: Sequence[int], known: int, data: str) -> None:
    """Raise a ConfigError for folds that the data set does not have."""
    if bad := set(folds) - set(range(1, known + 1)):
        raise ConfigError(f"folds {sorted(bad)} do not exist; {data} has folds 1 to {known}")


def _samples(seconds: float, sample_rate: int) -> int:
    if sample_rate <= 0 or int(sample_rate) != sample_rate:
        raise ConfigError(f"sample_rate={sample_rate!r} must be a positive whole number of Hz, such as 16000")
    if not (math.isfinite(seconds) and round(seconds * sample_rate) >= 1):
        raise ConfigError(f"seconds={seconds!r} must be a positive length, such as 5.0")
    return round(seconds * sample_rate)


def _names(root: Path, files: Sequence[Path]) -> list[str]:
    try:
        return [file.relative_to(root).as_posix() for file in files]
    except ValueError:
        outside = next(file for file in files if not file.is_relative_to(root))
        raise ConfigError(f"{str(outside)!r} is not below root={str(root)!r}; pass a folder above all files") from None
