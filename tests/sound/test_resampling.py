"""Resampling: the weights against a naive version, any two rates, and what a band limit must do."""

from __future__ import annotations

import math

import oracles
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from audioxai.errors import AudioXAIError, ConfigError
from audioxai.sound import resampling
from audioxai.sound.resampling import resample

RATES = [(44_100, 16_000), (16_000, 48_000), (22_050, 16_000), (8000, 11_025), (3, 2)]
# Options, and the naive version's.
METHODS = {
    "hann": ({}, {}),
    "wide": ({"lowpass_filter_width": 12, "rolloff": 0.9}, {"width": 12, "rolloff": 0.9}),
    "kaiser": ({"resampling_method": "sinc_interp_kaiser"}, {"beta": 14.769656459379492}),
    "kaiser5": ({"resampling_method": "sinc_interp_kaiser", "beta": 5.0}, {"beta": 5.0}),
}

SHARP = {"lowpass_filter_width": 16, "rolloff": 0.95, "resampling_method": "sinc_interp_kaiser"}


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1


def tone(hz: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate), dtype=torch.float64) / rate).float()


def interior(waveform: torch.Tensor) -> torch.Tensor:
    return waveform[len(waveform) // 10 : -len(waveform) // 10]


def level(waveform: torch.Tensor) -> float:
    return 10 * math.log10(float(interior(waveform).square().mean()) / 0.5)  # dB of a full tone


@pytest.mark.parametrize("by_sample", [False, True], ids=["torchaudio", "by sample"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("orig", "new"), RATES)
def test_weights(monkeypatch, orig: int, new: int, method: str, by_sample: bool) -> None:
    if by_sample:
        monkeypatch.setattr(resampling, "_LARGEST_KERNEL", 0)
        monkeypatch.setattr(resampling, "_CHUNK", 70)
    waveform, (options, naive) = noise(2, 150), METHODS[method]
    ours, expected = resample(waveform, orig, new, **options), oracles.resample(waveform[0].numpy(), orig, new, **naive)
    # A Kaiser window does not end at zero, so the tap at its edge is worth up to 1 / i0(beta): 4 % of 1e-5 at beta 5.
    torch.testing.assert_close(ours[0], torch.from_numpy(expected), rtol=0, atol=1e-6)
    torch.testing.assert_close(resample(waveform.float(), orig, new, **options), ours.float(), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.sampled_from([*RATES, (48_000, 16_000), (1, 5), (7, 1), (44_099, 16_000)]))
@example(300_208, (44_100, 16_000))  # torchaudio's own is a sample short
def test_the_length_is_rounded_up(samples: int, rates: tuple[int, int]) -> None:
    orig, new = rates
    assert resample(torch.zeros(1, samples), orig, new).shape == (1, math.ceil(samples * new / orig))


@pytest.mark.parametrize("options", [{}, SHARP], ids=["hann", "sharp"])
@pytest.mark.parametrize(("orig", "new"), [*RATES[:3], (44_099, 16_000), (16_000, 44_099), (192_001, 16_000)])
def test_tones_are_kept_below_the_cutoff_and_go_above_it(monkeypatch, orig: int, new: int, options: dict) -> None:
    largest, sinc = [0], resampling._sinc
    monkeypatch.setattr(resampling, "_sinc", lambda x, *rest: largest.append(x.numel()) or sinc(x, *rest))
    for hz in (50.0, 440.0, 3000.0, 5000.0):
        ideal = tone(hz, new)
        heard = resample(tone(hz, orig), orig, new, **options)[: len(ideal)]
        assert (interior(heard) - interior(ideal[: len(heard)])).abs().max() < 0.01
        assert level(heard) == pytest.approx(0.0, abs=0.05)
    for hz in (10_000.0, 15_500.0, 20_000.0):
        if new / 2 < hz < orig / 2:
            assert level(resample(tone(hz, orig), orig, new, **options)) < -40.0
    assert max(largest) < 1 << 22  # rates without a common divisor take no more memory than the clip


def test_same_rate_gives_the_same_tensor() -> None:
    waveform = noise(2, 100)
    assert resample(waveform, 16_000, 16_000) is waveform


@pytest.mark.parametrize("rates", [(3, 2), (44_099, 16_000)])
def test_batch_shapes_and_layouts(rates: tuple[int, int]) -> None:
    waveform = noise(100, 2, 3).permute(1, 2, 0)
    out = resample(waveform, *rates)
    assert out.shape == (2, 3, math.ceil(100 * rates[1] / rates[0]))
    torch.testing.assert_close(out[1, 2], resample(waveform[1, 2].clone(), *rates))


@pytest.mark.parametrize(("orig", "new"), [(3, 2), (2, 3), (44, 16), (44_099, 16_000)])
def test_gradient(orig: int, new: int) -> None:
    waveform = noise(40).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample(x, orig, new), waveform)
    assert torch.autograd.grad(resample(waveform, orig, new).sum(), waveform)[0].abs().min() > 0.01


def test_cached_weights_survive_inference_mode() -> None:
    with torch.inference_mode():
        resample(torch.zeros(50), 11, 5)
    waveform = noise(50).float().requires_grad_()
    resample(waveform, 11, 5).sum().backward()
    assert waveform.grad.isfinite().all()


def test_float32_stays_under_autocast() -> None:
    waveform = noise(400).float()
    with torch.autocast("cpu", torch.bfloat16):
        inside = resample(waveform, 44_100, 16_000)
    assert torch.equal(inside, resample(waveform, 44_100, 16_000))


@pytest.mark.parametrize(
    ("args", "options", "quoted"),
    [
        ((0, 16_000), {}, "0 and 16000"),
        ((16_000, -8000), {}, "16000 and -8000"),
        ((44_100.5, 16_000), {}, "44100.5 and 16000"),
        (("16000", True), {}, "'16000' and True"),
        ((3, 2), {"resampling_method": "linear"}, "'linear'"),
        ((3, 2), {"lowpass_filter_width": 0}, "got 0, 0.99"),
        ((3, 2), {"rolloff": 0.0}, "got 6, 0.0"),
        ((3, 2), {"rolloff": 1.5}, "got 6, 1.5"),
    ],
)
def test_bad_options(args: tuple, options: dict, quoted: str) -> None:
    with pytest.raises(ConfigError, match=quoted) as caught:
        resample(torch.zeros(10), *args, **options)
    assert isinstance(caught.value, AudioXAIError)
    assert isinstance(caught.value, ValueError)
