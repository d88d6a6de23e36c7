"""Clips for the tests of explained data sets, and what is asked of their results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import networks
import soundfile

HERE = Path(__file__).parent
RATE = networks.RATE
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])}
SECONDS = {"a/0": 0.5, "a/1": 0.5, "b/0": 0.75, "b/deep/1": 0.5, "long": 2.3, "z": 0.25}


def write_clips(root: Path) -> Path:
    """Six readable clips of four lengths, one of them long and at another rate, and one that is not audio."""
    for number, (name, seconds) in enumerate(SECONDS.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rate = 16000 if name == "long" else RATE
        samples = networks.clips(1, round(seconds * rate), number)[0].numpy()
        soundfile.write(root / f"{name}.wav", samples, rate, "FLOAT")
    (root / "b" / "text.wav").write_text("not audio")
    return root


def files(out: Path) -> dict[str, bytes]:
    """All that a run has written."""
    return {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}


class Rows:
    """A stand-in for a data set of the library datasets, whose files are left as they are."""

    column_names = ("audio", "label")

    def __init__(self, *audio: dict[str, Any]) -> None:
        self.audio = audio

    def __len__(self) -> int:
        return len(self.audio)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"audio": self.audio[index], "label": 0}
