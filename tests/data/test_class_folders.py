"""Folders of clips and tables of labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audioxai.data.class_folders import clips_of, labelled_clips_of, loader_of
from audioxai.errors import AudioFileError, ConfigError

RATE = 8000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips of class b at 0.25 and 0.5, one of class a at 0.75, half a second each; and a hidden folder."""
    for name, value in (("b/1.wav", 0.25), ("b/deep/2.wav", 0.5), ("a/3.wav", 0.75), (".trash/4.wav", 1.0)):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / name, np.full(RATE // 2, value), RATE, "FLOAT")
    return tmp_path / "in"


def test_subfolders_are_classes(folder: Path) -> None:
    clips, classes, labels, bad = labelled_clips_of(folder, RATE, 0.75)
    assert labels == ["a", "b"]
    assert classes.tolist() == [0, 1, 1]
    assert bad == []
    assert clips.shape == (3, 6000)
    assert clips[:, :4000].mean(1).tolist() == [0.75, 0.25, 0.5]
    assert not clips[:, 4000:].any()
    assert labelled_clips_of(folder, RATE, 0.25)[0].shape == (3, 2000)


@pytest.mark.parametrize("header", ["file,label", "label,file,fold", "filename,category", "\ufefffile,label"])
def test_a_table_of_labels(folder: Path, header: str) -> None:
    columns = header.strip("\ufeff").split(",")
    rows = [("b/1.wav", "x y"), ("a/3.wav", "x y"), ("b/deep/2.wav", "w"), ("gone.wav", "w")]
    lines = [",".join({"file": f, "filename": f, "fold": "1"}.get(c, label) for c in columns) for f, label in rows]
    (folder / "t.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    clips, classes, labels, bad = labelled_clips_of(folder, RATE, 0.5, folder / "t.csv")
    assert labels == ["w", "x y"]
    assert classes.tolist() == [1, 1, 0]
    assert clips[:, 0].tolist() == [0.25, 0.75, 0.5]
    assert len(bad) == 1
    assert "gone.wav" in bad[0]


@pytest.mark.parametrize(
    ("text", "error", "fault"),
    [
        ("name,label\nb/1.wav,x\n", ConfigError, "needs the columns file and label"),
        ("", ConfigError, "needs the columns"),
        ("file,label\nb/1.wav,x\nb/1.wav\n", ConfigError, "in line 3"),
        ("file,label\nb/1.wav,x\na/3.wav,x\n", ConfigError, r"at least two classes.*give \['x'\]"),
        ("file,label\nb/1.wav,x\ngone.wav,y\n", AudioFileError, "no clip of 'y' could be read.*gone.wav"),
        ("file,label\ngone.wav,x\nlost.wav,y\n", AudioFileError, r"none of 2 file\(s\).*gone.wav"),
        (None, AudioFileError, "cannot be read as CSV"),
        (b"file,label\n\xff\xfe,x\n", AudioFileError, "cannot be read as CSV"),
    ],
)
def test_tables_that_are_wrong(folder: Path, text: str | bytes | None, error: type[Exception], fault: str) -> None:
    if text is not None:
        (folder / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=fault):
        labelled_clips_of(folder, RATE, 0.5, folder / "t.csv")


def test_one_bad_file_does_not_lose_the_others(folder: Path) -> None:
    (folder / "b" / "0.wav").write_text("no sound")
    _, classes, _, bad = labelled_clips_of(folder, RATE, 0.5)
    assert classes.tolist() == [0, 1, 1]
    assert len(bad) == 1
    assert "b/0.wav" in bad[0]
    (folder / "a" / "3.wav").write_bytes(b"")
    with pytest.raises(AudioFileError, match="no clip of 'a' could be read"):
        labelled_clips_of(folder, RATE, 0.5)


def test_folders_that_are_wrong(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"two classes.*give \['deep'\]"):
        labelled_clips_of(folder / "b", RATE, 0.5)
    for read in (clips_of, labelled_clips_of):
        with pytest.raises(AudioFileError, match="nope' is missing"):
            read(folder / "nope", RATE, 0.5)
        with pytest.raises(AudioFileError, match="wav' is not a folder"):
            read(folder / "b" / "1.wav", RATE, 0.5)
        for seconds in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ConfigError, match="positive length"):
                read(folder, RATE, seconds)
    (folder / "empty").mkdir()
    with pytest.raises(AudioFileError, match="no audio file below .*empty"):
        labelled_clips_of(folder, RATE, 0.5)


def test_clips_without_labels(folder: Path) -> None:
    clips, bad = clips_of(folder / "b", RATE // 2, 0.5)
    assert clips.shape == (2, 2000)
    assert bad == []


def test_loader_gives_every_clip_once() -> None:
    clips = torch.arange(35.0)[:, None]
    batches = list(loader_of(clips, torch.arange(35)))
    assert [len(w) for w, _ in batches] == [16, 16, 3]
    assert all(torch.equal(w[:, 0].long(), k) for w, k in batches)
    order = torch.cat([k for _, k in batches])
    assert sorted(order.tolist()) == list(range(35))
    assert order.tolist() != list(range(35))
    assert [len(batch) for batch in loader_of(clips)] == [1, 1, 1]
