"""Long recordings from disk to disk: the same as in one piece, and never more than a window in memory."""

import random

import networks
import numpy as np
import pytest
import soundfile
import torch

import audioxai as ax
from audioxai.bulk import streaming
from audioxai.bulk.mask_files import read_mask
from audioxai.bulk.streaming import explain_long
from audioxai.errors import AudioFileError, ConfigError, NotFittedError
from audioxai.sound.dsp import resample

RATE = networks.RATE


@pytest.fixture(scope="module")
def explainer():
    torch.set_num_threads(1)
    return ax.LMACTD(networks.log_mel_cnn(), channels=8).fit([networks.clips(2, 4000)], epochs=1, progress=False)


@pytest.fixture(scope="module")
def keeper():
    """Keeps everything, so that what comes out must be what went in."""
    return ax.AllOnes(networks.log_mel_cnn(), scale="magnitude")


def recording(path, seconds, rate=RATE, channels=1, seed=0):
    samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels)).astype(np.float32)
    soundfile.write(path, samples, rate, "FLOAT")
    return torch.from_numpy(samples.mean(1))


def read(path):
    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return torch.from_numpy(samples)


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.49, 1.51, 2.0, 7.77])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_windows_cover_the_recording_once(tmp_path, keeper, seconds, overlap):
    clip = recording(tmp_path / "in.wav", seconds)
    found = explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=overlap)
    torch.testing.assert_close(read(found.waveform), clip, rtol=0, atol=1e-4)
    assert read(found.removed).abs().max() < 1e-4
    assert found.windows[0].start == 0
    assert found.windows[-1].end == pytest.approx(seconds, abs=1e-3)
    for one, after in zip(found.windows, found.windows[1:], strict=False):
        assert one.end - after.start == pytest.approx(overlap, abs=0.01)
    lengths = [one.end - one.start for one in found.windows]
    assert all(length == pytest.approx(1.0) for length in lengths[:-1])
    assert lengths[-1] <= 1.5 + 1e-6
    assert len(lengths) == 1 or lengths[-1] >= 0.5 - 1e-6


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
def test_any_rate_and_channels_as_if_resampled_whole(tmp_path, keeper, rate):
    clip = recording(tmp_path / "in.wav", 3.21, rate, channels=2)
    found = explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=0.25)
    expected = resample(clip, rate, RATE)
    torch.testing.assert_close(read(found.waveform), expected, rtol=0, atol=1e-4)


def test_kept_and_removed_add_up(tmp_path, explainer):
    clip = recording(tmp_path / "in.wav", 5.3)
    found = explain_long(explainer, tmp_path / "in.wav", tmp_path / "out", 2, seconds=1.0, overlap=0.3)
    kept, removed = read(found.waveform), read(found.removed)
    torch.testing.assert_close(kept + removed, clip, rtol=0, atol=1e-5)
    inside = explainer.explain(clip[:RATE], 2)
    torch.testing.assert_close(kept[: 5 * RATE // 8], inside.waveform[0, : 5 * RATE // 8], rtol=0, atol=1e-5)
    assert {one.target for one in found.windows} == {networks.LABELS[2]}
    p = tuple(float(probs[0, 2]) for probs in inside.scores)
    assert found.windows[0].scores == pytest.approx(p, abs=1e-5)


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("overlap", [0.0, 0.05, 0.111, 0.5])
@pytest.mark.parametrize("seconds", [0.3, 1.6, 3.21])
def test_one_mask_of_all_windows(tmp_path, space, overlap, seconds):
    """Each frame from the windows that cover it, the nearest frame of each, weighted as the sounds are."""
    clip, method = recording(tmp_path / "in.wav", seconds), ax.EnergyMask(networks.log_mel_cnn(), space=space)
    found = explain_long(method, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=overlap)
    mask = read_mask(found.mask)
    assert mask.shape == method.space.analyse(clip[None]).values.shape[1:]
    hop = 1 if space == "waveform" else method.space.stft.hop
    spans = [(round(w.start * RATE), round(w.end * RATE)) for w in found.windows]
    parts = [method.explain(clip[start:end]).mask[0] for start, end in spans]
    for n in random.Random(0).sample(range(mask.shape[-1]), 10):
        place, value, weight = n * hop, 0.0, 0.0
        for i, ((start, end), part) in enumerate(zip(spans, parts, strict=True)):
            rise = spans[i - 1][1] - start if i else 0
            fall = end - spans[i + 1][0] if i + 1 < len(spans) else 0
            last = i + 1 == len(spans)
            if place < start or (place >= end and not last):
                continue
            w = min(1.0, (place - start + 0.5) / rise) if rise else 1.0
            w = min(w, 1 - (place - (end - fall) + 0.5) / fall) if fall and place >= end - fall else w
            value = value + w * part[..., min((place - start + hop // 2) // hop, part.shape[-1] - 1)]
            weight += w
        assert weight == pytest.approx(1)
        torch.testing.assert_close(mask[..., n], value, rtol=0, atol=1e-3)


def test_the_cross_fade_by_the_book(tmp_path, explainer):
    clip = recording(tmp_path / "in.wav", 1.75)
    found = explain_long(explainer, tmp_path / "in.wav", tmp_path / "out", 1, seconds=1.0, overlap=0.25)
    first, second = explainer.explain(clip[:8000], 1).waveform[0], explainer.explain(clip[6000:], 1).waveform[0]
    expected = first.tolist()[:6000]
    for i in range(2000):
        weight = (i + 0.5) / 2000
        expected.append((1 - weight) * float(first[6000 + i]) + weight * float(second[i]))
    expected += second.tolist()[2000:]
    torch.testing.assert_close(read(found.waveform), torch.tensor(expected), rtol=0, atol=1e-5)


def test_each_window_explains_its_own_prediction(tmp_path, explainer):
    recording(tmp_path / "in.wav", 3)
    clip = read(tmp_path / "in.wav")
    found = explain_long(explainer, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=0.0)
    for one in found.windows:
        part = clip[round(one.start * RATE) : round(one.end * RATE)]
        assert one.target == explainer.explain(part).target_names[0]
    odd = explain_long(
        explainer,
        tmp_path / "in.wav",
        tmp_path / "out",
        lambda logits: logits[:, 0] - logits[:, 1],
        seconds=1.0,
        overlap=0.0,
    )
    assert all(one.scores is None for one in odd.windows)


def test_memory_does_not_grow_with_the_recording(tmp_path, keeper, monkeypatch):
    held = []

    class Watched(streaming._Source):
        def read(self, start, end):
            samples = super().read(start, end)
            held.append(len(self.held))
            return samples

    class Fader(streaming._Fader):
        def add(self, sounds, fade):
            joined = super().add(sounds, fade)
            held.append(joined.shape[1] + self.tail.shape[1])
            return joined

    monkeypatch.setattr(streaming, "_Source", Watched)
    monkeypatch.setattr(streaming, "_Fader", Fader)
    for seconds in (5, 40):
        recording(tmp_path / "in.wav", seconds)
        held.clear()
        explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=0.2)
        assert max(held) <= 1.5 * RATE
        assert len(held) > 2 * seconds


@pytest.mark.parametrize("options", [{"seconds": 0}, {"overlap": -1}, {"seconds": 1, "overlap": 0.6}])
def test_windows_that_make_no_sense(tmp_path, keeper, options):
    recording(tmp_path / "in.wav", 1)
    with pytest.raises(ConfigError, match="0 <= overlap <= seconds / 2"):
        explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", **options)


def test_files_that_cannot_be_read(tmp_path, keeper):
    (tmp_path / "text.wav").write_text("not audio")
    recording(tmp_path / "whole.wav", 3)
    data = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "nan.wav").write_bytes(data[:-4000] + np.full(1000, np.nan, np.float32).tobytes())
    for name, kind, problem in (
        ("missing.wav", AudioFileError, "not a file"),
        ("text.wav", AudioFileError, "cannot be read as audio"),
        ("nan.wav", ax.InputError, "NaN"),
    ):
        with pytest.raises(kind, match=problem):
            explain_long(keeper, tmp_path / name, tmp_path / "out", seconds=1.0, overlap=0.1)
    assert not list((tmp_path / "out").glob("*"))  # nothing half-written


def test_a_file_that_ends_early_and_one_without_a_length(tmp_path, keeper, monkeypatch):
    recording(tmp_path / "in.wav", 3)

    class Short(soundfile.SoundFile):
        def read(self, frames=-1, *args, **options):
            return super().read(min(frames, 9000), *args, **options)

    monkeypatch.setattr(soundfile, "SoundFile", Short)
    with pytest.raises(AudioFileError, match="is truncated: its header announces 24000"):
        explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", seconds=2.0, overlap=0.1)

    monkeypatch.undo()

    class Endless(soundfile.SoundFile):
        @property
        def frames(self):
            return 2**63 - 1 if self.mode == "r" else super().frames

    whole = explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=0.1)
    monkeypatch.setattr(soundfile, "SoundFile", Endless)
    found = explain_long(keeper, tmp_path / "in.wav", tmp_path / "counted", seconds=1.0, overlap=0.1)
    assert found.windows == whole.windows
    monkeypatch.undo()
    assert torch.equal(read(found.waveform), read(whole.waveform))


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.aiff", "a.w64", "a.caf", "a.au", "a.flac"])
def test_what_load_refuses_is_refused_here_too(tmp_path, keeper, name):
    path = tmp_path / name
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(5 * RATE), RATE)
    assert explain_long(keeper, path, tmp_path / "out", seconds=2.0).windows[-1].end == pytest.approx(5.0, abs=0.01)
    path.write_bytes(path.read_bytes()[: int(0.8 * path.stat().st_size)])
    with pytest.raises(AudioFileError):
        ax.load(path)
    with pytest.raises(AudioFileError):
        explain_long(keeper, path, tmp_path / "again", seconds=2.0)
    assert not list((tmp_path / "again").glob("*"))


@pytest.mark.parametrize("first", ["loud", "quiet"])
def test_an_mp3_of_variable_rate_without_a_length_is_explained_to_its_end(tmp_path, keeper, first):
    """Its length is guessed from the first frames by libsndfile: far too short, or far too long."""
    levels = [0.0, 0.0, 0.3] if first == "quiet" else [0.3, 0.0, 0.0]
    samples = np.repeat(levels, 2 * RATE) * np.random.default_rng(0).uniform(-1, 1, 6 * RATE)
    options = {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.5}
    with soundfile.SoundFile(tmp_path / "a.mp3", "w", RATE, 1, format="MP3", **options) as file:
        file.write(samples)
    data = (tmp_path / "a.mp3").read_bytes()
    start = data.index(data[:2], 4)  # the frame after the one with the length
    assert b"Xing" in data[:start]
    (tmp_path / "a.mp3").write_bytes(data[start:])
    whole = ax.load(tmp_path / "a.mp3")[0]
    assert len(whole) == pytest.approx(6 * RATE, abs=4000)
    found = explain_long(keeper, tmp_path / "a.mp3", tmp_path / "out", seconds=1.0, overlap=0.1)
    torch.testing.assert_close(read(found.waveform), whole, rtol=0, atol=1e-4)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, keeper, monkeypatch):
    recording(tmp_path / "in.wav", 2)

    def full(self, _data):
        assert self.mode == "r", "disk full"

    monkeypatch.setattr(soundfile.SoundFile, "write", full)
    with pytest.raises(ax.OutputError, match="disk full"):
        explain_long(keeper, tmp_path / "in.wav", tmp_path / "out", seconds=1.0, overlap=0.2)
    assert not list((tmp_path / "out").glob("*"))


def test_before_fit(tmp_path):
    recording(tmp_path / "in.wav", 1)
    with pytest.raises(NotFittedError):
        explain_long(ax.LMACTD(networks.log_mel_cnn()), tmp_path / "in.wav", tmp_path / "out")
