"""The ESC-50 loader, on a small tree in the archive's layout and on the real clips."""

import pytest
import torch
from data.recordings import ESC_ROWS

import audioxai as ax
from audioxai.data import ESC50
from audioxai.errors import AudioFileError, ConfigError

RATE = 16000


@pytest.fixture
def tree(esc_folder):
    """Each clip is constant, of another level; the first lasts three seconds, the others one."""
    root = esc_folder()
    for i, (stem, *_) in enumerate(ESC_ROWS):
        ax.save(root / "audio" / f"{stem}.wav", torch.full((22050 * (1 if i else 3),), 0.1 * (i + 1)), 22050)
    return root


def test_labels_classes_and_clips(tree):
    data = ESC50(tree, seconds=2)
    assert data.labels == ("chainsaw", "chirping_birds", "dog", "vacuum_cleaner")
    assert len(data) == 5
    assert data.classes == [2, 1, 2, 0, 3]
    clips, classes = data.tensors()
    assert clips.shape == (5, 2 * RATE)
    assert classes.tolist() == data.classes
    for i, (clip, label) in enumerate(data[k] for k in range(5)):
        assert torch.equal(clip, clips[i])
        assert label == data.classes[i]
        assert clip[1000:8000].mean().item() == pytest.approx(0.1 * (i + 1), abs=1e-3)
    assert clips[0, -1000:].mean() > 0.09  # longer than two seconds: cut
    assert clips[1, RATE + 100 :].eq(0).all()  # shorter: padded


def test_folds_and_the_ten_class_subset(tree):
    assert [p.name for p in ESC50(tree, folds=[1]).files] == ["1-1-A-0.wav", "1-2-A-14.wav"]
    assert len(ESC50(tree, folds=(2, 3))) == 2
    ten = ESC50(tree, folds=(1, 2, 3), esc10=True)
    assert ten.labels == ("chainsaw", "dog")
    assert ten.classes == [1, 1, 0]
    # Classes mean the same in every fold, also where a fold lacks one.
    assert ESC50(tree, folds=[3]).labels == ESC50(tree).labels
    assert len(ESC50(tree, folds=[4])) == 0


def test_clips_are_decoded_once(tree, monkeypatch):
    import audioxai.data.clips as module

    calls = []
    honest = module.load
    monkeypatch.setattr(module, "load", lambda *args: calls.append(args) or honest(*args))
    data = ESC50(tree)
    assert not calls
    for _ in range(2):
        data.tensors()
    assert len(calls) == 5


def test_what_is_no_data_set(tree, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    for root in (empty, empty / "missing", str(tree / "meta")):
        with pytest.raises(AudioFileError, match=r"holds no ESC-50.*https"):
            ESC50(root)
    for folds in ([0], [1, 6]):
        with pytest.raises(ConfigError, match="do not exist"):
            ESC50(tree, folds=folds)


def test_a_missing_clip_is_named_at_once(tree):
    (tree / "audio" / "2-3-A-0.wav").unlink()
    with pytest.raises(AudioFileError, match=r"1 of 5 clip.*2-3-A-0\.wav' is missing.*skip_bad=True"):
        ESC50(tree)
    assert len(ESC50(tree, folds=[1])) == 2  # other folds do not need it


def test_a_damaged_clip_is_named_when_it_is_read(tree):
    (tree / "audio" / "2-3-A-0.wav").write_bytes(b"RIFF, but no more")
    data = ESC50(tree)
    assert data[1][1] == 1
    with pytest.raises(AudioFileError, match=r"2-3-A-0\.wav"):
        data[2]
    with pytest.raises(AudioFileError, match=r"1 of 5 clip.*2-3-A-0\.wav"):
        data.tensors()


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_the_table_may_name_another_format(tree, suffix):
    import soundfile

    wav = tree / "audio" / "1-1-A-0.wav"
    samples, rate = soundfile.read(wav)
    soundfile.write(wav.with_suffix(suffix), samples, rate)
    assert ESC50(tree).files[0] == wav  # the one that the table names
    wav.unlink()
    data = ESC50(tree)
    assert data.files[0] == wav.with_suffix(suffix)
    assert data[0][0][2000:6000].mean().item() == pytest.approx(0.1, abs=2e-3)


def test_the_folder_above_the_archives_own(tree, tmp_path_factory):
    above = tmp_path_factory.mktemp("above")
    (above / "ESC-50-master").symlink_to(tree)
    assert ESC50(above).root == above / "ESC-50-master"
    assert torch.equal(ESC50(above)[0][0], ESC50(tree)[0][0])


def test_a_damaged_table_is_named(tree):
    table = tree / "meta" / "esc50.csv"
    whole = table.read_text()
    table.write_text(whole.replace("category", "kind"))
    with pytest.raises(AudioFileError, match="lacks the column.*category"):
        ESC50(tree)
    table.write_text(whole.rstrip()[: -len("vacuum_cleaner,False,1,A")])
    with pytest.raises(AudioFileError, match="lacks a value in line 6"):
        ESC50(tree)
    table.write_bytes(b"\xff\xfe\x00broken")
    with pytest.raises(AudioFileError, match="cannot be read as CSV"):
        ESC50(tree)


def test_what_changes_a_clip_does_not_change_the_data_set(tree):
    data = ESC50(tree)
    data[0][0].zero_()
    assert data[0][0].abs().max() > 0.05


def test_clips_from_the_end_and_beyond(tree):
    data = ESC50(tree)
    assert torch.equal(data[-1][0], data[4][0])
    assert data[-1][1] == data[4][1]
    assert len(list(data)) == 5
    with pytest.raises(IndexError, match="use 0 to 4"):
        data[5]


def test_no_length_and_no_rate(tree):
    for options in ({"seconds": 0}, {"seconds": float("nan")}, {"sample_rate": 0}, {"sample_rate": 1.5}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            ESC50(tree, **options)


def test_the_real_clips(data_root):
    data = ESC50(data_root / "esc10", folds=[5], esc10=True)
    assert len(data.labels) == 10
    assert len(data) == 80
    assert sorted(data.classes) == sorted(list(range(10)) * 8)
    for i in (0, 79):
        clip, label = data[i]
        assert clip.shape == (5 * RATE,)
        assert 0 < clip.abs().max() <= 1.5
        assert data.labels[label]
        assert data.files[i].name.startswith("5-")
    assert sum(len(ESC50(data_root / "esc10", folds=[k])) for k in range(1, 6)) == 400
