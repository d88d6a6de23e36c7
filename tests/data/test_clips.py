"""UrbanSound8K, folders of sounds, and what all data sets of recordings share."""

import csv

import pytest
import torch
from data.recordings import sound
from torch.utils.data import DataLoader

import audioxai as ax
from audioxai.data import LabelledClips, SoundFolder, UrbanSound8K
from audioxai.errors import AudioFileError, ConfigError
from audioxai.sound.files import load

URBAN_ROWS = [  # slice_file_name, fold, classID, class
    ("100032-3-0-0.wav", 5, 3, "dog_bark"),
    ("100263-2-0-117.wav", 5, 2, "children_playing"),
    ("100648-1-0-0.wav", 10, 1, "car_horn"),
    ("102305-6-0-0.wav", 1, 6, "gun_shot"),
    ("101382-0-0-10.wav", 1, 0, "air_conditioner"),
    ("103076-4-0-0.wav", 3, 4, "drilling"),
    ("103258-5-0-0.wav", 3, 5, "engine_idling"),
]


@pytest.fixture
def urban(tmp_path):
    (tmp_path / "metadata").mkdir()
    with (tmp_path / "metadata" / "UrbanSound8K.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"])
        for name, fold, number, label in URBAN_ROWS:
            table.writerow([name, name.split("-")[0], 0.0, 0.317551, 1, fold, number, label])
    for i, (name, fold, *_) in enumerate(URBAN_ROWS):
        ax.save(tmp_path / "audio" / f"fold{fold}" / name, sound(4000, i).expand(2, -1), 8000)
    return tmp_path


def test_urbansound(urban):
    data = UrbanSound8K(urban, sample_rate=8000)
    assert len(data) == 7
    assert data.classes == [number for _, _, number, _ in URBAN_ROWS]  # the sorted names are the table's numbers
    assert [data.labels[k] for k in data.classes] == [label for *_, label in URBAN_ROWS]
    clips, classes = data.tensors()
    assert clips.shape == (7, 4 * 8000)
    assert classes.tolist() == data.classes
    for i, clip in enumerate(clips):
        assert torch.allclose(clip[:4000], sound(4000, i), atol=1e-4)
        assert clip[4000:].eq(0).all()
    assert data.names[2] == "audio/fold10/100648-1-0-0.wav"


def test_urbansound_folds(urban):
    data = UrbanSound8K(urban, folds=[10, 1], seconds=0.25)
    assert [f.name for f in data.files] == ["100648-1-0-0.wav", "102305-6-0-0.wav", "101382-0-0-10.wav"]
    assert data.labels == UrbanSound8K(urban).labels
    for folds in ([0], [11]):
        with pytest.raises(ConfigError, match="folds 1 to 10"):
            UrbanSound8K(urban, folds=folds)
    with pytest.raises(AudioFileError, match=r"holds no UrbanSound8K.*https"):
        UrbanSound8K(urban / "audio")


def test_sound_folder(speech_folder):
    root = speech_folder(b=4000, a=12000, **{"sub/c": 8000})
    data = SoundFolder(root, seconds=0.5)
    assert data.names == ["a.wav", "b.wav", "sub/c.wav"]
    clips = data.tensors()
    assert clips.shape == (3, 8000)
    for i in range(3):
        whole, _ = load(data.files[i])
        assert torch.equal(data.whole(i), whole)
        expected = torch.zeros(8000)
        expected[: len(whole)] = whole[:8000]
        assert torch.equal(clips[i], expected)
        assert torch.equal(data[i], expected)
    assert [tuple(batch.shape) for batch in DataLoader(data, batch_size=2)] == [(2, 8000), (1, 8000)]
    assert SoundFolder(root, limit=2).names == ["a.wav", "b.wav"]


def test_folders_that_are_none(tmp_path, speech_folder):
    with pytest.raises(AudioFileError, match="not a folder"):
        SoundFolder(tmp_path / "missing")
    with pytest.raises(AudioFileError, match="no audio"):
        SoundFolder(tmp_path)
    with pytest.raises(ConfigError, match="limit=0"):
        SoundFolder(speech_folder(a=10), limit=0)


def test_ljspeech_and_wham(tmp_path, speech_folder):
    speech_folder("LJSpeech-1.1/wavs", **{"LJ001-0002": 100, "LJ001-0001": 100, "LJ002-0001": 100})
    data = SoundFolder.ljspeech(tmp_path / "LJSpeech-1.1", limit=2, seconds=0.01)
    assert data.names == ["LJ001-0001.wav", "LJ001-0002.wav"]
    with pytest.raises(AudioFileError, match=r"holds no LJSpeech: expected wavs/"):
        SoundFolder.ljspeech(tmp_path)
    speech_folder("wham_noise/tr", n1=100)
    speech_folder("wham_noise/cv", n2=100, n3=100)
    assert SoundFolder.wham(tmp_path / "wham_noise").names == ["n1.wav"]
    assert SoundFolder.wham(tmp_path / "wham_noise", part="cv").names == ["n2.wav", "n3.wav"]
    assert SoundFolder.wham(tmp_path / "wham_noise" / "cv").names == ["n2.wav", "n3.wav"]


@pytest.mark.parametrize("cached", [False, True])
def test_bad_clips_are_all_named_or_left_out(urban, tmp_path, cached):
    options = {"cache": tmp_path / "cache" if cached else None, "seconds": 0.5}
    folder = urban / "audio"
    (folder / "fold10" / URBAN_ROWS[2][0]).unlink()
    for i in (0, 4):
        (folder / f"fold{URBAN_ROWS[i][1]}" / URBAN_ROWS[i][0]).write_bytes(b"noise, but not as we know it")
    with pytest.raises(AudioFileError, match=r"1 of 7 clip\(s\).*100648-1-0-0\.wav' is missing"):
        UrbanSound8K(urban, **options)
    good = UrbanSound8K(urban, skip_bad=True, **options)
    assert len(good) == len(good.files) == len(good.classes) == len(good.names) == 4
    assert [f.name for f in good.files] == [URBAN_ROWS[i][0] for i in (1, 3, 5, 6)]
    assert good.classes == [URBAN_ROWS[i][2] for i in (1, 3, 5, 6)]
    assert [f.name for f, _ in good.bad] == [URBAN_ROWS[i][0] for i in (0, 2, 4)]
    assert "missing" in good.bad[1][1]
    assert "cannot be read as audio" in good.bad[0][1]
    for i, row in enumerate((1, 3, 5, 6)):
        assert torch.equal(
            good[i][0], good.fit(load(folder / f"fold{URBAN_ROWS[row][1]}" / URBAN_ROWS[row][0], 16000)[0])
        )
    ax.save(folder / "fold10" / URBAN_ROWS[2][0], sound(4000, 2), 8000)
    with pytest.raises(AudioFileError, match=r"2 of 7 clip\(s\).*100032-3.*101382-0"):
        UrbanSound8K(urban, **options).tensors()


def test_only_the_first_bad_clips_are_named(tmp_path):
    files = [tmp_path / f"{i}.wav" for i in range(9)]
    with pytest.raises(AudioFileError, match=r"9 of 9.*0\.wav.*4\.wav' is missing; and 4 more") as caught:
        LabelledClips(tmp_path, files, [0] * 9, ["a"])
    assert "5.wav" not in str(caught.value)
    assert len(LabelledClips(tmp_path, files, [0] * 9, ["a"], skip_bad=True)) == 0


def test_a_data_set_of_ones_own(tmp_path, speech_folder):
    root = speech_folder(a=100, b=200)
    files = [root / "b.wav", root / "a.wav"]
    data = LabelledClips(root, files, [1, 0], ["rain", "wind"], seconds=0.01)
    assert [data.labels[label] for _, label in data] == ["wind", "rain"]
    with pytest.raises(ConfigError, match=r"\[1, 2\]"):
        LabelledClips(root, files, [1, 2], ["rain", "wind"])
    with pytest.raises(ConfigError, match="as many classes"):
        LabelledClips(root, files, [1], ["rain", "wind"])
    with pytest.raises(ConfigError, match=r"not below root"):
        LabelledClips(tmp_path / "other", files, [1, 0], ["rain", "wind"])
