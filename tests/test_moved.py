"""Import paths of earlier versions still lead to the same things."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import audioxai as ax
from audioxai import _moved


@pytest.mark.parametrize(("old", "new"), _moved.MODULES.items())
def test_an_old_path_is_the_same_module(old, new):
    found = importlib.import_module(f"audioxai.{old}")
    assert found is importlib.import_module(f"audioxai.{new}")
    assert found.__name__ == found.__spec__.name == f"audioxai.{new}"


@pytest.mark.parametrize(
    "line",
    [
        "from audioxai.dsp import STFT",
        "from audioxai.losses import mask_in, sparsity, target_log_probabilities",
        "from audioxai.nn import fit_filterbank",
        "from audioxai.report import listening_results, listening_test",
        "from audioxai.report.ratings import read_ratings",
        "from audioxai.training import TrainingOptions, train",
        "import audioxai; audioxai.targets.Target",
        "import audioxai.plot; audioxai.plot.plot_methods",
    ],
)
def test_what_people_have_written_still_runs(line):
    subprocess.run([sys.executable, "-W", "error", "-c", line], check=True)


def test_what_never_was_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'dps'"):
        ax.dps  # noqa: B018
    with pytest.raises(AttributeError, match=r"'audioxai\.report' has no attribute 'listening_tset'"):
        ax.report.listening_tset  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("audioxai.explainers.dsp")


def test_pages_and_examples_teach_the_new_paths():
    root = Path(__file__).parents[1]
    files = [root / "README.md", root / "CONTRIBUTING.md"]
    files += [path for folder in ("docs", "examples", "benchmarks") for path in (root / folder).rglob("*.*")]
    taught = {path: path.read_text() for path in files if path.suffix in (".md", ".py", ".ipynb")}
    assert len(taught) > 50
    old = re.compile(rf"audioxai(?:\.| import )(?:{'|'.join(map(re.escape, _moved.MODULES))})\b")
    assert old.search("from audioxai import dsp")
    assert old.search("import audioxai.store as s")
    assert {path: old.findall(text) for path, text in taught.items() if old.search(text)} == {}
