"""The command line as a shell user meets it: results, error lines, exit codes, and what is left on the disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import audioxai
from audioxai import Explanation, load
from audioxai.classifiers.saving import load_classifier
from audioxai.commands import jobs as jobs_module
from audioxai.commands import main as cli_module
from audioxai.commands.output_folders import FitRun, distinct_names
from audioxai.data import make_event
from audioxai.version import __version__

RATE = 16000
FILES = ["explanation.json", "explanation.wav", "input.wav", "mask.npz", "picture.png", "removed.wav"]
SHORT = ["--seconds", "0.5", "--epochs", "2", "--classifier-epochs", "3"]

OWN = """
import torch
from audioxai import AudioClassifier
def build():
    torch.manual_seed(0)
    layers = torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 8, 64, 16), torch.nn.ReLU()
    head = torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(), torch.nn.Linear(8, 3)
    return AudioClassifier(torch.nn.Sequential(*layers, *head), sample_rate=8000, labels=["a", "b", "7"])
def boom():
    raise KeyError("x")
number = 3
"""


@pytest.fixture
def cli(capsys, monkeypatch, tmp_path):
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli_module.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return ended.value.code, out, err

    return run


@pytest.fixture
def plain(monkeypatch) -> None:
    """Without pictures, which take most of the time."""
    for name in ("audioxai.report.plot.figure_png", "audioxai.report.page.overlay_png"):
        monkeypatch.setattr(name, lambda *_args, **_options: b"picture")


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for label in ("siren", "hiss"):
        for i in range(4):
            generator = torch.Generator().manual_seed(i)
            event = make_event(label, seconds=0.5, sample_rate=RATE, generator=generator)
            (folder / label).mkdir(exist_ok=True)
            soundfile.write(folder / label / f"{i}.wav", event.numpy(), RATE)
    return folder


@pytest.fixture(scope="session")
def model(clips, tmp_path_factory) -> Path:
    """A model of two classes, fitted in a process of its own as a user would."""
    folder = tmp_path_factory.mktemp("work") / "model"
    done = shell("fit", clips, "--out", folder, *SHORT)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar where nobody watches
    assert f"explain with: audioxai explain CLIP --model {folder}" in done.stdout
    return folder


def shell(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "audioxai", *map(str, arguments)]
    return subprocess.run(command, text=True, check=False, **{"capture_output": True, **options})


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


# --- explain ------------------------------------------------------------------------------------------------------


def test_explain_writes_all_of_a_clip(cli, clips, model, tmp_path) -> None:
    code, out, err = cli("explain", clips / "siren" / "0.wav", "--model", model, "--out", "e")
    assert (code, err) == (0, "")
    assert out == f"explained 1 of 1 clip(s); listen: {Path('e/index.html')}\n"
    assert everything(tmp_path / "e") == [*(f"0.wav/{name}" for name in FILES), "index.html"]
    explained = Explanation.load("e")
    assert (explained.method, explained.space, explained.scale) == ("LMAC", "stft", "magnitude")
    kept, removed, given = (load(f"e/0.wav/{name}.wav")[0] for name in ("explanation", "removed", "input"))
    assert (kept + removed - given).abs().max() < 1e-3  # 16-bit files of what adds up to the clip
    assert torch.allclose(load(clips / "siren" / "0.wav")[0], given, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "method", "space", "scale", "target"),
    [
        (["--target", "hiss"], "LMAC", "stft", "magnitude", "hiss"),
        (["--target", "1"], "LMAC", "stft", "magnitude", "siren"),
        (["--method", "gradcam", "--target", "0"], "GradCAM", "stft", "magnitude", "hiss"),
        (["--method", "energy", "--space", "waveform"], "EnergyMask", "waveform", "magnitude", None),
        (["--method", "random", "--space", "mel", "--scale", "log1p"], "RandomMask", "mel", "log1p", None),
        (["--method", "all-ones"], "AllOnes", "stft", "magnitude", None),
        (["--method", "gradcam++", "--space", "mel"], "GradCAMPlusPlus", "mel", "magnitude", None),
        (["--method", "deep-shap"], "DeepSHAP", "stft", "magnitude", None),
        (["--method", "lime", "--space", "waveform"], "LIME", "waveform", "magnitude", None),
    ],
)
def test_methods_and_targets(cli, clips, model, options, method, space, scale, target, plain) -> None:
    code, _, err = cli("explain", clips / "siren" / "0.wav", "--model", model, "--out", "e", *options)
    assert (code, err) == (0, "")
    explained = Explanation.load("e")
    assert (explained.method, explained.space, explained.scale) == (method, space, scale)
    assert explained.target_names[0] == (target or ("hiss", "siren")[int(explained.scores.input[0].argmax())])


def test_the_command_line_knows_every_explainer() -> None:
    public = {name for name in audioxai.__all__ if isinstance(getattr(audioxai, name), type)}
    concrete = {name for name in public if issubclass(getattr(audioxai, name), audioxai.Explainer)}
    # What must be fitted, other than L-MAC, is for Python: the commands fit L-MAC alone.
    assert set(jobs_module.METHODS.values()) == concrete - {"Explainer", "LearnedExplainer", "L2I", "LMACTD", "LMACZS"}


def test_bad_files_do_not_lose_the_good(cli, clips, model, tmp_path, plain) -> None:
    good, _ = soundfile.read(clips / "siren" / "0.wav")
    bad = tmp_path / "bad"
    (bad / "nothing").mkdir(parents=True)
    (bad / "empty.wav").touch()
    (bad / "text.wav").write_text("not sound")
    (bad / "cut.wav").write_bytes((clips / "siren" / "0.wav").read_bytes()[:5000])
    soundfile.write(bad / "nan.wav", np.where(np.arange(len(good)) == 7, np.nan, good), RATE, "FLOAT")
    for kind in ("mp3", "flac", "ogg"):
        soundfile.write(bad / f"good.{kind}", good, RATE)
    soundfile.write(bad / "stereo 44.wav", np.stack([np.repeat(good, 3)] * 2, 1), 3 * RATE)
    soundfile.write(bad / "short.wav", good[:800], RATE)
    soundfile.write(bad / "silence.wav", 0 * good, RATE)
    code, out, err = cli("explain", bad, "missing.wav", bad / "nothing", "--model", model, "--out", "e")
    assert code == 1
    assert "explained 6 of 12 clip(s); listen: " in out
    lines = err.splitlines()
    assert len(lines) == 6
    for line, (name, fault) in zip(
        lines,
        [
            ("nothing", "no audio file below"),
            ("cut.wav", "is truncated"),
            ("empty.wav", "is empty"),
            ("nan.wav", "NaN or infinite"),
            ("text.wav", "cannot be read as audio"),
            ("missing.wav", "check the path"),
        ],
        strict=True,
    ):
        assert line.startswith("error: ")
        assert name in line
        assert fault in line
    names = ["good.flac", "good.mp3", "good.ogg", "short.wav", "silence.wav", "stereo_44.wav"]
    assert everything(tmp_path / "e") == sorted([*(f"{n}/{f}" for n in names for f in FILES), "index.html"])
    for name in names:
        assert torch.isfinite(Explanation.load(f"e/{name}").waveform).all()


def test_a_failure_of_any_kind_names_the_clip(cli, clips, model, monkeypatch, plain) -> None:
    explain = jobs_module.make_explainer

    def fragile(*arguments):
        made = explain(*arguments)
        whole = made.explain

        def fail_once(file, *rest, **options):
            if file.name == "1.wav":
                raise RuntimeError("boom")
            return whole(file, *rest, **options)

        made.explain = fail_once
        return made

    monkeypatch.setattr(jobs_module, "make_explainer", fragile)
    code, out, err = cli("explain", clips / "siren", "--model", model, "--out", "e", "--method", "energy")
    assert code == 1
    assert "explained 3 of 4" in out
    assert err == f"error: {str(clips / 'siren' / '1.wav')!r}: RuntimeError: boom\n"


def test_names_never_collide_or_escape(cli, clips, model, tmp_path, plain) -> None:
    names = ["a/same.wav", "b/same.wav", "a b.wav", "a_b.wav", "A_B.wav", "it's \"<script>alert(1).wav", "ünï.wav"]
    names += ["-dash.wav", "x" * 240 + ".wav"]
    for name in names:
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / "siren" / "0.wav", tmp_path / "in" / name)
    given = ["in", "in/a/same.wav", "in/../in/a b.wav"]  # a file that is named twice is explained once
    code, out, _ = cli("explain", *given, "--model", model, "--out", "e", "--method", "energy")
    assert code == 0
    assert f"explained {len(names)} of {len(names)}" in out
    folders = [p for p in (tmp_path / "e").iterdir() if p.is_dir()]
    assert len({p.name.casefold() for p in folders}) == len(names)
    assert all(everything(p) == FILES for p in folders)
    assert "<script>alert" not in (tmp_path / "e" / "index.html").read_text()


def test_distinct_names() -> None:
    files = [Path("p/a.wav"), Path("q/a.wav"), Path("r/q/a.wav"), Path("p/A.wav"), Path("p/b.wav")]
    assert distinct_names(files) == ["a.wav", "q_a.wav", "q_a.wav_2", "p_A.wav", "b.wav"]


def test_results_are_no_clips(cli, clips, model, tmp_path, plain) -> None:
    shutil.copytree(clips / "siren", tmp_path / "in")
    for again in ([], ["--overwrite"]):
        code, out, _ = cli("explain", ".", "--model", model, "--method", "energy", *again)
        assert code == 0
        assert "explained 4 of 4" in out
    code, _, err = cli("explain", "in/0.wav", "--model", model, "--out", "in", "--overwrite", "--method", "energy")
    assert code == 1
    assert "'in/0.wav' is a file" in err
    assert (tmp_path / "in" / "0.wav").read_bytes() == (clips / "siren" / "0.wav").read_bytes()


def test_long_work_is_split_into_pages(cli, clips, model, monkeypatch, plain) -> None:
    monkeypatch.setattr(jobs_module, "_CLIPS_PER_PAGE", 3)
    _, out, _ = cli("explain", clips / "siren", "--model", model, "--out", "e", "--method", "energy")
    assert out.endswith("listen: e/index.html, e/index-2.html\n")
    assert "3.wav" in Path("e/index-2.html").read_text()


def test_an_interruption_keeps_what_is_done(cli, clips, model, monkeypatch, plain) -> None:
    save = jobs_module.save_clip

    def interrupted(explanation, out):
        if explanation.names == ["2.wav"]:
            raise KeyboardInterrupt
        save(explanation, out)

    monkeypatch.setattr(jobs_module, "save_clip", interrupted)
    code, _, err = cli("explain", clips / "siren", "--model", model, "--out", "e", "--method", "energy")
    assert code == 130
    assert err.splitlines()[:2] == ["stopped after 2 of 4 clip(s); listen: e/index.html", "interrupted"]
    assert sorted(os.listdir("e")) == ["0.wav", "1.wav", "index.html"]


# --- the disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_half_written(clips, model, tmp_path) -> None:
    resource = pytest.importorskip("resource")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # sounds fit, the mask does not

    (tmp_path / "there").mkdir()
    for out in ("new", "there"):
        done = shell("explain", clips / "siren", "--model", model, "--out", out, cwd=tmp_path, preexec_fn=limit)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "stopped after 0 of 4 clip(s)",
            f"error: could not write '{out}/0.wav/mask.npz': File too large; make room, then run it again",
        ]
    assert os.listdir(tmp_path) == ["there"]
    assert os.listdir(tmp_path / "there") == []


def test_out_that_cannot_be_used(cli, clips, model, tmp_path, monkeypatch) -> None:
    clip = clips / "siren" / "0.wav"
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for out, fault in [
        ("file", "'file' is a file"),
        ("file/x", "cannot be written"),
        ("full", "already holds files; choose another folder or pass --overwrite"),
    ]:
        for command in (["explain", clip, "--model", model], ["fit", clips], ["demo"]):
            code, stdout, err = cli(*command, "--out", out)
            assert (code, stdout) == (1, "")
            assert err.startswith("error: --out")
            assert fault in err

    def read_only(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("audioxai.commands.output_folders.tempfile.TemporaryFile", read_only)
    code, _, err = cli("fit", clips, "--out", "new")
    assert code == 1
    assert err == "error: --out 'new' cannot be written (Permission denied); choose another folder\n"
    assert everything(tmp_path) == ["file", "full/mine.txt"]


@pytest.mark.parametrize("stdout", ["closed", "gone"])
def test_nobody_reads_stdout(clips, model, tmp_path, stdout) -> None:
    read, write = os.pipe()
    os.close(read)
    options = {"preexec_fn": lambda: os.close(1)} if stdout == "closed" else {"stdout": write}
    done = shell(
        "explain", clips / "siren" / "0.wav", "--model", model, "--method", "energy",
        cwd=tmp_path, capture_output=False, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "explained" / "index.html").is_file()


def test_a_target_of_a_zero_shot_classifier_is_any_text(cli, clips, tmp_path) -> None:
    options = ["--classifier", "band_clap:band_clap", "--method", "saliency", "--target", "something low"]
    code, _, err = cli("explain", clips / "siren" / "0.wav", *options)
    assert code == 0, err
    assert Explanation.load(tmp_path / "explained").target_names == ["something low"]
    code, _, err = cli("explain-dataset", clips / "siren", "--out", tmp_path / "shards", *options)
    assert code == 0, err
    assert {clip.target for clip in audioxai.read_dataset(tmp_path / "shards")} == {"something low"}
    code, _, err = cli("explain", clips / "siren" / "0.wav", "--out", "other", *options[:-1], "7")
    assert code != 0 and "out of range" in err


# --- usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["explain", "CLIP", "--model", "MODEL", "--target", "sirenn"], "unknown label 'sirenn'; nearest: 'siren'"),
        (["explain", "CLIP", "--model", "MODEL", "--target", "2"], "out of range"),
        (["explain", "CLIP", "--model", "MODEL", "--target", "-1"], "out of range"),
        (["explain", "CLIP", "--model", "MODEL", "--target", "²"], "unknown label"),
        (["explain", "CLIP", "--model", "MODEL", "--method", "gradcm"], "'lmac', 'saliency'"),
        (["explain", "CLIP", "--model", "MODEL", "--space", "mel"], "fitted with --space stft"),
        (["explain", "CLIP", "--model", "MODEL", "--scale", "db"], "'--scale'"),
        (["explain", "CLIP", "--classifier", "own_network:build"], "--model FOLDER is missing"),
        (["explain"], "Missing argument"),
        (["explain", "CLIP", "--bogus"], "--bogus"),
        (["explain", "CLIP", "--classifier", "own", "--method", "gradcam"], "must be MODULE:NAME"),
        (["explain", "CLIP", "--classifier", "own_network:boom", "--method", "gradcam"], "KeyError: 'x'"),
        (["explain", "CLIP", "--classifier", "own_network:number", "--method", "gradcam"], "gives int"),
        (["explain", "CLIP", "--classifier", "absent:x", "--method", "gradcam"], "No module named 'absent'"),
        (["fit", "CLIPS", "--space", "fourier"], "'--space'"),
        (["fit", "CLIPS", "--epochs", "0"], "'--epochs'"),
        (["fit", "CLIPS", "--seconds", "nan"], "seconds"),
        (["fit", "CLIPS", "--seconds", "0"], "'--seconds'"),
        (["fit", "CLIPS", "--resume", "--overwrite"], "choose one"),
        (["fit", "CLIPS/siren"], "at least two classes"),
        (["fit", "CLIPS", "--labels", "x.csv", "--classifier", "own_network:build"], "--labels is for training"),
        (["nope"], "No such command 'nope'"),
    ],
)
def test_wrong_usage(cli, clips, model, tmp_path, arguments, fault) -> None:
    (tmp_path / "own_network.py").write_text(OWN)
    names = {"CLIP": clips / "siren" / "0.wav", "MODEL": model, "CLIPS": clips, "CLIPS/siren": clips / "siren"}
    code, out, err = cli(*(names.get(a, a) for a in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert fault in err
    assert {p.name for p in tmp_path.iterdir()} <= {"own_network.py", "__pycache__"}  # no work was begun


def test_models_that_are_not_there(cli, clips, tmp_path) -> None:
    code, _, err = cli("explain", clips / "siren" / "0.wav", "--model", "nope", "--out", "e")
    assert (code, err) == (1, "error: no saved classifier in 'nope': it has no classifier.json; check the folder\n")
    assert everything(tmp_path) == []


def test_help_version_and_a_name_like_an_option(clips, tmp_path) -> None:
    assert shell("--version").stdout == f"audioxai {__version__}\n"
    bare, helped = shell(), shell("fit", "--help")
    assert bare.returncode == 2
    assert "doctor" in bare.stdout
    assert helped.returncode == 0
    assert "x>=1" in helped.stdout
    shutil.copy(clips / "siren" / "0.wav", tmp_path / "-a.wav")
    done = shell("explain", "-a.wav", cwd=tmp_path)
    assert done.returncode == 2
    assert "write ./-a.wav" in done.stderr


# --- fit ----------------------------------------------------------------------------------------------------------


def test_a_finished_fit_leaves_no_checkpoint(model) -> None:
    kept = ["classifier.json", "classifier.safetensors", "decoder.safetensors", "explainer.json", "fit.json"]
    assert everything(model) == kept
    assert load_classifier(model).labels == ("hiss", "siren")


@pytest.mark.parametrize("stage", ["classifier", "LMAC"])
def test_an_interrupted_fit_resumes_to_the_same_model(cli, clips, model, tmp_path, monkeypatch, stage) -> None:
    import audioxai.training.loop as training

    finish = training._State.finish_epoch
    last = {"classifier": 3, "LMAC": 2}[stage]

    def stop_before_the_last_epoch(state, record, *, write):
        if state.options.epochs == last and state.epoch + 1 == last:
            raise KeyboardInterrupt
        finish(state, record, write=write)

    with monkeypatch.context() as patch:
        patch.setattr(training._State, "finish_epoch", stop_before_the_last_epoch)
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


def test_a_network_of_ones_own(cli, clips, tmp_path, plain) -> None:
    (tmp_path / "own_network.py").write_text(OWN)
    own = ["--classifier", "own_network:build"]
    code, out, _ = cli("fit", clips, *own, "--out", "m", "--epochs", 1, "--seconds", 0.5)
    assert code == 0
    assert "--model m --classifier own_network:build" in out
    clip = clips / "siren" / "0.wav"
    code, _, err = cli("explain", clip, "--model", "m", "--out", "e")
    assert (code, "pass its --classifier too" in err) == (2, True)
    assert cli("explain", clip, "--model", "m", *own, "--target", "7", "--out", "e")[0] == 0
    assert Explanation.load("e").target.item() == 2  # a label that looks like a number is a label
    assert cli("explain", clip, *own, "--method", "gradcam", "--target", "1", "--out", "g")[0] == 0
    assert Explanation.load("g").target_names == ["b"]
