"""The command line in an empty folder, clips, and a model that was fitted to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from commands.shell import RATE, SHORT, shell

from audioxai.data import make_event


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for label in ("siren", "hiss"):
        for i in range(4):
            generator = torch.Generator().manual_seed(i)
            event = make_event(label, seconds=0.5, sample_rate=RATE, generator=generator)
            (folder / label).mkdir(exist_ok=True)
            soundfile.write(folder / label / f"{i}.wav", event.numpy(), RATE)
    return folder


@pytest.fixture(scope="session")
def model(clips, tmp_path_factory) -> Path:
    """A model of two classes, fitted in a process of its own as a user would."""
    folder = tmp_path_factory.mktemp("work") / "model"
    done = shell("fit", clips, "--out", folder, *SHORT)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar where nobody watches
    assert f"explain with: audioxai explain CLIP --model {folder}" in done.stdout
    return folder
