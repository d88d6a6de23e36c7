"""The command line in an empty folder, clips, and a model that was fitted to them."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile
import torch
from commands.shell import RATE, SHORT, shell

from audioxai.commands import main as cli_module
from audioxai.data import make_event


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_module.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code, out, err

    return run


@pytest.fixture
def plain(monkeypatch) -> None:
    """Without pictures, which take most of the time."""
    for name in ("audioxai.report.plot.figure_png", "audioxai.report.page.overlay_png"):
        monkeypatch.setattr(name, lambda *_args, **_options: b"picture")


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
