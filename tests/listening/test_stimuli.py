"""The sounds of a listening test: equally loud, anchored, of the same clips for every method."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from listeners import RATE, SAMPLES, Heard, explained, methods

import audioxai as ax
from audioxai.errors import AudioXAIError, ConfigError, InputError
from audioxai.listening.stimuli import low_anchor, make_trials, matched_gains
from audioxai.sound.loudness import loudness


def test_no_peak_is_clipped_and_what_is_quiet_is_raised_by_30_db_at_most() -> None:
    tone = explained().input[0]
    click = torch.zeros(SAMPLES).index_fill(0, torch.tensor([2000]), 1.0)
    level, gains, quiet = matched_gains([tone, click, 1e-3 * tone, torch.zeros(SAMPLES)], RATE)
    peak = 20 * math.log10(float(tone.abs().max()))
    assert loudness(click * 10 ** (gains[1] / 20), RATE) == pytest.approx(level, abs=1e-6)
    assert gains[1] == pytest.approx(-1) and level < -23 and gains[0] + peak < -1
    assert gains[2] - gains[0] == gains[3] - gains[0] == pytest.approx(30) and quiet == [2, 3]
    level, gains, quiet = matched_gains([tone, 0.5 * tone], RATE)
    assert level == pytest.approx(-23) and gains[1] - gains[0] == pytest.approx(20 * math.log10(2)) and not quiet


def test_the_anchor_is_low_passed_with_noise_13_db_below() -> None:
    rate = 16000
    low, high = (torch.sin(2 * math.pi * hz * torch.arange(rate) / rate) for hz in (500.0, 6000.0))
    noise = torch.randn(rate, generator=torch.Generator().manual_seed(0))

    def power(sound: torch.Tensor, lowest: int, highest: int) -> float:
        return float(torch.fft.rfft(sound)[lowest:highest].abs().square().sum())

    anchor = low_anchor(low + high, rate, noise)
    assert power(anchor, 480, 520) == pytest.approx(power(low, 480, 520), rel=0.05)
    assert power(anchor, 5990, 6010) < 0.01 * power(high, 5990, 6010)
    assert torch.allclose(low_anchor(low, rate, 7 * noise), low_anchor(low, rate, noise), atol=1e-6)
    assert power(low_anchor(low, rate, noise), 600, 8000) == pytest.approx(
        power(low, 0, 8001) * 10**-1.3 * 7400 / 8000, rel=0.05
    )


def test_the_anchor_is_made_of_a_clip_with_another_target() -> None:
    given = {name: replace(h, target_names=["dog", "Dog", "owl"]) for name, h in methods().items()}
    for seed in range(5):
        _, trials, notes = make_trials(given, seed=seed)
        made_of = {trial.clip: trial.anchor for trial in trials}
        assert made_of["clip0.wav"] == made_of["clip1.wav"] == "clip2.wav" and made_of["clip2.wav"] != "clip2.wav"
        assert notes == []


def test_without_another_target_the_anchor_is_made_of_the_clip_and_that_is_said() -> None:
    one = {name: replace(h, target_names=["dog"] * 3) for name, h in methods().items()}
    _, trials, notes = make_trials(one, seed=0)
    assert (
        all(trial.anchor == trial.clip for trial in trials)
        and len(notes) == 3
        and "made of the clip itself" in notes[0]
    )
    same = {
        name: Heard(h.input[[0, 0]], h.waveform[[0, 0]], ["a", "b"], ["dog", "owl"]) for name, h in methods().items()
    }
    assert [t.anchor == t.clip for t in make_trials(same, seed=0)[1]] == [True, True]  # one clip, two targets


def test_clips_may_differ_in_length_and_rate() -> None:
    given = {
        name: [h, replace(explained(0.3, clips=1, samples=1500), sample_rate=16000)] for name, h in methods().items()
    }
    for parts in given.values():
        parts[1].names, parts[1].target_names = ["short"], ["rain"]
    _, trials, _ = make_trials(given, seed=4)
    for trial in trials:
        expected = (1500, 16000) if trial.clip == "short" else (SAMPLES, RATE)
        assert {(len(s.wave), trial.sample_rate) for s in trial.stimuli} == {expected}


def spoilt(change: Callable[[Heard], Heard]) -> dict[str, Heard]:
    given = methods()
    return {**given, "GradCAM": change(given["GradCAM"])}


def without_last(h: Heard) -> Heard:
    return Heard(h.input[:2], h.waveform[:2], h.names[:2], h.target_names[:2])


def with_nan(h: Heard) -> Heard:
    return replace(h, waveform=h.waveform.index_fill(1, torch.tensor([5]), math.nan))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"one": explained()}, ConfigError, r"at least two methods; got \['one'\]"),
        ({}, ConfigError, "at least two methods; got none"),
        ({f"m{i}": explained() for i in range(11)}, ConfigError, "11 methods are too many"),
        ({"a": explained(), " ": explained()}, ConfigError, "cannot name a method"),
        ({"a": explained(), "Low  anchor": explained()}, ConfigError, "cannot name a method"),
        ({"a": explained(), "A ": explained()}, ConfigError, "two methods are named 'A '"),
        ({"a": explained(), "b": []}, InputError, "b has no clip"),
        (spoilt(without_last), InputError, r"has 3 clip\(s\) and GradCAM 2; GradCAM lacks \['clip2.wav'\]"),
        (spoilt(lambda h: replace(h, names=["clip0.wav", "x", "clip2.wav"])), InputError, r"L-MAC lacks \['x'\]"),
        (spoilt(lambda h: replace(h, names=["clip1.wav", "clip0.wav", "clip2.wav"])), InputError, "same order"),
        (spoilt(lambda h: replace(h, target_names=["dog", "cat", "owl"])), InputError, "target .* and GradCAM 'cat'"),
        (spoilt(lambda h: replace(h, sample_rate=16000)), InputError, "the rate 8000 and GradCAM 16000"),
        (spoilt(lambda _: explained(samples=3000)), InputError, "the length 4000 and GradCAM 3000"),
        (spoilt(lambda _: explained(hz=500.0)), InputError, "clip 'clip0.wav' is not the same sound"),
        (spoilt(with_nan), InputError, "GradCAM: clip 'clip0.wav' holds NaN"),
        (spoilt(lambda h: replace(h, waveform=h.waveform[:, :99])), InputError, "4000 samples and its explanation 99"),
        (spoilt(lambda h: replace(h, input=0 * h.input)), InputError, "is silent"),
    ],
)  # fmt: skip
def test_explanations_that_cannot_be_compared(given: Any, error: type[AudioXAIError], said: str) -> None:
    with pytest.raises(error, match=said):
        make_trials(given)


def test_real_clips(data_root: Path) -> None:
    """A dog's bark and rain, explained by the shipped network: transients and steady sounds become equally loud."""
    explainer = ax.load_pretrained()
    files = [data_root / "esc10" / "audio" / name for name in ("5-203128-A-0.ogg", "5-181766-A-10.ogg")]
    clips = torch.stack([ax.load(file, 16000)[0] for file in files])
    by = {
        "L-MAC": explainer,
        "GradCAM": ax.GradCAM(explainer.classifier),
        "loudest": ax.EnergyMask(explainer.classifier),
    }
    _, trials, notes = make_trials({name: one.explain(clips, ["dog", "rain"]) for name, one in by.items()})
    assert notes == [] and {trial.anchor == trial.clip for trial in trials} == {False}
    for trial in trials:
        levels = [loudness(stimulus.wave, 16000) for stimulus in trial.stimuli]
        assert levels == pytest.approx([trial.level] * 5, abs=1e-3)
        assert max(float(stimulus.wave.abs().max()) for stimulus in trial.stimuli) <= 10 ** (-1 / 20) + 1e-6
