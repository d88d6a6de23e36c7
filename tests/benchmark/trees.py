"""Small data sets in the layouts of the real ones: one-second synthetic sounds."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

import audioxai as ax
from audioxai.data import make_event

RATE = 16000
CLASSES = ("siren", "hiss", "knocks")
#: Settings of a run over them that takes seconds.
SMALL = {"seconds": 1.0, "epochs": 1, "classifier_epochs": 2, "methods": ("gradcam", "lmac")}


def quiet(_line: str) -> None:
    """Says nothing."""


def event(name: str, seed: int) -> torch.Tensor:
    return 0.5 * make_event(name, seconds=1.0, sample_rate=RATE, generator=torch.Generator().manual_seed(seed))


def esc50(root: Path, per_fold: int = 2) -> Path:
    rows = []
    for fold in range(1, 6):
        for k, name in enumerate(CLASSES):
            for take in range(per_fold):
                file = f"{fold}-{100 * k + take}-A-{k}.wav"
                ax.save(root / "audio" / file, event(name, 1000 * fold + 10 * k + take), RATE)
                rows.append([file, fold, k, name, str(k < 2), "1", "A"])
    write_csv(
        root / "meta" / "esc50.csv", ["filename", "fold", "target", "category", "esc10", "src_file", "take"], rows
    )
    return root


def us8k(root: Path) -> Path:
    rows = []
    for fold in range(1, 11):
        for k, name in enumerate(CLASSES):
            file = f"{100 + fold}-{k}-0-0.wav"
            ax.save(root / "audio" / f"fold{fold}" / file, event(name, 500 * fold + k), RATE)
            rows.append([file, 100 + fold, 0.0, 1.0, 1, fold, k, name])
    write_csv(
        root / "metadata" / "UrbanSound8K.csv",
        ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"],
        rows,
    )
    return root


def folder(root: Path, per_class: int = 4) -> tuple[Path, Path]:
    rows = []
    for k, name in enumerate(CLASSES):
        for take in range(per_class):
            file = f"{name}-{take}.wav"
            ax.save(root / file, event(name, 77 * k + take), RATE)
            rows.append([file, name])
    return root, write_csv(root / "labels.csv", ["file", "label"], rows)


def speech(root: Path) -> Path:
    for i in range(2):
        ax.save(root / f"reading-{i}.wav", event("bark", i).repeat(2), RATE)
    return root


def write_csv(path: Path, head: list[str], rows: list[list[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path
