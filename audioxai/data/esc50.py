"""ESC-50, and its ten-class subset ESC-10, in the layout of the published archive."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from audioxai.audio import load
from audioxai.errors import AudioFileError, ConfigError

__all__ = ["ESC50"]


class ESC50(Dataset[tuple[Tensor, int]]):
    """Clips of ESC-50 with their classes, decoded on first use and kept in memory.

    Args:
        root: folder with ``meta/esc50.csv`` and ``audio/``.
        folds: which of the folds 1 to 5.
        esc10: only the ten-class subset.
        sample_rate: clips are resampled to it, in Hz.
        seconds: clips are cut or zero-padded to it.

    Attributes:
        labels: class names, sorted; an item is (waveform (T,), class).

    Raises:
        AudioFileError: no such folder, or one without the data set.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        folds: Sequence[int] = (1, 2, 3, 4, 5),
        esc10: bool = False,
        sample_rate: int = 16000,
        seconds: float = 5.0,
    ) -> None:
        self.root = Path(root)
        table = self.root / "meta" / "esc50.csv"
        if not table.is_file():
            raise AudioFileError(
                f"{str(self.root)!r} holds no ESC-50: expected meta/esc50.csv and audio/ there. "
                "Get the archive from https://github.com/karolpiczak/ESC-50 and pass its folder"
            )
        if bad := set(folds) - {1, 2, 3, 4, 5}:
            raise ConfigError(f"folds {sorted(bad)} do not exist; ESC-50 has folds 1 to 5")
        with table.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if not esc10 or row["esc10"] == "True"]
        self.labels = tuple(sorted({row["category"] for row in rows}))
        self.files = [self.root / "audio" / row["filename"] for row in rows if int(row["fold"]) in folds]
        self.classes = [self.labels.index(row["category"]) for row in rows if int(row["fold"]) in folds]
        self.sample_rate = sample_rate
        self.samples = round(seconds * sample_rate)
        self._clips: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index not in self._clips:
            waveform, _ = load(self.files[index], self.sample_rate)
            waveform = waveform[: self.samples]
            self._clips[index] = torch.nn.functional.pad(waveform, (0, self.samples - len(waveform)))
        return self._clips[index], self.classes[index]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All clips (B, T) and classes (B,)."""
        clips = [self[i][0] for i in range(len(self))]
        return torch.stack(clips), torch.tensor(self.classes)
