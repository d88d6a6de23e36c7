"""The mixing formula against plain Python, and draws that depend on names alone."""

import hashlib
import math

import numpy as np
import pytest
import torch
from data.recordings import sound
from hypothesis import given, settings
from hypothesis import strategies as st

from audioxai.data import CONDITIONS, Condition, contaminate, mixing_gains, white_noise
from audioxai.data.contamination import draw, find_condition
from audioxai.errors import ConfigError, InputError

FLOOR = 1e-8


def naive(clip, noise, ratio):
    """s/||s|| + ratio * n/||n||, divided by the absolute peak; number by number."""
    norms = [max(math.sqrt(math.fsum(x * x for x in w)), FLOOR) for w in (clip, noise)]
    mixed = [s / norms[0] + ratio * n / norms[1] for s, n in zip(clip, noise, strict=True)]
    peak = max(FLOOR, *(abs(m) for m in mixed))
    return [m / peak for m in mixed]


@pytest.mark.parametrize(("name", "ratio"), [("mixtures", 0.25), ("speech", 0.25), ("white-noise", 0.5), ("noise", 1)])
def test_the_published_levels(name, ratio):
    clip, noise = sound(400, 1, 0.7), sound(400, 2, 0.01)
    got = contaminate(clip, noise, CONDITIONS[name].snr_db)
    expected = naive(clip.tolist(), noise.tolist(), ratio)
    assert got.dtype == torch.float32
    assert got.tolist() == pytest.approx(expected, abs=1e-7)
    assert CONDITIONS[name].name == name


def test_levels_in_db():
    assert CONDITIONS["mixtures"].snr_db == pytest.approx(12.0412, abs=1e-4)
    assert CONDITIONS["speech"].snr_db == CONDITIONS["mixtures"].snr_db
    assert CONDITIONS["white-noise"].snr_db == pytest.approx(6.0206, abs=1e-4)
    assert CONDITIONS["noise"].snr_db == 0
    assert CONDITIONS["id"] == Condition("id", None, None, peak=None)


sounds = st.integers(0, 2**32).map(lambda seed: sound(64, seed, 10.0 ** (seed % 9 - 6)))


@settings(deadline=None, max_examples=60)
@given(sounds, sounds, st.floats(-40, 40))
def test_level_and_peak_hold_for_any_two_sounds(clip, noise, snr):
    first, second = mixing_gains(clip, noise, snr)
    parts = first * clip.double(), second * noise.double()
    assert 10 * math.log10(parts[0].square().sum() / parts[1].square().sum()) == pytest.approx(snr, abs=1e-9)
    assert (parts[0] + parts[1]).abs().max().item() == pytest.approx(1, abs=1e-12)
    assert contaminate(clip, noise, snr).abs().max() <= 1
    # Without a peak the clip keeps its level and only the contamination is scaled.
    one, scale = mixing_gains(clip, noise, snr, peak=None)
    assert one == 1
    assert scale == pytest.approx(second / first, rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(sounds, sounds, st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_level_of_the_recordings_does_not_matter(clip, noise, a, b):
    assert torch.allclose(contaminate(a * clip, b * noise, 6.0), contaminate(clip, noise, 6.0), atol=1e-5)


def test_the_peak_is_absolute():
    """The published code divides by the signed maximum, which turns this clip into one with a peak of 9."""
    clip = torch.full((100,), 0.1)
    clip[3] = -0.9
    assert contaminate(clip, torch.zeros(100), 6.0).abs().max() == 1


def test_silence_stays_silent_and_finite():
    silence, noise = torch.zeros(50), sound(50, 3)
    assert contaminate(silence, silence, 12.0).eq(0).all()
    alone = contaminate(silence, noise, 12.0)
    assert torch.allclose(alone, noise / noise.abs().max())
    assert torch.allclose(contaminate(noise, silence, 12.0), noise / noise.abs().max())
    faint = contaminate(torch.full((50,), 1e-44), silence, 12.0)
    assert torch.isfinite(faint).all()
    assert faint.abs().max() < 1
    assert contaminate(silence, noise, 12.0, peak=None).isfinite().all()


def test_lengths_must_agree():
    for noise in (torch.zeros(9), torch.zeros(1, 10)):
        with pytest.raises(InputError, match="must both be"):
            contaminate(torch.zeros(10), noise, 0.0)


def test_white_noise_is_frozen():
    """The first numbers of PCG64 with seed 2024; if NumPy ever changes them, the manifests need other noise."""
    expected = np.random.Generator(np.random.PCG64(2024)).standard_normal(4)
    frozen = [1.02885687, 1.64192004, 1.14671953, -0.97317952]
    assert white_noise(4, 2024).tolist() == pytest.approx(frozen, abs=1e-8)
    assert white_noise(4, 2024).tolist() == expected.tolist()
    long = white_noise(100_000, 1)
    assert long.dtype == np.float64
    assert abs(long.mean()) < 0.02
    assert abs(long.std() - 1) < 0.02
    spectrum = np.abs(np.fft.rfft(long)) ** 2
    assert spectrum[: len(spectrum) // 2].mean() == pytest.approx(spectrum[len(spectrum) // 2 :].mean(), rel=0.05)


def test_draws_are_frozen_and_spread():
    assert draw(0, "noise", "audio/5-9032-A-0") == draw(0, "noise", "audio/5-9032-A-0")
    numbers = {draw(seed, purpose, f"clip{i}") for seed in range(3) for purpose in ("a", "b") for i in range(100)}
    assert len(numbers) == 600
    assert draw(0, "a", "bc") != draw(0, "ab", "c")
    assert all(0 <= number < 2**63 for number in numbers)
    assert sum(number >> 62 for number in numbers) == pytest.approx(300, abs=60)
    digits = hashlib.sha256(b"7\0noise\0clip\x003").hexdigest()[:16]
    assert draw(7, "noise", "clip", 3) == int(digits, 16) // 2 == 5135889452311298801


def test_conditions_are_checked():
    with pytest.raises(ConfigError, match=r"'speach' is not known; the nearest are 'speech'"):
        find_condition("speach")
    for bad in (("x", 3.0, None), ("x", None, "recordings"), ("x", math.inf, "recordings")):
        with pytest.raises(ConfigError, match="finite dB"):
            Condition(*bad)
    with pytest.raises(ConfigError, match="source='noises'"):
        Condition("x", 3.0, "noises")
    for peak in (0, -1, math.inf):
        with pytest.raises(ConfigError, match="peak="):
            Condition("x", 3.0, "recordings", peak=peak)
