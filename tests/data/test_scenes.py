"""The scene generator: exact parts, nothing but the seed decides, and events that can be told and pulled apart."""

from __future__ import annotations

import itertools
import math
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader

import audioxai.data
from audioxai.data import EVENTS, Scene, SceneDataset, make_event, make_scene
from audioxai.errors import ConfigError
from audioxai.sound.dsp import STFT, stft

CFG = STFT(1024, 372, 186)


def event(name: str, seed: int, seconds: float = 2.0, sample_rate: int = 16000) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return make_event(name, seconds=seconds, sample_rate=sample_rate, generator=generator)


def db(waveform: Tensor) -> float:
    return 10 * math.log10(float(waveform.double().square().sum()))


def peak_hz(waveform: Tensor, sample_rate: int) -> float:
    spectrum = torch.fft.rfft(waveform, 1 << 17).abs()
    return float(spectrum.argmax()) * sample_rate / (1 << 17)


def loud_frames(waveform: Tensor, frame: int = 320) -> Tensor:
    """Which 20 ms frames are within 20 dB of the loudest."""
    energy = waveform[: len(waveform) // frame * frame].reshape(-1, frame).square().mean(1)
    return energy > energy.max() / 100


def same(a: Scene, b: Scene) -> bool:
    pairs = ((a.waveform, b.waveform), (a.stems, b.stems), (a.background, b.background))
    return a.classes == b.classes and all(torch.equal(x, y) for x, y in pairs)


def test_public_names() -> None:
    assert set(audioxai.data.__all__) >= {"EVENTS", "Scene", "SceneDataset", "make_event", "make_scene"}
    assert len(set(EVENTS)) == len(EVENTS) == 10


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    classes=st.lists(st.sampled_from(range(10)), min_size=1, max_size=4, unique=True),
    seconds=st.floats(0.25, 1.2),
    sample_rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 8001]),
    snr=st.floats(-10, 60),
    seed=st.integers(0, 2**40),
)
def test_parts_at_any_size(classes: list[int], seconds: float, sample_rate: int, snr: float, seed: int) -> None:
    scene = make_scene(classes, seconds=seconds, sample_rate=sample_rate, snr=snr, seed=seed)
    samples = round(seconds * sample_rate)
    assert scene.stems.shape == (len(classes), samples)
    assert scene.waveform.shape == scene.background.shape == (samples,)
    for part in (scene.waveform, scene.stems, scene.background):
        assert part.dtype == torch.float32
        assert part.isfinite().all()
    assert torch.equal(scene.waveform, scene.stems.sum(0) + scene.background)
    assert 0.2 < float(scene.waveform.abs().max()) <= 1.0
    assert (scene.classes, scene.names) == (tuple(classes), tuple(EVENTS[c] for c in classes))
    assert scene.sample_rate == sample_rate
    levels = [db(stem) for stem in scene.stems]
    assert max(levels) - min(levels) <= 3.01
    mean = 10 * math.log10(sum(10 ** (level / 10) for level in levels) / len(levels))
    assert mean - db(scene.background) == pytest.approx(snr, abs=0.01)


def test_mixture_levels_vary() -> None:
    gaps = [
        db(s.stems[0]) - db(s.stems[1]) for s in (make_scene(["hum", "bell"], seconds=0.5, seed=i) for i in range(30))
    ]
    assert min(gaps) < -1 < 1 < max(gaps)


def test_no_background() -> None:
    scene = make_scene(["bell"], snr=math.inf, seed=0)
    assert not scene.background.any()
    assert torch.equal(scene.waveform, scene.stems[0])


@pytest.mark.parametrize("name", EVENTS)
def test_event_varies_in_onset_level_and_pitch(name: str) -> None:
    events = [event(name, seed) for seed in range(12)]
    onsets = torch.tensor([float(e.abs().gt(0.01).float().argmax()) / 16000 for e in events])
    peaks = torch.stack([e.abs().max() for e in events])
    power = torch.stack([stft(e, CFG).abs().square().mean(1) for e in events])
    centroids = (power * torch.arange(513)).sum(1) / power.sum(1)
    assert onsets.std() > 0.05
    assert onsets.max() < 0.7
    assert peaks.max() / peaks.min() > 1.5
    assert peaks.max() <= 1
    assert centroids.std() / centroids.mean() > 0.01
    assert len({tuple(e[:16000].tolist()) for e in events}) == len(events)


@pytest.mark.parametrize("name", ["siren", "beeps", "hum", "hiss", "bell", "engine"])
def test_sustained_events_fill_a_quarter_of_the_clip(name: str) -> None:
    assert min(float(loud_frames(event(name, seed)).float().mean()) for seed in range(20)) >= 0.25


@pytest.mark.parametrize("name", ["beeps", "bark", "knocks", "chirps", "hiss", "ticks"])
def test_short_events_repeat(name: str) -> None:
    for seed in range(20):
        loud = loud_frames(event(name, seed)).int()
        starts = int((loud[1:] > loud[:-1]).sum()) + int(loud[0])
        assert starts >= 2, seed


@pytest.mark.parametrize("name", ["beeps", "hum", "bell"])
def test_pitch_does_not_depend_on_the_rate(name: str) -> None:
    pitches = [peak_hz(event(name, 3, sample_rate=rate), rate) for rate in (8000, 16000, 44100)]
    assert max(pitches) - min(pitches) < 0.01 * pitches[0]


def test_partials_above_half_the_rate_do_not_fold_back() -> None:
    for seed in range(12):
        power = torch.fft.rfft(event("bell", seed, sample_rate=8000)).abs().square()
        assert power[7300:].sum() < 1e-3 * power.sum(), seed  # bins of 0.5 Hz: above 3650 Hz


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_classes_are_told_apart_by_their_mean_spectra(sample_rate: int) -> None:
    def features(name: str, seed: int) -> Tensor:
        waveform = make_scene([name], seed=seed, sample_rate=sample_rate).waveform
        spectrum = stft(waveform, STFT(512, 512, 256)).abs().square().mean(1)
        bands = torch.stack(
            [part.mean() for part in spectrum[1:].tensor_split([2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140, 190])]
        )
        return (bands / bands.sum() + 1e-3).log()

    centres = torch.stack([torch.stack([features(n, s) for s in range(8)]).mean(0) for n in EVENTS])
    tests = [(features(n, s), k) for k, n in enumerate(EVENTS) for s in range(1000, 1010)]
    right = [int(torch.cdist(x[None], centres).argmin()) == k for x, k in tests]
    assert np.mean(right) >= 0.9


def test_an_ideal_mask_separates_two_events() -> None:
    gains = []
    for number, (a, b) in enumerate(itertools.combinations(range(10), 2)):
        power = stft(make_scene([a, b], seed=number).stems, CFG).abs().square()
        for target, other in (power, power.flip(0)):
            mask = target / (target + other + 1e-12)
            after = (mask.square() * target).sum() / (mask.square() * other).sum()
            gains.append(float(10 * torch.log10(after / (target.sum() / other.sum()))))
    assert np.median(gains) >= 18
    assert np.quantile(gains, 0.05) >= 8


def test_same_seed_same_scene_whatever_the_global_state() -> None:
    first = make_scene(["bark", "hiss"], seconds=0.5, seed=4)
    torch.manual_seed(99)
    random.seed(99)
    assert same(first, make_scene(["bark", "hiss"], seconds=0.5, seed=4))
    assert not same(first, make_scene(["bark", "hiss"], seconds=0.5, seed=5))
    assert not torch.equal(first.stems[0], make_scene(["bark", "hiss"], seconds=0.5, seed=5).stems[0])


def test_threads_leave_no_trace_in_long_clips() -> None:
    scenes = []
    for count in (2, 1):  # the last is what all tests take
        torch.set_num_threads(count)
        scenes.append(make_scene(["siren", "bark"], seconds=1.0, sample_rate=44100, seed=1))
    assert same(*scenes)


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    make_scene(EVENTS, seconds=0.25, seed=0)
    list(SceneDataset(3, events=2, seconds=0.25))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


def test_an_event_draws_from_the_generator_it_is_given() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (make_event("bell", seconds=0.5, sample_rate=16000, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, event("bell", 0, seconds=0.5))


def test_items_depend_on_seed_and_index_only() -> None:
    short, long = SceneDataset(5, seconds=0.25, seed=3), SceneDataset(50, seconds=0.25, seed=3)
    forwards = [short.scene(i) for i in range(5)]
    assert all(same(long.scene(i), forwards[i]) for i in (4, 0, 3, 1, 2, 2))
    assert same(short.scene(-1), forwards[4])
    copy = pickle.loads(pickle.dumps(long))
    waveform, label = copy[1]
    assert torch.equal(waveform, forwards[1].waveform)
    assert label == forwards[1].classes[0]


def test_items_and_seeds_share_no_scene() -> None:
    items = [item for seed in (0, 1, 2, -1, 2**31) for item in SceneDataset(30, seconds=0.25, seed=seed)]
    assert len({tuple(waveform.tolist()) for waveform, _ in items}) == len(items) == 150


def test_every_class_comes_up() -> None:
    counts = np.bincount([label for _, label in SceneDataset(400, seconds=0.25, sample_rate=8000)], minlength=10)
    assert len(counts) == 10
    assert counts.min() >= 20


def test_snr_of_items_spans_the_range() -> None:
    scenes = [SceneDataset(40, seconds=0.25, snr=(5.0, 8.0)).scene(i) for i in range(40)]
    ratios = [db(s.stems[0]) - db(s.background) for s in scenes]
    assert 4.99 <= min(ratios) < 5.6
    assert 7.4 < max(ratios) <= 8.01


def test_loader_batches() -> None:
    waveforms, labels = next(iter(DataLoader(SceneDataset(4, seconds=0.5), batch_size=4)))
    assert (waveforms.shape, labels.shape) == ((4, 8000), (4,))
    assert labels.dtype == torch.int64
    mixtures = SceneDataset(4, events=3, seconds=0.5)
    waveforms, present = next(iter(DataLoader(mixtures, batch_size=4)))
    assert (waveforms.shape, present.shape) == ((4, 8000), (4, 10))
    assert present.dtype == torch.bool
    assert present.sum(1).tolist() == [3] * 4
    assert set(present[2].nonzero().flatten().tolist()) == set(mixtures.scene(2).classes)


def test_the_set_ends() -> None:
    data = SceneDataset(2, seconds=0.25)
    assert len(data) == len(list(data)) == 2
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"scene {index} .* of 2"):
            data[index]


@pytest.mark.parametrize(
    ("events", "options", "message"),
    [
        (["barc"], {}, "'barc' is not known; the nearest names are 'bark'"),
        ([], {}, "is empty; name at least one of 'siren'"),
        ("siren", {}, r"one name, not a list of names; pass \['siren'\]"),
        ([10], {}, "event 10 .* use 0 to 9"),
        ([-1], {}, "event -1 .* use 0 to 9"),
        ([1.5], {}, "event=1.5 is not a whole number"),
        (["hum", 5], {}, r"\['hum', 5\] names a class more than once"),
        (["hum"], {"seconds": 0}, "seconds=0 .* at least 0.25"),
        (["hum"], {"seconds": -1.0}, "seconds=-1.0 "),
        (["hum"], {"seconds": math.nan}, "seconds=nan "),
        (["hum"], {"seconds": math.inf}, "seconds=inf "),
        (["hum"], {"sample_rate": 4000}, "sample_rate=4000 .* at least 8000"),
        (["hum"], {"sample_rate": 16000.0}, "sample_rate=16000.0 is not a whole number"),
        (["hum"], {"snr": math.nan}, "snr=nan "),
        (["hum"], {"snr": -math.inf}, "snr=-inf "),
        (["hum"], {"seed": 0.5}, "seed=0.5 is not a whole number"),
    ],
)
def test_scene_errors(events: list[str | int], options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_scene(events, **({"seed": 0} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "length=-1 is negative"),
        ({"length": 2.0}, "length=2.0 is not a whole number"),
        ({"events": 0}, "events=0 .* 1 to 10"),
        ({"events": 11}, "events=11 .* 1 to 10"),
        ({"seconds": 0.0}, "seconds=0.0 "),
        ({"sample_rate": 0}, "sample_rate=0 "),
        ({"snr": (30.0, 10.0)}, r"snr=\(30.0, 10.0\) .* lower first"),
        ({"snr": 20.0}, "snr=20.0 must be two numbers"),
        ({"snr": (0.0, math.nan)}, r"snr=\(0.0, nan\)"),
    ],
)
def test_dataset_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SceneDataset(**({"length": 1} | options))  # type: ignore[arg-type]


def test_event_errors() -> None:
    with pytest.raises(ConfigError, match="'sirene' is not known; the nearest names are 'siren'"):
        event("sirene", 0)
