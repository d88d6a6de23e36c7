"""Wrong usage of any command: one error line, an exit code, and nothing begun."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
from commands.shell import OWN, everything, shell

from audioxai.commands import main as cli_module
from audioxai.version import __version__


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


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["explain", "CLIP", "--model", "MODEL", "--target", "sirenn"], "unknown label 'sirenn'; nearest: 'siren'"),
        (["explain", "CLIP", "--model", "MODEL", "--target", "2"], "out of range"),
        (["explain", "CLIP", "--model", "MODEL", "--target", "-1"], "out of range"),
        (["explain", "CLIP", "--model", "MODEL", "--target", "²"], "unknown label"),
        (["explain", "CLIP", "--model", "MODEL", "--method", "gradcm"], "nearest are 'gradcam'"),
        (["explain", "CLIP", "--method", "l2i"], "--model FOLDER is missing: where L2I.save_pretrained wrote"),
        (["explain", "CLIP", "--model", "MODEL", "--method", "l2i"], "holds 'LMAC'"),
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


def test_every_command_is_listed_and_nothing_else_knows_typer():
    assert len(cli_module.app.registered_commands) == 8
    root = Path(cli_module.__file__).parents[1]
    users = {path.relative_to(root).parts[0] for path in root.rglob("*.py") if "import typer" in path.read_text()}
    assert users == {"commands"}
