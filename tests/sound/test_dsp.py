"""Transforms, mel filters, resampling and mixing against naive versions, torch and torchaudio."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioxai.errors import AudioXAIError, ConfigError, InputError
from audioxai.sound import dsp, resampling
from audioxai.sound.dsp import STFT, amplitude_to_db, istft, magnitude, melscale_fbanks, mix_at_snr, resample, stft

RECIPE = STFT(1024, 372, 186, "hamming")
SETTINGS = {
    "recipe": RECIPE,
    "hann-1024-256": STFT(1024, hop_length=256),
    "hann-512-128": STFT(512, hop_length=128),
    "hann-400-160": STFT(400, hop_length=160),
    "reflect": STFT(512, hop_length=128, pad_mode="reflect"),
    "replicate": STFT(512, 400, 100, "hann", pad_mode="replicate"),
    "odd": STFT(401, 301, 100, "hamming"),
    "rect": STFT(256, hop_length=128, window="rect"),
}
ARRAYS = Path(__file__).parents[1] / "data_arrays" / "torchaudio.npz"


@pytest.fixture(scope="module")
def reference():
    with np.load(ARRAYS) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files if name != "versions"}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def close(ours: torch.Tensor, theirs: object, tolerance: float) -> None:
    """Largest difference within ``tolerance`` times the largest value."""
    theirs = torch.as_tensor(theirs, dtype=ours.dtype)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) <= tolerance


# --- STFT ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 20_000), st.sampled_from(sorted(SETTINGS)), st.integers(0, 99))
def test_round_trip(samples: int, name: str, seed: int) -> None:
    config = SETTINGS[name]
    if config.pad_mode == "reflect" and samples <= config.n_fft // 2:
        samples += config.n_fft // 2
    waveform = noise(samples, seed=seed)
    spectrum = stft(waveform, config)
    assert spectrum.shape == (config.bins, config.frames(samples))
    back = istft(spectrum, config, samples)
    assert back.shape == waveform.shape
    assert (back - waveform).abs().max() < 1e-5


@pytest.mark.parametrize("samples", [1, 185, 186, 187, 371, 372, 1023, 1024, 1025, 80_000])
def test_round_trip_at_borders_of_the_recipe(samples: int) -> None:
    waveform = noise(2, samples)
    assert (istft(stft(waveform, RECIPE), RECIPE, samples) - waveform).abs().max() < 1e-5


@pytest.mark.parametrize("batch", [(), (3,), (1,), (2, 3), (2, 1, 2)])
def test_batch_shapes_do_not_change_the_numbers(batch: tuple[int, ...]) -> None:
    waveform = noise(*batch, 1000)
    spectrum = stft(waveform, RECIPE)
    assert spectrum.shape == (*batch, 513, 6)
    assert spectrum.dtype == torch.complex64
    back = istft(spectrum, RECIPE, 1000)
    assert back.shape == waveform.shape
    rows, spectra = waveform.reshape(-1, 1000), spectrum.reshape(-1, 513, 6)
    for row, one in zip(rows, spectra, strict=True):
        close(one, stft(row, RECIPE), 1e-6)
        close(istft(one, RECIPE, 1000), row, 1e-5)


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("samples", [700, 1213])
def test_stft_against_oracle(name: str, samples: int) -> None:
    s = SETTINGS[name]
    waveform = noise(samples, dtype=torch.float64)
    theirs = oracles.stft(waveform.numpy(), s.n_fft, s.win, s.hop, s.window, pad_mode=s.pad_mode)
    close(stft(waveform, s), theirs, 1e-12)
    close(stft(waveform.float(), s), theirs.astype(np.complex64), 1e-6)


def test_uncentred_stft_against_oracle() -> None:
    s = STFT(400, 400, 160, "hamming", center=False)
    waveform = noise(1000, dtype=torch.float64)
    close(stft(waveform, s), oracles.stft(waveform.numpy(), 400, 400, 160, "hamming", center=False), 1e-12)
    covered = 400 + 160 * (s.frames(1000) - 1)
    back = istft(stft(waveform, s), s, 1000)
    close(back[:covered], waveform[:covered], 1e-12)
    assert (back[covered:] == 0).all()


@pytest.mark.parametrize("name", ["recipe", "hann-400-160", "odd"])
def test_istft_of_a_masked_spectrum_against_oracle(name: str) -> None:
    s = SETTINGS[name]
    spectrum = stft(noise(900, dtype=torch.float64), s)
    masked = spectrum * noise(*spectrum.shape, seed=1, dtype=torch.float64).abs()
    theirs = oracles.istft(masked.numpy(), s.n_fft, s.win, s.hop, s.window, 900)
    close(istft(masked, s, 900), theirs, 1e-11)


@pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"odd"}))
def test_stft_and_istft_are_torchs(name: str) -> None:
    s = SETTINGS[name]
    waveform = noise(2, 1234)
    functions = {"hann": torch.hann_window, "hamming": torch.hamming_window, "rect": torch.ones}
    args = (s.n_fft, s.hop, s.win, functions[s.window](s.win))
    theirs = torch.stft(waveform, *args, pad_mode=s.pad_mode, return_complex=True)
    assert torch.equal(stft(waveform, s), theirs)
    masked = theirs * noise(*theirs.shape, seed=1).abs()
    close(istft(masked, s, 1234), torch.istft(masked, *args, length=1234), 1e-5)


def test_istft_is_silent_beyond_the_last_frame() -> None:
    waveform = noise(1000)
    s = SETTINGS["hann-512-128"]
    back = istft(stft(waveform, s), s, 3000)
    close(back[:1000], waveform, 1e-5)
    assert back.shape == (3000,)
    assert (back[1000 + 512 :] == 0).all()


@pytest.mark.parametrize("samples", [1534, 1535, 5119])
@pytest.mark.parametrize("n_fft", [1024, 2048])
def test_a_mask_leaves_no_click_where_only_the_edge_of_the_last_window_lies(samples: int, n_fft: int) -> None:
    s = STFT(n_fft)  # Hann, half overlap: the last samples are multiplied by less than 1e-4
    waveform = 0.3 * noise(4, samples)
    spectrum = stft(waveform, s)
    faded = s.hop  # at most
    back = istft(spectrum, s, samples)
    close(back[:, :-faded], waveform[:, :-faded], 1e-5)
    assert back.abs().max() <= waveform.abs().max() * (1 + 1e-5)
    masked = istft(spectrum * noise(*spectrum.shape, seed=3).abs(), s, samples)
    assert masked.abs().max() < 5 * waveform.abs().max()


@pytest.mark.parametrize("n_fft", [25, 400, 401])
@pytest.mark.parametrize("center", [True, False])
def test_frames_counts_what_stft_gives(n_fft: int, center: bool) -> None:
    s = STFT(n_fft, hop_length=n_fft // 5, center=center)
    for samples in range(n_fft, 2 * n_fft, 9):
        assert stft(torch.zeros(samples), s).shape[-1] == s.frames(samples)


def test_recipe_sizes() -> None:
    assert (RECIPE.bins, RECIPE.frames(80_000)) == (513, 431)
    assert (STFT().win, STFT().hop, STFT(800).hop, STFT(512, 400).hop) == (1024, 512, 400, 200)
    assert STFT(**RECIPE.to_dict()) == RECIPE


def test_stft_and_istft_have_right_gradients() -> None:
    s = STFT(8, 6, 3, "hamming")
    waveform = noise(2, 13, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.view_as_real(stft(x, s)), waveform)
    spectrum = stft(waveform, s).detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: istft(x, s, 13), spectrum)
    assert torch.autograd.gradcheck(lambda x: magnitude(stft(x, s)), waveform)


def test_magnitude_of_silence_has_a_finite_gradient() -> None:
    waveform = torch.zeros(500, requires_grad=True)
    values = magnitude(stft(waveform, RECIPE))
    assert float(values.detach().max()) == pytest.approx(1e-7, rel=1e-5)
    values.sum().backward()
    assert torch.equal(waveform.grad, torch.zeros(500))


def test_cached_window_survives_inference_mode() -> None:
    s = STFT(48, 36, 11)
    with torch.inference_mode():
        stft(torch.zeros(100), s)
    waveform = noise(100).requires_grad_()
    istft(stft(waveform, s), s, 100).square().sum().backward()
    close(waveform.grad, 2 * waveform.detach(), 1e-5)


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"window": "kaiser"}, "'kaiser'"),
        ({"pad_mode": "circular"}, "'circular'"),
        ({"hop_length": 0}, "0, 1024, 1024"),
        ({"hop_length": 2000}, "2000, 1024, 1024"),
        ({"win_length": 2048, "hop_length": 5}, "5, 2048, 1024"),
        ({"n_fft": 0}, "0, 0, 0"),
    ],
)
def test_bad_settings(options: dict, quoted: str) -> None:
    with pytest.raises(ConfigError, match=quoted):
        STFT(**options)


@pytest.mark.parametrize(
    ("samples", "config", "quoted"),
    [
        (0, STFT(), "0 samples"),
        (512, STFT(pad_mode="reflect"), "512 samples.*at least 513"),
        (1023, STFT(center=False), "1023 samples.*1024"),
    ],
)
def test_too_short_for_stft(samples: int, config: STFT, quoted: str) -> None:
    with pytest.raises(InputError, match=quoted) as caught:
        stft(torch.zeros(2, samples), config)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("config", "quoted"),
    [
        (STFT(64, hop_length=64), "'hann' of 64 samples with a hop of 64"),
        (STFT(64, hop_length=16, center=False), "center=True"),
        (STFT(64, 32, 8, "hamming", center=False), "'hamming' of 32 samples with a hop of 8"),
    ],
)
def test_no_inverse(config: STFT, quoted: str) -> None:
    spectrum = stft(noise(300), config)
    with pytest.raises(InputError, match=quoted):
        istft(spectrum, config, 300)


def test_istft_refuses_a_spectrum_of_other_settings() -> None:
    with pytest.raises(InputError, match=r"257 bins.*n_fft=1024.*513"):
        istft(torch.zeros(2, 257, 5, dtype=torch.complex64), STFT(), 1000)


# --- mel ----------------------------------------------------------------------------------------------------------

BANKS = {
    "recipe": (513, 0.0, 8000.0, 80, 16_000),
    "narrow": (201, 0.0, 8000.0, 40, 16_000),
    "wide": (513, 50.0, 14_000.0, 64, 48_000),
    "one": (65, 300.0, 3000.0, 1, 8000),
}


@pytest.mark.parametrize("triangles", ["standard", "reference"])
@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("name", sorted(BANKS))
def test_mel_filters_against_oracle(name: str, scale: str, norm: str | None, triangles: str) -> None:
    ours = melscale_fbanks(*BANKS[name], norm, scale, triangles)
    theirs = oracles.mel_filters(*BANKS[name], norm, scale, triangles)
    assert ours.dtype == torch.float32
    close(ours.double(), theirs, 1e-6)


def test_reference_triangles_are_narrower_on_the_right() -> None:
    standard, reference = (melscale_fbanks(*BANKS["recipe"], triangles=t) for t in ("standard", "reference"))
    assert (reference <= standard + 1e-6).all()
    assert reference.sum() < 0.99 * standard.sum()


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_scale_and_back(scale: str) -> None:
    hz = torch.tensor([0.0, 1.0, 440.0, 999.9, 1000.0, 1000.1, 8000.0, 22_050.0], dtype=torch.float64)
    mel = dsp.hz_to_mel(hz, scale)
    close(mel, [oracles.hz_to_mel(float(f), scale) for f in hz], 1e-12)
    close(dsp.mel_to_hz(mel, scale), hz, 1e-12)
    close(dsp.mel_to_hz(mel, scale), [oracles.mel_to_hz(float(m), scale) for m in mel], 1e-12)
    assert (mel.diff() > 0).all()


def test_mel_to_hz_at_known_points() -> None:
    assert float(dsp.hz_to_mel(torch.tensor(1000.0), "htk")) == pytest.approx(999.99, abs=0.01)
    assert float(dsp.hz_to_mel(torch.tensor(1000.0), "slaney")) == pytest.approx(15.0)
    assert float(dsp.mel_to_hz(torch.tensor(42.0), "slaney")) == pytest.approx(6400.0, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"f_min": 500.0, "f_max": 400.0}, "f_min=500.0, f_max=400.0"),
        ({"f_min": -1.0}, "f_min=-1.0"),
        ({"n_mels": 0}, "n_mels=0"),
        ({"norm": "area"}, "'area'"),
        ({"mel_scale": "bark"}, "'bark'"),
        ({"triangles": "round"}, "'round'"),
    ],
)
def test_bad_mel_options(options: dict, quoted: str) -> None:
    good = {"n_freqs": 65, "f_min": 0.0, "f_max": 4000.0, "n_mels": 10, "sample_rate": 8000}
    with pytest.raises(ConfigError, match=quoted):
        melscale_fbanks(**{**good, **options})


@pytest.mark.parametrize("convert", [dsp.hz_to_mel, dsp.mel_to_hz])
def test_unknown_mel_scale(convert) -> None:
    with pytest.raises(ConfigError, match="'bark'"):
        convert(torch.ones(1), "bark")


# --- decibels -----------------------------------------------------------------------------------------------------


def test_decibels_against_oracle() -> None:
    values = torch.tensor([[0.0, 1e-12, 1e-10, 1e-3, 0.5, 1.0, 70.0]])
    for multiplier, amin in ((10.0, 1e-10), (20.0, 1e-5)):
        theirs = [[oracles.to_db(float(v), multiplier, amin) for v in values[0]]]
        close(amplitude_to_db(values, multiplier, amin), theirs, 1e-6)


def test_top_db_is_counted_from_each_clips_own_maximum() -> None:
    clip = 10.0 ** -torch.arange(8.0).reshape(2, 4)  # 0 to -70 dB
    db = amplitude_to_db(torch.stack([clip, 1e-2 * clip]), top_db=30.0)
    expected = torch.tensor([[0.0, -10.0, -20.0, -30.0], [-30.0] * 4])
    close(db[0], expected, 1e-5)
    close(db[1], expected - 20.0, 1e-5)
    close(amplitude_to_db(clip, top_db=30.0), expected, 1e-5)  # one clip's (M, N)


def test_gradient_of_decibels_is_finite_below_the_floor() -> None:
    values = torch.tensor([[[0.0, 1e-20, 1.0]]], requires_grad=True)
    amplitude_to_db(values, top_db=80.0).sum().backward()
    assert values.grad.isfinite().all()
    assert float(values.grad[0, 0, 2]) > 10.0 / math.log(10) - 1e-4


# --- resampling ---------------------------------------------------------------------------------------------------

RATES = [(44_100, 16_000), (16_000, 48_000), (22_050, 16_000), (8000, 11_025), (3, 2)]
KAISER = {"lowpass_filter_width": 16, "rolloff": 0.95, "resampling_method": "sinc_interp_kaiser"}
METHODS = {"hann": {}, "kaiser": KAISER, "kaiser8": {**KAISER, "beta": 8.0}}


@pytest.mark.parametrize(("orig", "new"), RATES)
@pytest.mark.parametrize(
    ("options", "naive"),
    [
        ({}, {}),
        ({"lowpass_filter_width": 12, "rolloff": 0.9}, {"width": 12, "rolloff": 0.9}),
        ({"resampling_method": "sinc_interp_kaiser"}, {"beta": 14.769656459379492}),
        ({"resampling_method": "sinc_interp_kaiser", "beta": 5.0}, {"beta": 5.0}),
    ],
)
def test_resample_against_oracle(orig: int, new: int, options: dict, naive: dict) -> None:
    waveform = noise(150, dtype=torch.float64)
    # A Kaiser window does not end at zero, so the tap at its edge is worth up to 1 / i0(beta): 4 % of 1e-5 at beta 5.
    close(resample(waveform, orig, new, **options), oracles.resample(waveform.numpy(), orig, new, **naive), 1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 3000), st.sampled_from([*RATES, (48_000, 16_000), (1, 5), (7, 1)]))
def test_resampled_length_is_rounded_up(samples: int, rates: tuple[int, int]) -> None:
    orig, new = rates
    assert resample(torch.zeros(2, samples), orig, new).shape == (2, math.ceil(samples * new / orig))


def interior(waveform: torch.Tensor) -> torch.Tensor:
    return waveform[len(waveform) // 10 : -len(waveform) // 10]


def tone(hz: float, rate: int, seconds: float = 0.5) -> torch.Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(round(seconds * rate), dtype=torch.float64) / rate).float()


@pytest.mark.parametrize("hz", [50.0, 440.0, 3000.0, 5000.0])
@pytest.mark.parametrize(("orig", "new"), [(44_100, 16_000), (16_000, 48_000), (22_050, 16_000)])
def test_a_tone_below_the_cutoff_is_kept(hz: float, orig: int, new: int) -> None:
    ours, ideal = resample(tone(hz, orig), orig, new), tone(hz, new)
    assert float((interior(ours) - interior(ideal)).abs().max()) < 0.01
    energy = float(interior(ours).square().mean() / interior(ideal).square().mean())
    assert 10 * math.log10(energy) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("hz", [10_000.0, 12_000.0, 15_500.0, 20_000.0])
@pytest.mark.parametrize("method", ["hann", "kaiser"])
def test_a_tone_above_the_new_nyquist_frequency_is_rejected(hz: float, method: str) -> None:
    left = interior(resample(tone(hz, 44_100), 44_100, 16_000, **METHODS[method])).square().mean()
    assert 10 * math.log10(float(left) / 0.5) < -40.0


def test_there_and_back_keeps_a_band_limited_clip() -> None:
    clip = tone(440.0, 16_000) + tone(1234.0, 16_000)
    back = resample(resample(clip, 16_000, 44_100), 44_100, 16_000)
    assert back.shape == clip.shape
    assert (interior(back) - interior(clip)).abs().max() < 0.01


def test_same_rate_gives_the_same_tensor() -> None:
    waveform = noise(2, 100)
    assert resample(waveform, 16_000, 16_000) is waveform


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_resample_batch_shapes(batch: tuple[int, ...]) -> None:
    waveform = noise(*batch, 100)
    out = resample(waveform, 3, 2)
    assert out.shape == (*batch, 67)
    for row, one in zip(waveform.reshape(-1, 100), out.reshape(-1, 67), strict=True):
        close(one, resample(row, 3, 2), 1e-6)


@pytest.mark.parametrize(("orig", "new"), [(3, 2), (2, 3), (44, 16)])
def test_resample_gradient(orig: int, new: int) -> None:
    waveform = noise(40, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample(x, orig, new), waveform)
    assert torch.autograd.grad(resample(waveform, orig, new).sum(), waveform)[0].abs().min() > 0.01


def test_cached_kernel_survives_inference_mode() -> None:
    with torch.inference_mode():
        resample(torch.zeros(50), 11, 5)
    waveform = noise(50).requires_grad_()
    resample(waveform, 11, 5).sum().backward()
    assert waveform.grad.isfinite().all()


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(("orig", "new"), RATES)
def test_rates_without_a_common_divisor_take_the_same_weights(monkeypatch, orig: int, new: int, method: str) -> None:
    waveform = noise(2, 3001).double()
    usual = resample(waveform, orig, new, **METHODS[method])
    monkeypatch.setattr(resampling, "_LARGEST_KERNEL", 0)
    monkeypatch.setattr(resampling, "_CHUNK", 700)
    one_by_one = resample(waveform, orig, new, **METHODS[method])
    assert one_by_one.shape == usual.shape
    torch.testing.assert_close(one_by_one, usual, rtol=0, atol=1e-6)
    torch.testing.assert_close(resample(waveform[0], orig, new, **METHODS[method]), usual[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("orig", "new"), [(44_099, 16_000), (16_000, 44_099), (8_001, 16_000), (192_001, 16_000)])
def test_odd_rates_take_no_more_memory_than_the_clip(monkeypatch, orig: int, new: int) -> None:
    largest = []
    sinc = resampling._sinc
    monkeypatch.setattr(
        resampling, "_sinc", lambda distance, *rest: largest.append(distance.numel()) or sinc(distance, *rest)
    )
    heard = interior(resample(tone(440, orig), orig, new))
    assert (heard - interior(tone(440, new))[: len(heard)]).abs().max() < 5e-3
    assert max(largest) < 1 << 22
    clip = tone(440, orig)[:50].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: resample(x, orig, new), clip)


def test_resample_keeps_float32_under_autocast() -> None:
    waveform = noise(400)
    with torch.autocast("cpu", torch.bfloat16):
        inside = resample(waveform, 44_100, 16_000)
    assert inside.dtype == torch.float32
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
def test_bad_resampling(args: tuple, options: dict, quoted: str) -> None:
    with pytest.raises(ConfigError, match=quoted) as caught:
        resample(torch.zeros(10), *args, **options)
    assert isinstance(caught.value, AudioXAIError)
    assert isinstance(caught.value, ValueError)


# --- mixing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [-20.0, 0.0, 3.0, 40.0])
def test_mix_against_oracle(snr: float) -> None:
    signal, other = noise(300, dtype=torch.float64), 0.1 * noise(300, seed=1, dtype=torch.float64)
    mixed = mix_at_snr(signal, other, snr)
    close(mixed, oracles.mix_at_snr(signal.numpy(), other.numpy(), snr), 1e-12)
    measured = 10 * torch.log10(signal.square().sum() / (mixed - signal).square().sum())
    assert float(measured) == pytest.approx(snr, abs=1e-9)


def test_one_ratio_per_clip() -> None:
    signal, other = noise(3, 200), noise(3, 200, seed=1)
    mixed = mix_at_snr(signal, other, torch.tensor([0.0, 10.0, math.inf]))
    for row, snr in enumerate((0.0, 10.0)):
        close(mixed[row], mix_at_snr(signal[row], other[row], snr), 1e-6)
    assert torch.equal(mixed[2], signal[2])


@pytest.mark.parametrize("silent", ["signal", "noise", "both"])
def test_mix_with_silence_is_finite_and_so_is_its_gradient(silent: str) -> None:
    signal = torch.zeros(100) if silent in ("signal", "both") else noise(100)
    other = torch.zeros(100) if silent in ("noise", "both") else noise(100, seed=1)
    signal.requires_grad_()
    other.requires_grad_()
    mixed = mix_at_snr(signal, other, 0.0)
    assert (mixed - signal).abs().max() <= 1e-7
    mixed.sum().backward()
    assert signal.grad.isfinite().all()
    assert other.grad.isfinite().all()


# --- torchaudio: its arrays always, itself where it loads ---------------------------------------------------------


def mel_options(name: str) -> dict:
    if name == "htk":
        return {"f_min": 0.0, "f_max": 8000.0, "norm": None, "mel_scale": "htk"}
    return {"f_min": 50.0, "f_max": 7000.0, "norm": "slaney", "mel_scale": "slaney"}


@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_mel_filters_are_torchaudios(reference, name: str, scale: str, norm: str | None) -> None:
    # torchaudio computes in float32, whose last digit is 5e-4 Hz at 8 kHz in filters some 50 Hz wide.
    close(melscale_fbanks(*BANKS[name], norm, scale), reference[f"fbanks/{name}/{scale}/{norm}"], 1e-5)


def test_spectrograms_are_torchaudios(reference) -> None:
    clip = torch.from_numpy(oracles.synthetic_clip(0.25, 16_000))
    power = magnitude(stft(clip, STFT(400, hop_length=200, pad_mode="reflect"))) ** 2
    close(power, reference["spectrogram/hann/2"], 1e-6)
    close(magnitude(stft(clip, STFT(512, 372, 186, "hamming"))), reference["spectrogram/hamming/1"], 1e-6)


@pytest.mark.parametrize("name", ["htk", "slaney"])
def test_mel_spectrograms_are_torchaudios(reference, name: str) -> None:
    clip = torch.from_numpy(oracles.synthetic_clip(0.25, 16_000))
    power = magnitude(stft(clip, STFT(400, hop_length=200, pad_mode="reflect"))) ** 2
    bank = melscale_fbanks(n_freqs=201, n_mels=40, sample_rate=16_000, **mel_options(name))
    close(bank.T @ power, reference[f"mel/{name}"], 1e-5)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize(("orig", "new"), RATES[:3])
def test_resampling_is_torchaudios(reference, orig: int, new: int, method: str) -> None:
    clip = torch.from_numpy(oracles.synthetic_clip(0.05, orig))
    close(resample(clip, orig, new, **METHODS[method]), reference[f"resample/{orig}/{new}/{method}"], 1e-6)


def test_decibels_are_torchaudios(reference) -> None:
    power = reference["mel/htk"]
    close(amplitude_to_db(power), reference["db/power"], 1e-6)
    close(amplitude_to_db(torch.stack([power, 1e-3 * power])[:, None], top_db=60.0), reference["db/top"], 1e-6)
    close(amplitude_to_db(power.sqrt(), 20.0, 1e-5, top_db=60.0), reference["db/amplitude"], 1e-6)


@pytest.fixture
def torchaudio():
    try:
        import torchaudio
        import torchaudio.functional
        import torchaudio.transforms
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio does not load: {error}")
    return torchaudio


def test_installed_torchaudio_agrees(torchaudio) -> None:
    functional = torchaudio.functional
    for bank in BANKS.values():
        for scale in ("htk", "slaney"):
            close(melscale_fbanks(*bank, "slaney", scale), functional.melscale_fbanks(*bank, "slaney", scale), 1e-5)
    clip = noise(2, 3000)
    for orig, new in RATES:
        for options in METHODS.values():
            # In float32 torchaudio's kernel itself is off by some 2e-5.
            close(resample(clip, orig, new, **options), functional.resample(clip, orig, new, **options), 1e-4)
            theirs = functional.resample(clip.double(), orig, new, **options).float()
            close(resample(clip, orig, new, **options), theirs, 1e-6)
    theirs = torchaudio.transforms.Spectrogram(512, 400, 100)(clip)
    close(magnitude(stft(clip, STFT(512, 400, 100, pad_mode="reflect"))) ** 2, theirs, 1e-6)
    mel = torchaudio.transforms.MelSpectrogram(16_000, 512, 400, 100, n_mels=30)(clip)
    bank = melscale_fbanks(257, 0.0, 8000.0, 30, 16_000)
    close(torch.einsum("fm,bfn->bmn", bank, theirs), mel, 1e-5)
    db = functional.amplitude_to_DB(mel[:, None], 10.0, 1e-10, 0.0, top_db=40.0)
    close(amplitude_to_db(mel[:, None], top_db=40.0), db, 1e-6)
