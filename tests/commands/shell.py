"""Commands as a shell user starts them, and what they leave on the disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RATE = 16000
FILES = ["explanation.json", "explanation.wav", "input.wav", "mask.npz", "picture.png", "removed.wav"]
SHORT = ["--seconds", "0.5", "--epochs", "2", "--classifier-epochs", "3"]

OWN = """
import torch
from audioxai import AudioClassifier
def build():
    torch.manual_seed(0)
    layers = torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 8, 64, 16), torch.nn.ReLU()
    head = torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    return AudioClassifier(torch.nn.Sequential(*layers, *head), sample_rate=8000, labels=["a", "b", "7"])
def boom():
    raise KeyError("x")
number = 3
"""


def shell(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audioxai", *map(str, arguments)]
    return subprocess.run(command, text=True, check=False, **{"capture_output": True, **options})


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
