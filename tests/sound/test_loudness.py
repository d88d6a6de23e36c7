"""Loudness: against the standard's own numbers, a naive second version, and what a gate must do."""

from __future__ import annotations

import math

import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audioxai.errors import InputError
from audioxai.sound.loudness import k_weighting, loudness


def tone(rate: int, seconds: float = 2.0, hz: float = 997.0) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(round(rate * seconds), dtype=torch.float64) / rate)


def test_coefficients_at_48_khz_are_those_of_the_standard() -> None:
    shelf, high_pass = k_weighting(48000)
    assert shelf == pytest.approx(
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1, -1.69065929318241, 0.73248077421585], abs=1e-12
    )
    assert high_pass == pytest.approx([1, -2, 1, 1, -1.99004745483398, 0.99007225036621], abs=1e-12)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_full_scale_sine(rate: int) -> None:
    assert loudness(tone(rate), rate) == pytest.approx(-3.01, abs=0.15)
    assert loudness(0.1 * tone(rate), rate) == pytest.approx(-23.01, abs=0.15)


def test_against_the_naive_version() -> None:
    clip = torch.from_numpy(oracles.synthetic_clip(1.5, 48000)).double()
    clip[40000:] *= 0.02  # blocks that the second gate drops
    assert loudness(clip, 48000) == pytest.approx(oracles.loudness_48k(clip.tolist()), abs=1e-6)
    assert oracles.loudness_48k([0.0] * 24000) == loudness(torch.zeros(24000), 48000) == -math.inf


def test_pauses_do_not_count() -> None:
    alone = loudness(tone(16000), 16000)
    padded = torch.cat([torch.zeros(3 * 16000), tone(16000), torch.zeros(3 * 16000)])
    assert loudness(padded, 16000) == pytest.approx(alone, abs=0.7)  # blocks across the edge count in part
    assert 10 * math.log10(float(padded.square().mean() / tone(16000).square().mean())) < -5


@given(gain=st.floats(-30, 30), samples=st.integers(800, 12000))
def test_a_gain_moves_it_by_that_gain(gain: float, samples: int) -> None:
    clip = torch.from_numpy(oracles.synthetic_clip(samples / 8000, 8000))
    louder = loudness(clip.double() * 10 ** (gain / 20), 8000)
    assert louder == pytest.approx(loudness(clip, 8000) + gain, abs=1e-6)


def test_short_clips_are_one_block() -> None:
    assert math.isfinite(loudness(tone(16000)[:100], 16000))
    assert math.isfinite(loudness(tone(16000)[:1] + 0.5, 16000))


@pytest.mark.parametrize("bad", [torch.zeros(2, 100), torch.zeros(0), torch.tensor([0.0, math.nan]), torch.tensor(1.0)])
def test_bad_input(bad: torch.Tensor) -> None:
    with pytest.raises(InputError, match="loudness"):
        loudness(bad, 16000)


def test_the_samples_stay_as_they_were() -> None:
    clip = tone(16000)
    loudness(clip, 16000)
    assert torch.equal(clip, tone(16000))
