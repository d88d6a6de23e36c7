"""Packages that are absent or broken: the toolkit loads, what needs them says how to mend them, the rest works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from audioxai.errors import MissingDependencyError
from audioxai.support.optional import optional_import, required_import

# Import, explain and save at the classifier's own rate; then at another.
PROGRAM = """
import sys, torch, audioxai as ax
network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d((1, 12)), torch.nn.Flatten(), torch.nn.Linear(12, 3))
classifier = ax.AudioClassifier(network, sample_rate=8000, frontend=ax.LogMel(8000, 12))
ax.save("clip.wav", 0.1 * torch.ones(4000), 8000)
print(ax.Saliency(classifier).explain("clip.wav").waveform.shape)
print("torchaudio" in sys.modules)
ax.save("clip.wav", 0.1 * torch.ones(4000), 16000)
try:
    ax.load("clip.wav", 8000)
except ax.errors.MissingDependencyError as error:
    print(error)
"""
FIX = "take torch and torchaudio from one index: pip install --force-reinstall torch torchaudio"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "raise OSError('Could not load this library: libtorchaudio.so')",
            "torchaudio is installed but does not load (Could not load this library: libtorchaudio.so); ",
        ),
        ("raise ModuleNotFoundError(name='torchaudio')", "torchaudio is not installed; "),
    ],
    ids=["broken", "absent"],
)
def test_what_needs_no_torchaudio_works_without(tmp_path: Path, code: str, told: str) -> None:
    (tmp_path / "torchaudio.py").write_text(code)
    path = os.pathsep.join(filter(None, [str(tmp_path), *sys.path]))  # the stand-in comes first
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    shape, loaded, error = run.stdout.splitlines()
    assert (shape, loaded) == ("torch.Size([1, 4000])", "False")
    assert error.startswith(told + FIX)
    assert error.endswith("for a CPU-only torch both with --index-url https://download.pytorch.org/whl/cpu")


def test_objects_of_optional_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halved.py").write_text("import absent_from_here")
    (tmp_path / "empty.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    assert optional_import("json", "dumps", extra="hf")([1]) == required_import("json").dumps([1])
    with pytest.raises(MissingDependencyError, match=r"nowhere is not installed; pip install 'audioxai\[hf\]'"):
        optional_import("nowhere.deeper", extra="hf")
    with pytest.raises(MissingDependencyError, match="nowhere is not installed; pip install nowhere"):
        required_import("nowhere.deeper")
    for find in (required_import, lambda *what: optional_import(*what, extra="hf")):
        with pytest.raises(MissingDependencyError, match=r"halved .*load \(No module.*absent.*audioxai doctor"):
            find("halved")
        with pytest.raises(MissingDependencyError, match=r"empty is installed but does not load \(.*no attribute 'x'"):
            find("empty", "x")
