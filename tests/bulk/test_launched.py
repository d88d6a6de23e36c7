"""``audioxai explain-dataset`` under torchrun and ``accelerate launch``: the files of one process, no work twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
from dataset_clips import ENVIRONMENT, SECONDS, files, write_clips

TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# Without --multi_gpu it starts one process where there are not several GPUs, and with --cpu too, whatever the number.
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")
ACCELERATE_CPU = ("accelerate.commands.launch", "--cpu", "--num_processes", "2")
LONG = 5  # windows of the long recording


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("clips"))


def run(launcher, folder, out, dies="inf"):
    """The command's result, how many processes worked, and how often each clip was explained."""
    command = [sys.executable, *(("-m", *launcher) if launcher else ()), "-m", "audioxai", "explain-dataset"]
    command += [folder, "--out", out, "--classifier", "counted:build", "--method", "energy", "--shard-size", "1"]
    command += ["--longest", "1", "--window", "0.5", "--overlap", "0.1"]
    note = out.with_suffix(".counted")
    note.unlink(missing_ok=True)
    environment = {**ENVIRONMENT, "COUNTED": str(note), "DIES": dies}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=400)
    lines = Counter(note.read_text().splitlines())
    return done, lines.pop("started"), lines


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """What one process makes, without a launcher."""
    out = tmp_path_factory.mktemp("alone") / "out"
    done, _, _ = run((), folder, out)
    assert done.returncode == 1, done.stderr  # one clip is not audio
    return files(out)


ONCE = Counter({f"{name}.wav": 1 for name in SECONDS if name != "long"} | {"a window": LONG})


@pytest.mark.parametrize(
    "launcher",
    [
        TORCHRUN,
        pytest.param(ACCELERATE, marks=pytest.mark.slow),
        pytest.param(ACCELERATE_CPU, marks=pytest.mark.slow),
    ],
    ids=["torchrun", "accelerate", "accelerate --cpu"],
)
def test_a_launcher_gives_the_files_of_one_process(launcher, folder, alone, tmp_path):
    out = tmp_path / "out"
    done, processes, explained = run(launcher, folder, out)
    assert done.returncode == 1
    assert done.stdout.count(f"explained 6 of 7 clip(s); index: {out / 'index.csv'}\n") == 1, done.stderr
    assert done.stderr.count("text.wav' cannot be read as audio") == 1
    assert processes == (1 if launcher is ACCELERATE_CPU else 2)
    assert explained == ONCE
    assert files(out) == alone


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_a_process_that_is_killed_under_a_launcher(launcher, folder, alone, tmp_path):
    """The launcher ends the others too; what was finished by then is not done again."""
    out = tmp_path / "out"
    killed, _, before = run(launcher, folder, out, dies="6")  # before the long recording
    assert killed.returncode not in (0, 2)
    assert "Signal 9 (SIGKILL)" in killed.stderr
    kept = {path: path.stat().st_mtime_ns for path in out.glob("shard-*.tar")}
    assert 0 < len(kept) < 7
    finished = {json.loads(path.with_suffix(".json").read_text())["clips"][0]["name"] for path in kept}
    again, _, after = run(launcher, folder, out)
    assert again.returncode == 1
    assert files(out) == alone
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert set(after) == {name for name in ONCE if name not in finished}
    assert all(count == 1 for name, count in after.items() if name != "a window")
    # The other process may take up the clip of the killed one before the launcher ends it.
    assert sum(count - 1 for name, count in before.items() if name != "a window") <= 1
