"""The distributions: what is in them, and that the wheel works by itself, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from test_readme import ROOT

from audioxai.version import __version__

pytestmark = pytest.mark.slow
LEFT_OUT = (".git", ".venv", "*.egg-info", "build", "dist", "_build", "__pycache__", ".*_cache", "runs", "*.pyc")
#: What the wheel is of no use without, beside modules.
NEEDED = ("py.typed", "report/templates/", "listening/templates/", "data/manifests_shipped/", "pretrained/", ".toml")
FOLDERS = (".ci", ".github", "audioxai", "benchmarks", "docs", "examples", "tests")


def run(*command, cwd, **environment) -> str:
    environment = {**os.environ, **environment}
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A copy of the checkout, and what is built from it: the source distribution, and the wheel from that."""
    for package in ("build", "twine"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed; pip install '.[dev]'")
    tree, out = tmp_path_factory.mktemp("tree") / "audioxai", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree, cwd=out)
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return SimpleNamespace(tree=tree, source=source, wheel=wheel)


@pytest.fixture(scope="module")
def installed(made, tmp_path_factory):
    """An environment with the wheel in it, that borrows the other packages from this one; and a clip in a folder."""
    place = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", place / "env", cwd=place)
    python = place / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", made.wheel, cwd=place)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    borrowed = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    seconds = np.arange(24000) / 16000
    soundfile.write(place / "clip.wav", 0.3 * np.sin(2 * np.pi * 440 * seconds) * np.exp(-3 * (seconds % 0.5)), 16000)
    # A bare path: no compiler, and no other audioxai.
    return lambda *command: run(*command, cwd=place, PATH=str(python.parent), PYTHONPATH="", CC="/no/compiler"), place


def below(tree: Path, folder: str) -> set[str]:
    return {path.relative_to(tree).as_posix() for path in (tree / folder).rglob("*") if path.is_file()}


def test_the_wheel_holds_the_package_and_nothing_else(made):
    assert made.wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(made.wheel).namelist())
    package = {name for name in names if name.startswith("audioxai/")}
    assert package == below(made.tree, "audioxai")
    assert [part for part in NEEDED if not any(part in name for name in package)] == []
    assert all(name.startswith(f"audioxai-{__version__}.dist-info/") for name in names - package)
    assert f"audioxai-{__version__}.dist-info/licenses/LICENSE" in names


def test_the_source_distribution_passes_its_own_tests(made, tmp_path):
    with tarfile.open(made.source) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    wanted = {"LICENSE", "CHANGELOG.md", "MANIFEST.in"}.union(*(below(made.tree, folder) for folder in FOLDERS))
    assert wanted <= below(unpacked, ".")
    few = ("tests/test_rooms.py", "tests/test_release.py", "tests/test_readme.py", "tests/sound/test_loudness.py")
    run(sys.executable, "-m", "pytest", *few, cwd=unpacked, PYTHONPATH=str(unpacked))


def test_the_distributions_can_be_uploaded(made):
    run(sys.executable, "-m", "twine", "check", "--strict", made.source, made.wheel, cwd=made.tree)


def test_the_command_runs_away_from_the_checkout(installed):
    call, place = installed
    assert Path(call("python", "-c", "import audioxai; print(audioxai.__file__)").strip()).is_relative_to(place / "env")
    assert "explain" in call("audioxai", "--help")
    assert "torch" in call("audioxai", "doctor")
    call("audioxai", "explain", "clip.wav", "--out", "explained")
    (sound,) = (place / "explained").rglob("explanation.wav")
    assert np.isfinite(soundfile.read(sound)[0]).all()
    assert (place / "explained" / "index.html").stat().st_size > 10_000
