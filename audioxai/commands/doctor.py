"""The command ``audioxai doctor``: what is installed, what of it works, and how to mend the rest.

The audio stack breaks in known ways.
"""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import typer

from audioxai.support.optional import FIXES
from audioxai.support.terminal import say

__all__ = ["Finding", "doctor", "examine"]

_OPTIONAL = ("torchvision", "torchcodec", "transformers", "speechbrain")

_SECONDS = 120  # longest import
_REMEDIES = {
    **FIXES,
    "torchvision": "torchvision must match torch; while broken it can disable torchmetrics: pip uninstall torchvision",
    "torchcodec": "torchcodec needs FFmpeg; audioxai does not need it: pip uninstall torchcodec",
    "transformers": "if a broken torchaudio is named above, mend that first; else reinstall transformers",
}


def doctor() -> None:
    """Check the installation and say how to mend it."""
    broken = 0
    for finding in examine():
        say(f"{'ok ' if finding.ok else 'BAD'} {finding.name:14} {finding.seen}")
        if not finding.ok:
            say(f"    {'fix' if finding.required else 'optional; fix'}: {finding.remedy}")
            broken += finding.required
    if broken:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis: what, whether it works, what was seen, and what to do if it does not."""

    name: str
    ok: bool
    seen: str
    remedy: str = ""
    required: bool = True


def examine() -> Iterator[Finding]:
    """Import each package in a process of its own and read back a file in each format."""
    yield Finding("python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}")
    required = [name for name, (_, extra) in _requirements().items() if not extra]
    if not required:
        yield Finding("audioxai", False, "no metadata, so its requirements are unknown", "pip install audioxai")
    for name in (*required, *_OPTIONAL):
        yield _package(name, required=name in required)
    yield from _formats()
    yield _accelerator()


def _package(name: str, *, required: bool) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        seen = "not installed" if required else "not installed (optional)"
        return Finding(name, not required, seen, FIXES.get(name, f"pip install {name}") if required else "", required)
    oldest, _ = _requirements().get(name, ("0", False))
    if _numbers(version) < _numbers(oldest):
        return Finding(name, False, f"{version}, too old", f"pip install '{name}>={oldest}'", required)
    # The audio models of transformers are where a broken torchaudio shows.
    code = "from transformers import ClapModel" if name == "transformers" else f"import {name}"
    try:  # -P: a file of the current folder must not pass for the package
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        remedy = f"pip install --force-reinstall {name}"
        return Finding(name, False, f"{version}, does not load within {_SECONDS} s", remedy, required)
    if done.returncode == 0:
        return Finding(name, True, version, required=required)
    last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"
    remedy = _REMEDIES.get(name, f"pip install --force-reinstall {name}")
    return Finding(name, False, f"{version}, does not load: {last[:200]}", remedy, required)


@functools.cache
def _requirements() -> dict[str, tuple[str, bool]]:
    """Packages, the oldest version of each that will do, and whether only extras ask for it: the toolkit's metadata."""
    try:
        lines = importlib.metadata.requires("audioxai") or []
    except importlib.metadata.PackageNotFoundError:  # run from its sources
        return {}
    found = {}
    for line in sorted(lines, key=lambda line: "extra ==" not in line):  # extras first: what is required overrules
        oldest = re.search(r">=\s*([\d.]+)", line)
        found[re.split(r"[^\w.-]", line)[0]] = (oldest[1] if oldest else "0", "extra ==" in line)
    return found


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0])[:3])


def _formats() -> Iterator[Finding]:
    import numpy as np
    import soundfile

    tone = 0.5 * np.sin(np.arange(16000) * 0.17)
    library = soundfile.__libsndfile_version__
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("wav", "flac", "ogg", "mp3"):
            file = Path(folder) / f"tone.{kind}"
            try:
                soundfile.write(file, tone, 16000)
                samples, _ = soundfile.read(file)
                error = float(np.abs(samples[2000:14000] - tone[2000:14000]).max())
                yield Finding(f"{kind} files", error < 0.05, f"libsndfile {library}, error {error:.1e}")
            except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as problem:
                remedy = "pip install --upgrade soundfile: its wheels bring a libsndfile that knows every format"
                yield Finding(f"{kind} files", False, f"libsndfile {library}: {problem}", remedy)


def _accelerator() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("accelerator", True, torch.cuda.get_device_name(0), required=False)
    return Finding("accelerator", True, f"none; {torch.get_num_threads()} CPU threads", required=False)
