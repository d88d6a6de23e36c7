"""``audioxai explain``: results, error lines, exit codes, and what is left on the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands.shell import FILES, OWN, RATE, everything, shell

import audioxai
from audioxai import Explanation, load
from audioxai.commands import explain as explain_module
from audioxai.commands.output_folders import distinct_names


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
    load_explainer = explain_module.load_explainer

    def fragile(*arguments):
        made, target = load_explainer(*arguments)
        whole = made.explain

        def fail_once(file, *rest, **options):
            if file.name == "1.wav":
                raise RuntimeError("boom")
            return whole(file, *rest, **options)

        made.explain = fail_once
        return made, target

    monkeypatch.setattr(explain_module, "load_explainer", fragile)
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
    monkeypatch.setattr(explain_module, "_CLIPS_PER_PAGE", 3)
    _, out, _ = cli("explain", clips / "siren", "--model", model, "--out", "e", "--method", "energy")
    assert out.endswith("listen: e/index.html, e/index-2.html\n")
    assert "3.wav" in Path("e/index-2.html").read_text()


def test_an_interruption_keeps_what_is_done(cli, clips, model, monkeypatch, plain) -> None:
    save = explain_module.save_clip

    def interrupted(explanation, out):
        if explanation.names == ["2.wav"]:
            raise KeyboardInterrupt
        save(explanation, out)

    monkeypatch.setattr(explain_module, "save_clip", interrupted)
    code, _, err = cli("explain", clips / "siren", "--model", model, "--out", "e", "--method", "energy")
    assert code == 130
    assert err.splitlines()[:2] == ["stopped after 2 of 4 clip(s); listen: e/index.html", "interrupted"]
    assert sorted(os.listdir("e")) == ["0.wav", "1.wav", "index.html"]


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
