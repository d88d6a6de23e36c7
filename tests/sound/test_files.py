"""Reading and writing audio files, damaged ones included."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import oracles
import pytest
import soundfile
import torch

from audioxai.errors import AudioFileError, ConfigError, InputError, OutputError
from audioxai.sound import containers
from audioxai.sound.dsp import resample
from audioxai.sound.files import AUDIO_SUFFIXES, find_audio, load, save

RATE = 16_000

# Format: file name, options of soundfile.write, error of one quantisation step or of the lossy coder.
FORMATS = {
    "wav8": ("a.wav", {"subtype": "PCM_U8"}, 1 / 64),
    "wav16": ("a.wav", {"subtype": "PCM_16"}, 1 / 32768),
    "wav24": ("a.wav", {"subtype": "PCM_24"}, 1 / 2**23),
    "wav32": ("a.wav", {"subtype": "PCM_32"}, 1 / 2**24),
    "float": ("a.wav", {"subtype": "FLOAT"}, 0.0),
    "double": ("a.wav", {"subtype": "DOUBLE"}, 0.0),
    "adpcm": ("a.wav", {"subtype": "IMA_ADPCM"}, 0.6),
    "wavex": ("a.wav", {"subtype": "PCM_24", "format": "WAVEX"}, 1 / 2**23),
    "flac16": ("a.flac", {"subtype": "PCM_16"}, 1 / 32768),
    "flac24": ("a.flac", {"subtype": "PCM_24"}, 1 / 2**23),
    "vorbis": ("a.ogg", {"format": "OGG", "subtype": "VORBIS"}, 0.15),
    "opus": ("a.opus", {"format": "OGG", "subtype": "OPUS"}, 0.6),
    "mp3": ("a.mp3", {"format": "MP3"}, 0.15),
    "aiff": ("a.aiff", {"subtype": "PCM_16"}, 1 / 32768),
    "au": ("a.au", {"subtype": "PCM_16"}, 1 / 32768),
    "w64": ("a.w64", {"subtype": "PCM_16"}, 1 / 32768),
    "caf": ("a.caf", {"subtype": "PCM_16"}, 1 / 32768),
}


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    return oracles.synthetic_clip(1.0, RATE)


def written(folder: Path, kind: str, samples: np.ndarray, rate: int = RATE) -> Path:
    name, options, _ = FORMATS[kind]
    path = folder / name
    soundfile.write(path, samples, rate, **options)
    return path


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_load_every_format(tmp_path: Path, clip: np.ndarray, kind: str) -> None:
    waveform, rate = load(written(tmp_path, kind, clip))
    assert (rate, waveform.ndim, waveform.dtype) == (RATE, 1, torch.float32)
    assert len(waveform) == (RATE if kind != "adpcm" else 16_272)  # ADPCM fills its last block
    assert np.abs(waveform[:RATE].numpy() - clip).max() <= FORMATS[kind][2]
    assert np.corrcoef(waveform[:RATE].numpy(), clip)[0, 1] > 0.99


def test_load_resamples(tmp_path: Path) -> None:
    samples = oracles.synthetic_clip(0.5, 44_100)
    path = written(tmp_path, "float", samples, 44_100)
    waveform, rate = load(path, 16_000)
    assert (rate, waveform.shape) == (16_000, (8000,))
    assert torch.equal(waveform, resample(torch.from_numpy(samples), 44_100, 16_000))
    same, rate = load(str(path), sample_rate=44_100)
    assert rate == 44_100
    assert torch.equal(same, torch.from_numpy(samples))
    pair, _ = load(written(tmp_path, "float", np.stack([samples, -samples], 1), 44_100), 16_000, channel="all")
    assert pair.shape == (2, 8000)
    torch.testing.assert_close(pair[1], -waveform)


def test_bad_rate_is_a_typed_error(tmp_path: Path, clip: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="16000 and -1"):
        load(written(tmp_path, "wav16", clip), -1)


def test_channel_policies(tmp_path: Path, clip: np.ndarray) -> None:
    left, middle, right = clip, 0.5 * clip[::-1], np.zeros_like(clip)
    path = written(tmp_path, "float", np.stack([left, middle, right], axis=1))
    everything, _ = load(path, channel="all")
    assert torch.equal(everything, torch.from_numpy(np.stack([left, middle, right])))
    torch.testing.assert_close(load(path)[0], everything.mean(0))
    assert torch.equal(load(path, channel=1)[0], everything[1])
    assert torch.equal(load(path, channel=-1)[0], everything[2])
    assert torch.equal(load(written(tmp_path, "float", clip), channel="all")[0], torch.from_numpy(clip)[None])


@pytest.mark.parametrize("channel", [1, 7, -2])
def test_no_such_channel(tmp_path: Path, clip: np.ndarray, channel: int) -> None:
    with pytest.raises(InputError, match=rf"a.wav' has 1 channel\(s\), so there is no channel {channel}"):
        load(written(tmp_path, "wav16", clip), channel=channel)


@pytest.mark.parametrize("channel", ["left", 0.5])
def test_unknown_channel_policy(tmp_path: Path, clip: np.ndarray, channel: object) -> None:
    with pytest.raises(ConfigError, match=f"channel={channel!r}"):
        load(written(tmp_path, "wav16", clip), channel=channel)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(AudioFileError, match="is not a file") as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, OSError)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ogg"])
def test_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(AudioFileError, match=rf"{name}' is empty \(0 bytes\)"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_text_in_an_audio_files_clothes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("404 Not Found\n" * 50)
    with pytest.raises(AudioFileError, match=f"{name}' cannot be read as audio"):
        load(tmp_path / name)


@pytest.mark.parametrize("kind", ["wav16", "float", "aiff", "au"])
def test_no_samples(tmp_path: Path, kind: str) -> None:
    with pytest.raises(AudioFileError, match="holds no samples"):
        load(written(tmp_path, kind, np.zeros(0, dtype=np.float32)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["float", "double"])
def test_samples_that_are_no_numbers(tmp_path: Path, clip: np.ndarray, kind: str, bad: float) -> None:
    broken = clip.copy()
    broken[777] = bad
    with pytest.raises(AudioFileError, match="NaN or infinite"):
        load(written(tmp_path, kind, broken))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_a_file_cut_short_is_an_error(tmp_path: Path, clip: np.ndarray, kind: str, share: float) -> None:
    path = cut(written(tmp_path, kind, clip), share)
    with pytest.raises(AudioFileError, match=r"truncated|cannot be read as audio") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_stereo_wav_cut_within_its_last_frame_is_an_error(tmp_path: Path, clip: np.ndarray) -> None:
    path = written(tmp_path, "wav16", np.stack([clip, clip], axis=1))
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(AudioFileError, match="announces 64044 bytes, it has 64042"):
        load(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x7F000000, 0x80000000])
def test_a_wav_from_a_pipe_does_not_know_its_length(tmp_path: Path, clip: np.ndarray, size: int) -> None:
    path = written(tmp_path, "wav16", clip)
    data = path.read_bytes()
    assert data[36:40] == b"data"
    path.write_bytes(data[:40] + size.to_bytes(4, "little") + data[44:])
    assert load(path)[0].shape == (RATE,)


def test_chunks_around_the_samples_of_a_wav(tmp_path: Path, clip: np.ndarray) -> None:
    path = written(tmp_path, "wav16", clip)
    data = path.read_bytes()
    odd = b"junk" + (3).to_bytes(4, "little") + b"abc\0"  # padded to an even length
    path.write_bytes(data[:36] + odd + data[36:] + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    assert load(path)[0].shape == (RATE,)
    path.write_bytes(data[:36] + odd + data[36:-100])
    with pytest.raises(AudioFileError, match="truncated"):
        load(path)


def test_a_tag_after_an_ogg_stream_is_no_damage(tmp_path: Path, clip: np.ndarray) -> None:
    path = written(tmp_path, "vorbis", clip)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    assert load(path)[0].shape == (RATE,)


# --- MP3 without a length in its first frame -----------------------------------------------------------------------


def frame_length(head: bytes, rate: int) -> int:
    """Bytes of an MPEG layer III frame."""
    mpeg1 = head[1] & 0x18 == 0x18
    kbits = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320]
    if not mpeg1:
        kbits = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    return (144 if mpeg1 else 72) * kbits[head[2] >> 4] * 1000 // rate + (head[2] >> 1 & 1)


@pytest.mark.parametrize("block", [500, 4096, 9000])
@pytest.mark.parametrize("kind", ["mp3", "vorbis", "flac16", "wav16"])
def test_a_file_in_blocks_is_the_file_in_one_piece(tmp_path: Path, monkeypatch, kind: str, block: int) -> None:
    samples = np.repeat([0.0, 0.0, 0.3], RATE) * np.random.default_rng(0).uniform(-1, 1, 3 * RATE)
    name, options, _ = FORMATS[kind]
    if kind == "mp3":  # frames that borrow from those before them
        options = {**options, "subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    with soundfile.SoundFile(tmp_path / name, "w", RATE, 1, **options) as file:
        file.write(samples)
    whole = soundfile.read(tmp_path / name, dtype="float32")[0]
    monkeypatch.setattr(containers, "_BLOCK", block)
    assert np.abs(load(tmp_path / name)[0].numpy() - whole).max() <= 1e-6


@pytest.mark.parametrize("tag", [b"", b"ID3\x03\0\0\0\0\x10\0" + bytes(2048)], ids=["bare", "id3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_without_a_length_is_read_to_its_end(
    tmp_path: Path, rate: int, mode: str, channels: int, tag: bytes
) -> None:
    # Quiet first, loud later: a length guessed from the first frames' bit rate is far too short.
    loudness = np.repeat([1e-3, 0.0, 0.5], rate)
    samples = (loudness * np.random.default_rng(0).uniform(-1, 1, 3 * rate)).astype(np.float32)
    path = tmp_path / "a.mp3"
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": mode, "compression_level": 0.5}
    with soundfile.SoundFile(path, "w", rate, channels, **options) as file:
        file.write(np.stack([samples] * channels, axis=1))
    whole = load(path)[0]
    assert whole.shape == (3 * rate,)
    data = path.read_bytes()
    assert b"Xing" in data[:60] or b"Info" in data[:60]
    path.write_bytes(tag + data[frame_length(data[:4], rate) :])
    bare, bare_rate = load(path)
    assert bare_rate == rate
    padding = 3 * 1152  # the encoder's delay and its last frame, which only the dropped header tells
    assert 3 * rate - padding < len(bare) < 3 * rate + padding
    energy = bare.square().sum() / whole.square().sum()
    assert 10 * math.log10(float(energy)) == pytest.approx(0.0, abs=0.1)


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.wav", "b.flac", "C.WAV"])
@pytest.mark.parametrize("shape", [(500,), (1, 500), (3, 500)])
def test_save_and_load(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    waveform = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    save(tmp_path / "new" / "folder" / name, waveform.requires_grad_(), 22_050)
    back, rate = load(tmp_path / "new" / "folder" / name, channel="all")
    assert rate == 22_050
    assert soundfile.info(tmp_path / "new" / "folder" / name).subtype == "PCM_16"
    assert (back - waveform.detach().reshape(-1, 500)).abs().max() <= 1 / 32768
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [name]


def test_a_loud_wav_is_not_clipped(tmp_path: Path) -> None:
    waveform = torch.tensor([0.0, 1.5, -2.5, 0.3])
    save(tmp_path / "a.wav", waveform, RATE)
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
    assert torch.equal(load(tmp_path / "a.wav")[0], waveform)
    with pytest.raises(InputError, match=r"2\.500.*wav"):
        save(tmp_path / "a.flac", waveform, RATE)
    assert not (tmp_path / "a.flac").exists()


@pytest.mark.parametrize(
    ("name", "waveform", "rate", "error", "fault"),
    [
        ("a.wav", torch.tensor([0.0, torch.nan]), RATE, InputError, "NaN or infinite"),
        ("a.wav", torch.tensor([0.0, torch.inf]), RATE, InputError, "NaN or infinite"),
        *((name, torch.zeros(10), RATE, ConfigError, f"{name}': choose a name ending in .wav or .flac")
          for name in ("a.mp3", "a.ogg", "a", "a.wav.txt")),
        ("a.wav", torch.zeros(()), RATE, InputError, r"\(\)"),
        ("a.wav", torch.zeros(2, 1, 10), RATE, InputError, r"\(2, 1, 10\)"),
        ("a.wav", torch.zeros(5000, 2), RATE, InputError, r"\(5000, 2\) at 16000 Hz"),
        ("a.wav", torch.zeros(10), 0, InputError, r"\(10,.* at 0 Hz"),
    ],
)  # fmt: skip
def test_save_refuses(tmp_path: Path, name: str, waveform: torch.Tensor, rate: int, error: type, fault: str) -> None:
    with pytest.raises(error, match=fault):
        save(tmp_path / name, waveform, rate)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_write_that_the_system_cuts_off_leaves_the_old_file(tmp_path: Path, name: str) -> None:
    resource = pytest.importorskip("resource")
    save(tmp_path / name, torch.full((100,), 0.25), RATE)
    noise = torch.rand(2**20, generator=torch.Generator().manual_seed(0))  # 2 MiB of 16 bits
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, limits[1]))
    try:
        with pytest.raises(OutputError, match=f"{name}': File too large"):
            save(tmp_path / name, noise, RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert torch.equal(load(tmp_path / name)[0], torch.full((100,), 0.25))


def test_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match=r"taken/a\.wav"):
        save(tmp_path / "taken" / "a.wav", torch.zeros(10), RATE)
    assert (tmp_path / "taken").read_text() == "x"


# --- finding ------------------------------------------------------------------------------------------------------


def test_find_audio(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.OGG", "b/deep/3.flac", "b/notes.txt", "a.mp3", "b/folder.wav/4.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    inside = [tmp_path / "b" / name for name in ("1.OGG", "2.wav", "deep/3.flac", "folder.wav/4.wav")]
    assert find_audio([tmp_path / "a.mp3", str(tmp_path / "b")]) == [tmp_path / "a.mp3", *inside]
    assert find_audio([tmp_path / "b" / "notes.txt"]) == [tmp_path / "b" / "notes.txt"]  # as given; load judges it
    assert find_audio([]) == []


def test_find_audio_in_vain(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(AudioFileError, match=r"no audio file below .*\.wav, \.flac"):
        find_audio([tmp_path])


def test_a_missing_path_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    paths = [tmp_path / "none.wav", tmp_path / "a.wav"]
    assert find_audio(paths) == paths  # load names the missing one


def test_every_suffix_is_one_that_can_be_read(tmp_path: Path) -> None:
    tested = {Path(name).suffix for name, _, _ in FORMATS.values()}
    assert tested <= set(AUDIO_SUFFIXES)
    assert set(AUDIO_SUFFIXES) - tested == {".oga", ".aif"}  # other names of .ogg and .aiff


# --- real clips ---------------------------------------------------------------------------------------------------


def test_real_clips(data_root: Path) -> None:
    with (data_root / "esc10" / "meta" / "esc50.csv").open() as table:
        names = [row["filename"] for row in csv.DictReader(table)]
    for name in names[::80]:
        path = data_root / "esc10" / "audio" / name
        waveform, rate = load(path)
        assert (rate, len(waveform)) == (44_100, soundfile.info(path).frames)
        assert 3.0 < len(waveform) / rate < 8.0  # most last 5 s
        assert 1e-4 < float(waveform.abs().max()) < 1.5
        small, rate = load(path, 16_000)
        assert (rate, len(small)) == (16_000, math.ceil(len(waveform) * 16_000 / 44_100))
        torch.testing.assert_close(small, resample(waveform, 44_100, 16_000))
