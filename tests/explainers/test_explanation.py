"""Explanation: indexing, saving whole or not at all, loading, showing itself."""

import copy
import errno
import gc
import io
import json
import os
import pickle
import resource
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import networks
import numpy as np
import pytest
import soundfile
import torch

import audioxai as ax
from audioxai.errors import ClassifierError, InputError, OutputError
from audioxai.masking.spaces import Analysis
from audioxai.support.files import folder_names

FILES = {"mask.npz", "input.wav", "explanation.wav", "removed.wav", "picture.png", "explanation.json"}
HOSTILE = ["../../evil", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']


def explain(method=ax.GradCAM, count=3, space="stft", target=None, names=None, **options):
    return method(networks.log_mel_cnn(), space=space, **options).explain(
        networks.clips(count, 2500), target, names=names
    )


@pytest.fixture(scope="module")
def batch():
    return explain()


def same(a, b):
    """Equal to the bit in everything that is saved."""
    for name in ("mask", "waveform", "input", "removed", "target", "attribution"):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        assert x is None or (x.dtype == y.dtype and torch.equal(x, y)), name
    for x, y in zip(a.scores, b.scores, strict=True):
        assert torch.equal(x, y)
    for entry in fields(a):
        if not entry.name.startswith("_") and not isinstance(getattr(a, entry.name), torch.Tensor):
            assert getattr(a, entry.name) == getattr(b, entry.name), entry.name


# A result in the hand -------------------------------------------------------------------------------------------------


def test_it_unpacks_and_counts(batch):
    mask, waveform = batch
    assert mask is batch.mask
    assert waveform is batch.waveform
    assert len(batch) == 3
    assert batch.names == ["clip 0", "clip 1", "clip 2"]
    assert "GradCAM, stft, log1p" in repr(batch)
    assert "Tensor" not in repr(batch)
    assert repr(explain(ax.AllOnes, 5)).endswith(", ...)")


@pytest.mark.parametrize("target", [None, [0, 1, 2], lambda logits: logits[:, 0]])
def test_one_clip_of_a_batch(target):
    whole = explain(target=target)
    for i in range(3):
        one = whole[i]
        assert len(one) == 1
        assert torch.equal(one.mask, whole.mask[i : i + 1])
        assert torch.equal(one.removed, whole.removed[i : i + 1])
        assert torch.equal(one.scores.kept, whole.scores.kept[i : i + 1])
        assert torch.equal(one.attribution, whole.attribution[i : i + 1])
        assert one.names == [whole.names[i]]
        assert one.target_names == [whole.target_names[i]]
        assert (one.target is None) == callable(target)
        same(one, whole[i - 3])
        same(one, one[0])
        same(one, one[-1])
    for index in (3, -4):
        with pytest.raises(IndexError, match=rf"clip {index} of 3"):
            whole[index]


def test_removed_and_scores_are_computed_when_first_asked():
    classifier = networks.log_mel_cnn()
    calls = []
    handle = classifier.network.register_forward_hook(lambda *_: calls.append(1))
    result = ax.EnergyMask(classifier).explain(networks.clips(1, 2500))
    before = len(calls)
    assert result.removed.shape == result.input.shape
    assert len(calls) == before
    assert result.scores is result.scores
    assert len(calls) == before + 2
    handle.remove()


# Saving and loading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "space", "target"),
    [
        (ax.GradCAM, "stft", None),
        (ax.EnergyMask, "mel", ["rain", "dog", "rain"]),
        (ax.RandomMask, "waveform", 2),
        (ax.GradCAM, "stft", lambda logits: logits[:, 1] - logits[:, 0]),
    ],
)
def test_a_batch_comes_back_to_the_bit(tmp_path, method, space, target):
    whole = explain(method, space=space, target=target)
    assert whole.save(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    same(ax.Explanation.load(tmp_path / "new" / "folder"), whole)
    same(ax.Explanation.load(tmp_path / "new" / "folder" / "clip_1"), whole[1])


def test_a_single_clip_comes_back_to_the_bit(tmp_path, batch):
    batch[2].save(tmp_path)
    loaded = ax.Explanation.load(tmp_path)
    same(loaded, batch[2])
    assert {p.name for p in (tmp_path / "clip_2").iterdir()} == FILES


def test_many_clips_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("audioxai.report.plot.figure_png", lambda _figure: b"")
    names = [f"z{i}" for i in range(12)][::-1]
    whole = explain(ax.EnergyMask, 12, names=names)
    whole.save(tmp_path)
    same(ax.Explanation.load(tmp_path), whole)


def test_sounds_are_what_was_heard(tmp_path, batch):
    batch.save(tmp_path)
    for i in range(3):
        for file, waveform in (("input", batch.input), ("explanation", batch.waveform), ("removed", batch.removed)):
            found, rate = soundfile.read(tmp_path / f"clip_{i}" / f"{file}.wav")
            assert rate == batch.sample_rate
            np.testing.assert_allclose(found, waveform[i], atol=1e-4)
        assert (tmp_path / f"clip_{i}" / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["a.wav", "b.wav"], ["a.wav", "b.wav"]),
        (["a", "a", "a"], ["a", "a_2", "a_3"]),
        (["a", "a_2", "a", "a_2"], ["a", "a_2", "a_3", "a_2_2"]),
        (["A", "a"], ["A", "a_2"]),
        (["../../evil", "..", ".", "", "/"], ["evil", "clip", "clip_2", "clip_3", "clip_4"]),
        (["<script>alert(1)</script>"], ["script_alert(1)_script"]),
        (["/etc/passwd", "C:\\x\\y", "a\nb\0c"], ["etc_passwd", "C_x_y", "a_b_c"]),
        (["Möwe 🐦.wav"], ["Möwe_.wav"]),
        (["x" * 400, "x" * 401], ["x" * 120, "x" * 120 + "_2"]),
        (["ö" * 200], ["ö" * 60]),
    ],
)
def test_folders_are_safe_and_distinct(names, folders):
    assert folder_names(names) == folders


def test_hostile_names_stay_inside_the_folder(tmp_path):
    whole = explain(ax.EnergyMask, names=["../../evil", "<script>alert(1)</script>", "../../evil"])
    out = tmp_path / "a" / "b"
    whole.save(out)
    assert {p.name for p in out.iterdir()} == {"evil", "script_alert(1)_script", "evil_2"}
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    same(ax.Explanation.load(out), whole)


def test_saving_again_replaces(tmp_path, batch):
    batch[0].save(tmp_path)
    other = replace(batch[1], names=["clip 0"])
    other.save(tmp_path)
    same(ax.Explanation.load(tmp_path), other)
    assert {p.name for p in (tmp_path / "clip_0").iterdir()} == FILES


def no_part_left(folder):
    """Every file below is one of ours and can be read as what it is."""
    for path in folder.rglob("*"):
        if path.is_dir():
            continue
        assert path.name in FILES, path
        if path.suffix == ".wav":
            assert soundfile.info(path).frames == 2500
        elif path.suffix == ".npz":
            with np.load(path) as stored:
                assert "mask" in stored.files
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("stage", ["fsync", "replace"])
def test_a_disk_that_fills_up_leaves_whole_files_only(tmp_path, batch, monkeypatch, call, stage):
    calls, honest = [], getattr(os, stage)

    def full(*args):
        calls.append(args)
        if len(calls) > call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(*args)

    monkeypatch.setattr("audioxai.report.plot.figure_png", lambda _figure: b"\x89PNG IEND\xaeB`\x82")
    monkeypatch.setattr(os, stage, full)
    with pytest.raises(OutputError, match="No space left on device"):
        batch.save(tmp_path)
    monkeypatch.undo()
    no_part_left(tmp_path)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == call
    if call >= 6:
        same(ax.Explanation.load(tmp_path / "clip_0"), batch[0])


def test_a_write_that_the_system_cuts_off(tmp_path, batch):
    """A real limit: the system refuses to let the masks' file grow beyond a few kilobytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
        with pytest.raises(OutputError, match=r"mask\.npz"):
            batch[0].save(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    no_part_left(tmp_path)
    assert not (tmp_path / "clip_0" / "mask.npz").exists()


def test_an_encoder_that_fails_leaves_no_file(tmp_path, batch, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(soundfile, "write", full)
    with pytest.raises(OutputError, match="No space left"):
        batch.save(tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_folder_that_cannot_be_made(tmp_path, batch):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        batch.save(tmp_path / "taken")


def test_nothing_saved_there(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OutputError, match="no saved explanation"):
            ax.Explanation.load(folder)


def spoilt(path, how):
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "half":
        path.write_bytes(data[: len(data) // 2])
    elif how == "noise":
        path.write_bytes(bytes(range(256)) * 8)
    elif how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes(255 - b for b in data[middle : middle + 400]) + data[middle + 400 :])


@pytest.mark.parametrize("how", ["missing", "empty", "half", "noise", "flipped"])
def test_a_spoilt_mask_is_named(tmp_path, batch, how):
    batch[0].save(tmp_path)
    spoilt(tmp_path / "clip_0" / "mask.npz", how)
    with pytest.raises(OutputError, match="clip_0"):
        ax.Explanation.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null", "7", '{"format": 1}', "\udcff"])
def test_a_spoilt_description_is_named(tmp_path, batch, text):
    batch[0].save(tmp_path)
    (tmp_path / "clip_0" / "explanation.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(OutputError, match="clip_0"):
        ax.Explanation.load(tmp_path)


@pytest.mark.parametrize(
    "change", [{"format": 99}, {"stft": {"n_fft": 8, "colour": 1}}, {"labels": 3}, {"surprise": 1}, {"stft": [1]}]
)
def test_a_description_of_another_kind(tmp_path, batch, change):
    batch[0].save(tmp_path)
    path = tmp_path / "clip_0" / "explanation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(OutputError, match="clip_0"):
        ax.Explanation.load(tmp_path)


def test_pickled_arrays_are_not_opened(tmp_path, batch):
    batch[0].save(tmp_path)

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    packed = io.BytesIO()
    np.savez(packed, mask=np.array([Bomb()], dtype=object))
    (tmp_path / "clip_0" / "mask.npz").write_bytes(packed.getvalue())
    with pytest.raises(OutputError, match="clip_0"):
        ax.Explanation.load(tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_clips_that_differ_are_loaded_one_by_one(tmp_path, batch):
    batch[0].save(tmp_path)
    ax.EnergyMask(networks.log_mel_cnn()).explain(networks.clips(1, 2600), names=["longer"]).save(tmp_path)
    with pytest.raises(InputError, match="one by one|own folder"):
        ax.Explanation.load(tmp_path)
    same(ax.Explanation.load(tmp_path / "clip_0"), batch[0])


# Showing --------------------------------------------------------------------------------------------------------------


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_a_notebook_gets_one_frame_and_no_script_of_a_strangers(batch):
    hostile = replace(batch, names=HOSTILE, target_names=HOSTILE[::-1], method="<b onclick=x>")
    outer = Tags(hostile._repr_html_()).tags
    assert [tag for tag, _ in outer] == ["iframe"]
    page = outer[0][1]["srcdoc"]
    plain = Tags(batch._repr_html_()).tags[0][1]["srcdoc"]
    tags, expected = Tags(page).tags, Tags(plain).tags
    assert [tag for tag, _ in tags] == [tag for tag, _ in expected]
    assert [sorted(attrs) for _, attrs in tags] == [sorted(attrs) for _, attrs in expected]
    assert "<script>alert" not in page
    assert len([tag for tag, _ in tags if tag == "audio"]) >= 3


def test_a_notebook_without_frames_gets_the_first_clips_picture(batch):
    from audioxai.report.plot import overlay_png

    assert batch._repr_png_() == overlay_png(batch, 0) != overlay_png(batch, 1)


def test_page_and_picture(tmp_path, batch):
    from matplotlib.figure import Figure

    assert isinstance(batch.plot(), Figure)
    assert isinstance(batch.plot(2), Figure)
    path = batch.to_html(tmp_path / "page.html", title="a <title>")
    assert path == tmp_path / "page.html"
    assert "a &lt;title&gt;" in path.read_text()


def test_pickles_and_copies_hold_all_and_no_network():
    explanation = ax.GradCAM(networks.log_mel_cnn()).explain(networks.clips(2, 4000))
    stored = pickle.dumps(explanation)
    assert b"AudioClassifier" not in stored
    for again in (pickle.loads(stored), copy.deepcopy(explanation)):
        assert torch.equal(again.removed, explanation.removed)
        assert all(torch.equal(one, other) for one, other in zip(again.scores, explanation.scores, strict=True))
        assert again[1].target_names == explanation[1].target_names


def test_clips_with_and_without_a_class_are_not_joined(tmp_path):
    explainer, clips = ax.GradCAM(networks.log_mel_cnn()), networks.clips(2, 4000)
    explainer.explain(clips[:1], 0, names=["a"]).save(tmp_path)
    explainer.explain(clips[1:], lambda logits: logits.sum(1), names=["b"]).save(tmp_path)
    with pytest.raises(InputError, match="differ in size or settings"):
        ax.Explanation.load(tmp_path)


@pytest.mark.parametrize("labels", [("a", "b", "c", "d"), None])
def test_the_json_tells_the_probabilities(tmp_path, labels):
    classifier = networks.log_mel_cnn()
    classifier.labels = labels
    explanation = ax.EnergyMask(classifier).explain(networks.clips(1, 4000), 1, names=["clip"])
    explanation.save(tmp_path)
    told = json.loads((tmp_path / "clip" / "explanation.json").read_text())
    assert told["target"] == 1
    for name, scores in explanation.scores._asdict().items():
        assert list(told["probabilities"][name]) == list(labels or ("class 0", "class 1", "class 2", "class 3"))
        assert list(told["probabilities"][name].values()) == pytest.approx(scores[0].tolist())
    assert torch.equal(ax.Explanation.load(tmp_path).target, explanation.target)


def test_explanations_are_compared_as_objects():
    first, second = (ax.AllOnes(networks.log_mel_cnn()).explain(networks.clips(2, 2000)) for _ in range(2))
    assert first == first and first != second
    assert {first: "a", second: "b"}[first] == "a"


def test_an_explanation_lets_go_of_what_it_was_made_from():
    """Everything that is computed later is kept once, and what it came from is not kept at all."""

    def alive():
        gc.collect()
        return sum(type(one) is Analysis for one in gc.get_objects())

    explainer, before = ax.Saliency(networks.log_mel_cnn()), alive()
    explanation = explainer.explain(networks.clips(2, 4000))
    assert alive() > before
    explanation.scores, explanation.removed  # noqa: B018
    assert alive() == before


def halve(network: torch.nn.Module) -> None:
    with torch.no_grad():
        next(network.parameters()).mul_(0.5)


def swap(network: torch.nn.Module) -> None:
    for parameter in network.parameters():  # as averaged weights are put in place, past all counters
        parameter.data = parameter.data * 1.1


def look(network: torch.nn.Module) -> None:
    network.train()
    network(torch.randn(4, 50, 32))  # batch norm takes notice
    network.eval()


@pytest.mark.parametrize(
    "change", [halve, swap, look, lambda n: n.load_state_dict(networks.log_mel_cnn().network.state_dict())]
)
def test_scores_of_two_networks_are_never_mixed(change):
    classifier = networks.log_mel_cnn()
    early, late = (ax.GradCAM(classifier).explain(networks.clips(2, 4000)) for _ in range(2))
    early.scores  # noqa: B018
    change(classifier.network)
    with pytest.raises(ClassifierError, match="weights have changed since this explanation was made"):
        late.scores  # noqa: B018
    assert early.scores.kept.isfinite().all() and late.removed.isfinite().all()
    assert ax.GradCAM(classifier).explain(networks.clips(2, 4000)).scores.kept.isfinite().all()


def test_a_network_that_counts_its_calls_has_not_changed():
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = networks.log_mel_cnn().network
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, features):
            self.calls += 1
            return self.inner(features)

    classifier = ax.AudioClassifier(Counts(), sample_rate=8000, frontend=ax.LogMel(8000, 32))
    first, second = (ax.GradCAM(classifier).explain(networks.clips(1, 4000)) for _ in range(2))
    assert torch.equal(first.scores.kept, second.scores.kept)
