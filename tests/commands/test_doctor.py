"""The doctor finds packages that are absent, old, broken or stuck, and says how to mend them."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioxai.commands import doctor
from audioxai.commands import main as cli

EXAMPLES = {
    "torchaudio": "raise OSError('Could not load this library: libtorchaudio.so')",
    "transformers": "",  # loads, but has no ClapModel
    "sound": "",
    "slow": "import time; time.sleep(30)",
    "silent": "import os; os._exit(3)",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand-ins for installed packages, found before the real ones, here and in the processes of the doctor."""
    for name, code in EXAMPLES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)
        describe(tmp_path, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield tmp_path
    doctor._requirements.cache_clear()


def describe(folder: Path, name: str, *required: str) -> None:
    """The metadata of an installed package, version 2.11.0."""
    lines = [f"Name: {name}", "Version: 2.11.0", *(f"Requires-Dist: {line}" for line in required)]
    (folder / f"{name}-2.11.0.dist-info").mkdir(exist_ok=True)
    (folder / f"{name}-2.11.0.dist-info" / "METADATA").write_text("\n".join(lines) + "\n")
    doctor._requirements.cache_clear()


def test_packages(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe(packages, "audioxai", "sound>=2")  # how old the others may be is another test
    broken = doctor._package("torchaudio", required=True)
    assert (broken.ok, broken.required) == (False, True)
    assert broken.seen == "2.11.0, does not load: OSError: Could not load this library: libtorchaudio.so"
    assert "torch and torchaudio from one index" in broken.remedy
    assert not doctor._package("transformers", required=False).ok
    assert doctor._package("sound", required=True) == doctor.Finding("sound", True, "2.11.0")
    assert doctor._package("silent", required=True).seen == "2.11.0, does not load: exit code 3"
    monkeypatch.setattr(doctor, "_SECONDS", 0.5)
    assert doctor._package("slow", required=True).seen == "2.11.0, does not load within 0.5 s"


def test_absent_and_old_packages(packages: Path) -> None:
    absent = doctor._package("absent", required=True)
    assert (absent.ok, absent.seen, absent.remedy) == (False, "not installed", "pip install absent")
    optional = doctor._package("absent", required=False)
    assert (optional.ok, optional.seen) == (True, "not installed (optional)")
    for oldest, fine in [("2.11", True), ("2.9.5", True), ("2.11.1", False), ("10", False)]:
        describe(packages, "audioxai", f"sound>={oldest}")
        found = doctor._package("sound", required=True)
        assert found.ok is fine
        assert fine or (found.seen, found.remedy) == ("2.11.0, too old", f"pip install 'sound>={oldest}'")


def test_a_file_of_the_current_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise OSError")
    monkeypatch.chdir(tmp_path)
    assert doctor._package("numpy", required=True).ok


def test_every_requirement_of_the_metadata_is_examined(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = 'transformers>=4.50; extra == "hf"'
    describe(packages, "audioxai", "sound>=2.9", "absent>=1", "torchaudio>=2.11.1", extra, 'silent>=1; extra == "dev"')
    found = {finding.name: finding for finding in doctor.examine()}
    assert [name for name, finding in found.items() if finding.required][1:4] == ["sound", "absent", "torchaudio"]
    assert found["torchaudio"].seen == "2.11.0, too old"
    assert found["transformers"].seen == "2.11.0, too old"
    assert "silent" not in found

    def requires(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    doctor._requirements.cache_clear()
    monkeypatch.setattr(importlib.metadata, "requires", requires)
    unknown = next(finding for finding in doctor.examine() if finding.name == "audioxai")
    assert (unknown.ok, unknown.required, unknown.remedy) == (False, True, "pip install audioxai")


def test_formats_are_really_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    assert all(f.ok for f in doctor._formats())
    write = soundfile.write

    def no_mp3(file: Path, *rest: object) -> None:
        if file.suffix == ".mp3":
            raise ValueError("Unknown format: 'MP3'")
        write(file, *rest)

    monkeypatch.setattr(soundfile, "write", no_mp3)
    broken = [f for f in doctor._formats() if not f.ok]
    assert [f.name for f in broken] == ["mp3 files"]
    assert "Unknown format" in broken[0].seen
    assert "upgrade soundfile" in broken[0].remedy


@pytest.mark.parametrize(("required", "code"), [(["sound"], 0), (["sound", "absent", "torchaudio"], 1)])
def test_the_command(
    packages: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    required: list[str],
    code: int,
) -> None:
    describe(packages, "audioxai", *(f"{name}>=2.11" for name in required))
    monkeypatch.setattr(doctor, "_OPTIONAL", ("transformers",))
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor"])
    out = capsys.readouterr().out
    assert ended.value.code == code  # a broken optional package is named, but is no failure
    assert "BAD transformers" in out
    assert "    optional; fix: if a broken torchaudio is named above, mend that first" in out
    assert ("BAD torchaudio     2.11.0, does not load" in out) == (code == 1)
    assert ("    fix: take torch and torchaudio from one index" in out) == (code == 1)
    assert ("    fix: pip install absent" in out) == (code == 1)
    assert "ok  flac files" in out
