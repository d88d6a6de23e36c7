"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import hypothesis
import pytest
import torch

# The networks here are too small to gain from more; and sums depend on it, so processes that the tests start agree.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real clips: ``AUDIOXAI_DATA``, or ``shared/data`` beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("AUDIOXAI_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no real clips at {root}; set AUDIOXAI_DATA to a folder with esc10 and speech")
    return root


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The browser that all tests of pages share."""
    yield from browsing.open_browser()


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    from audioxai.commands.main import main

    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code, out, err

    return run


@pytest.fixture
def plain(monkeypatch) -> None:
    """Without pictures, which take most of the time."""
    for name in ("audioxai.report.plot.figure_png", "audioxai.report.page.overlay_png"):
        monkeypatch.setattr(name, lambda *_args, **_options: b"picture")


@pytest.fixture
def registries() -> Iterator[None]:
    """What a test registers is forgotten afterwards."""
    from audioxai.adapters import ADAPTERS
    from audioxai.data import CONDITIONS
    from audioxai.data.registry import DATA_SETS
    from audioxai.explainers.registry import EXPLAINERS
    from audioxai.metrics import METRICS

    known: list[dict[str, Any]] = [ADAPTERS, CONDITIONS, DATA_SETS, EXPLAINERS, METRICS]
    before = [dict(registry) for registry in known]
    yield
    for registry, entries in zip(known, before, strict=True):
        registry.clear()
        registry.update(entries)
