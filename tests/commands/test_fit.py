"""``audioxai fit``: what it leaves, what resumes it, and what is wrong with the clips."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from commands.shell import SHORT, everything

from audioxai.classifiers.saving import load_classifier
from audioxai.commands.output_folders import FitRun


def test_a_finished_fit_leaves_no_checkpoint(model) -> None:
    kept = ["classifier.json", "classifier.safetensors", "decoder.safetensors", "explainer.json", "fit.json"]
    assert everything(model) == kept
    assert load_classifier(model).labels == ("hiss", "siren")


@pytest.mark.parametrize("stage", ["classifier", "LMAC"])
def test_an_interrupted_fit_resumes_to_the_same_model(cli, clips, model, tmp_path, monkeypatch, stage) -> None:
    from audioxai.training import run_state

    finish = run_state.RunState.finish_epoch
    last = {"classifier": 3, "LMAC": 2}[stage]

    def stop_before_the_last_epoch(state, record, *, write):
        if state.epochs == last and state.epoch + 1 == last:
            raise KeyboardInterrupt
        finish(state, record, write=write)

    with monkeypatch.context() as patch:
        patch.setattr(run_state.RunState, "finish_epoch", stop_before_the_last_epoch)
        code, _, err = cli("fit", clips, "--out", "m", *SHORT)
    assert code == 130
    assert err.startswith("stopped; the same command with --resume goes on\n")
    assert f"{stage.lower()}-checkpoint.safetensors" in os.listdir("m")
    code, _, err = cli("fit", clips, "--out", "m", *SHORT)
    assert (code, "already holds files" in err) == (1, True)
    code, _, err = cli("fit", clips, "--out", "m", *SHORT, "--seed", 1, "--resume")
    assert (code, "started with seed=0, now 1" in err) == (2, True)
    code, out, _ = cli("fit", clips, "--out", "m", *SHORT, "--resume")
    assert code == 0
    assert ("training a compact" in out) == (stage == "classifier")
    assert everything(tmp_path / "m") == everything(model)
    for name in ("classifier.safetensors", "decoder.safetensors"):
        assert (tmp_path / "m" / name).read_bytes() == (model / name).read_bytes()


def test_resume_what_was_never_started_or_is_finished(cli, clips, model) -> None:
    code, _, err = cli("fit", clips, "--out", "m", "--resume")
    assert (code, err) == (1, "error: --resume: no fit was started in 'm'; run it without --resume\n")
    assert not Path("m").exists()
    shutil.copytree(model, "m")
    code, out, _ = cli("fit", clips, "--out", "m", *SHORT, "--resume")
    assert (code, out.count("\n")) == (0, 1)


def test_overwrite_starts_anew(tmp_path) -> None:
    run = FitRun(tmp_path)
    for path in (run.classifier_checkpoint, tmp_path / "classifier.json", tmp_path / "mine.txt"):
        path.touch()
    run.start({"seed": 1}, resume=False)
    assert everything(tmp_path) == ["fit.json", "mine.txt"]
    assert json.loads((tmp_path / "fit.json").read_text()) == {"seed": 1}


def test_fit_names_bad_files_and_goes_on(cli, clips, tmp_path) -> None:
    shutil.copytree(clips, tmp_path / "in")
    (tmp_path / "in" / "hiss" / "bad.wav").touch()
    code, out, err = cli("fit", "in", "--out", "m", *SHORT)
    assert code == 1
    assert "training a compact network on 8 clips of 2 classes" in out
    assert err == "error: 'in/hiss/bad.wav' is empty (0 bytes)\n"
