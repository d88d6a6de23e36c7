"""Fakes for listening tests: explanations, and the answers of listeners who did not listen."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RATE, SAMPLES = 8000, 4000


@dataclass
class Heard:
    """What a listening test needs of an explanation."""

    input: Tensor
    waveform: Tensor
    names: list[str]
    target_names: list[str]
    sample_rate: int = RATE

    def __len__(self) -> int:
        return len(self.names)


def explained(strength: float = 0.5, clips: int = 3, samples: int = SAMPLES, hz: float = 600.0) -> Heard:
    """Clips of a tone in noise, each with a tone and a target of its own; what is kept is the tone and less noise."""
    time = torch.arange(samples) / RATE
    tones = torch.stack([0.2 * torch.sin(2 * torch.pi * hz * (i + 1) * time) for i in range(clips)])
    noise = 0.05 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(1))
    names, targets = [f"clip{i}.wav" for i in range(clips)], ["dog", "sea_waves", "owl", "rain"][:clips]
    return Heard(tones + noise, tones + strength * noise, names, targets)


def methods(**changes: Any) -> dict[str, Heard]:
    return {
        "L-MAC": explained(0.1, **changes),
        "GradCAM": explained(0.9, **changes),
        "louder 16 %": explained(0, **changes),
    }


def answers(
    key: Path,
    folder: Path,
    listener: str,
    rate: Callable[[dict[str, Any], random.Random], dict[str, int] | None],
    **changes: Any,
) -> Path:
    """An export as the page writes it: ``rate`` gives the ratings of a stimulus of the key, ``None`` leaves it out."""
    facts = json.loads(key.read_text())
    rng = random.Random(listener)
    trials = []
    for trial in rng.sample(list(facts["trials"]), len(facts["trials"])):
        stimuli = facts["trials"][trial]["stimuli"]
        order = rng.sample(list(stimuli), len(stimuli))
        given = {s: rate({**stimuli[s], "trial": trial}, rng) for s in order}
        ratings = {s: {"plays": 2, **r} for s, r in given.items() if r is not None}
        trials.append({"trial": trial, "order": order, "ratings": ratings})
    export = {
        "format": "audioxai listening answers 1",
        "test": facts["test"],
        "listener": listener,
        "session": f"session of {listener}",
        "started": "2026-01-01T10:00:00.000Z",
        "trials": trials,
        "exported": "2026-01-01T11:00:00.000Z",
        "complete": True,
    }
    path = folder / f"{listener}-{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({**export, **changes}))
    return path
