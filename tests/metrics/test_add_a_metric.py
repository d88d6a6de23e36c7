"""A metric costs what the page says: its diff on a copy of the repository gives one that every test finds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_diff_on_the_page_is_all_that_a_metric_takes(tmp_path):
    for folder in ("audioxai", "docs", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    (diff,) = re.findall(r"```diff\n(.+?)```", (ROOT / "docs/howto/add-a-metric.md").read_text(), re.DOTALL)
    subprocess.run(["git", "apply", "-"], input=diff, cwd=tmp_path, text=True, check=True)
    tests = ["tests/metrics/test_registry.py", "tests/metrics/test_classes.py"]
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-vv", *tests]
    done = subprocess.run(
        run, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]
    for test in ("by_the_book[half mass-0]", "has_its_page[half mass]", "arguments_of_its_function[HalfMass]"):
        assert f"{test} PASSED" in done.stdout
