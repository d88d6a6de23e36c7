"""The benchmark by several processes: killed and started again, shared among workers, and as a command."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from benchmark.trees import SMALL, quiet

from audioxai.benchmark import networks
from audioxai.benchmark.run import run
from audioxai.benchmark.run_files import BusyError, Store
from audioxai.benchmark.settings import Settings
from audioxai.benchmark.workers import helpers
from audioxai.training import run_state


def command(esc, out, *more):
    options = [
        "--root", esc, "--out", out, "--conditions", "id,mixtures", "--methods", "gradcam,lmac", "--seconds", "1",
        "--epochs", "2", "--classifier-epochs", "2", *more,
    ]  # fmt: skip
    return ["benchmark", "esc50", *map(str, options)]


def start(arguments, *launcher):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run_it = [sys.executable, *(launcher or ("-m", "audioxai")), *arguments]
    return subprocess.Popen(run_it, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err[-3000:]
    return out


def killed_and_resumed(esc, tmp_path, moments):
    """Tables of a run that is left alone, and of one that is killed at each moment and started again."""
    began = time.monotonic()
    finish(start(command(esc, tmp_path / "whole")))
    length = time.monotonic() - began
    for moment in moments:
        process = start(command(esc, tmp_path / "killed"))
        time.sleep(moment * length)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(command(esc, tmp_path / "killed")))
    return [(tmp_path / name / "tables.csv").read_text() for name in ("whole", "killed")]


def test_killed_and_resumed_gives_the_same_tables(esc, tmp_path):
    whole, killed = killed_and_resumed(esc, tmp_path, (0.55,))
    assert whole == killed


def test_a_network_goes_on_from_its_checkpoint(esc, tmp_path, monkeypatch):
    settings = Settings("esc50", esc, tmp_path, conditions=("id",), **SMALL | {"methods": ("gradcam",)})
    monkeypatch.setattr(networks, "SAVE_EVERY", 0.0)
    save, epochs = run_state.RunState.save, []

    def interrupted(state, path):
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(run_state.RunState, "save", interrupted)
        run(settings, quiet)
    monkeypatch.setattr(run_state.RunState, "save", lambda state, path: (epochs.append(state.epoch), save(state, path)))
    run(settings, quiet)
    assert epochs == [2, 1, 2]  # of the first network only what was left


@pytest.mark.slow
def test_killed_at_ten_random_moments(esc, tmp_path):
    moments = (0.25 + 0.7 * torch.rand(10, generator=torch.Generator().manual_seed(0))).tolist()
    whole, killed = killed_and_resumed(esc, tmp_path, moments)
    assert whole == killed


def test_workers_share_the_work_and_change_nothing(esc, tmp_path):
    settings = Settings("esc50", esc, tmp_path / "one", conditions=("id", "mixtures"), **SMALL)
    one = run(settings, quiet)
    lines = []
    two = run(Settings(**{**vars(settings), "out": tmp_path / "two", "workers": 2}), lines.append)
    assert [t.results.to_csv() for t in one.tables] == [t.results.to_csv() for t in two.tables]
    stages = [
        path for path in (tmp_path / "two").glob("*/*.json") if path.parent.name in ("networks", "fits", "scores")
    ]
    assert 0 < len(lines) - 1 < len(stages)  # the other worker made some
    assert two.facts["processes"] == 2
    assert not list((tmp_path / "two").glob("*/*.lock"))


def test_a_worker_that_fails_is_told():
    lines = []
    with helpers(os._exit, (), 2, lines.append):
        time.sleep(5)
    assert lines == ["2 of 2 workers failed; the others did their work"]


def test_what_another_process_makes_is_waited_for_or_left(tmp_path):
    store, made = Store(tmp_path), []

    def slow(_place):
        with pytest.raises(BusyError):
            Store(tmp_path).make("fits", "x", {"a": 1}, made.append, wait=False)
        made.append("slow")

    store.make("fits", "x", {"a": 1}, slow)
    Store(tmp_path).make("fits", "x", {"a": 1}, made.append, wait=False)
    assert made == ["slow"]
    with pytest.raises(ZeroDivisionError):
        store.make("fits", "x", {"a": 2}, lambda _place: 1 / 0)
    store.make("fits", "x", {"a": 2}, lambda _place: made.append("again"), wait=False)
    assert made == ["slow", "again"]


def test_two_launched_processes_share_the_work(esc, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29631", "-m", "audioxai")
    out = finish(start(command(esc, tmp_path / "two"), *launcher))
    assert "esc50, mixtures, stft masks, compact" in out
    found = json.loads((tmp_path / "two" / "tables.json").read_text())["tables"]
    assert [list(t["explainers"]) for t in found] == [
        ["AllOnes", "RandomMask", "EnergyMask", "GradCAM", "L-MAC (evidence)"]
    ] * 2


def test_the_command_prints_tables_and_where_to_listen(esc, tmp_path):
    out = finish(start(command(esc, tmp_path / "out", "--methods", "gradcam", "--clips", "3")))
    assert "| GradCAM |" in out
    assert f"listen: {tmp_path / 'out' / 'index.html'}" in out
    assert "--clips 3" in (Path(tmp_path) / "out" / "tables.md").read_text()
    failed = start(["benchmark", "esc50", "--root", str(tmp_path / "none"), "--out", str(tmp_path / "nothing")])
    _, err = failed.communicate()
    assert not (tmp_path / "nothing").exists()
    assert failed.returncode == 1
    assert err.startswith("error: ") and "holds no ESC-50" in err
