"""Transforms, mel filters, decibels and mixing against naive versions, torch and torchaudio."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from audioxai.errors import ConfigError, InputError
from audioxai.sound import dsp
from audioxai.sound.dsp import STFT, amplitude_to_db, istft, magnitude, melscale_fbanks, mix_at_snr, stft

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
UNCENTRED = {"uncentred": STFT(400, 400, 160, "hamming", center=False)}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 2 - 1


def close(ours: torch.Tensor, theirs: object, tolerance: float) -> None:
    """Largest difference within ``tolerance`` times the largest value."""
    theirs = torch.as_tensor(theirs, dtype=ours.dtype)
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) <= tolerance


# --- STFT ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(
    data=st.data(),
    n_fft=st.integers(2, 1025),
    center=st.booleans(),
    window=st.sampled_from(["hann", "hamming", "rect"]),
)
def test_an_inverse_is_exact_or_an_error(data, n_fft: int, center: bool, window: str) -> None:
    win = data.draw(st.integers(2, n_fft), "win")
    config = STFT(n_fft, win, data.draw(st.integers(math.ceil(win / 256), win), "hop"), window, center)
    check_inverse(config, data.draw(st.integers(1 if center else n_fft, 5000), "samples"))


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("samples", [1, 185, 186, 187, 371, 372, 1023, 1024, 1025, 1535, 80_000])
def test_usual_transforms_have_an_inverse_up_to_the_last_sample(name: str, samples: int) -> None:
    if samples > SETTINGS[name].n_fft // 2 or SETTINGS[name].pad_mode != "reflect":
        assert check_inverse(SETTINGS[name], samples) < 1e-5


@pytest.mark.parametrize(("hop", "exact"), [(512, True), (768, True), (876, True), (896, False), (960, False)])
def test_where_hanns_inverse_ends(hop: int, exact: bool) -> None:
    assert (check_inverse(STFT(1024, hop_length=hop), 8000) is not None) == exact


def check_inverse(config: STFT, samples: int) -> float | None:
    """Largest error of a clip after an inverse, which is exact up to the last frame; ``None`` for a refused one."""
    waveform = noise(samples)
    spectrum = stft(waveform, config)
    assert spectrum.shape == (config.bins, config.frames(samples))
    squares = oracles.padded_window(config.window, config.win, config.n_fft) ** 2
    covered = min(squares[n :: config.hop].sum() if config.center else squares[n] for n in range(config.hop))
    if covered < 0.005:
        sizes = f"n_fft={config.n_fft}, win_length={config.win}, hop_length={config.hop}, window='{config.window}'"
        with pytest.raises(ConfigError, match=f"{sizes}.*{'hop_length=' if config.center else 'center=True'}"):
            istft(spectrum, config, samples)
        return None
    error = (istft(spectrum, config, samples) - waveform).abs()
    last = config.hop * (config.frames(samples) - 1)  # centre of the last frame; uncentred its start
    assert (error[: last + (1 if config.center else config.win)] < 1e-5).all()
    return float(error.max())


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


@pytest.mark.parametrize("name", [*SETTINGS, *UNCENTRED])
@pytest.mark.parametrize("samples", [700, 1213])
def test_stft_against_oracle(name: str, samples: int) -> None:
    s = {**SETTINGS, **UNCENTRED}[name]
    waveform = noise(samples, dtype=torch.float64)
    theirs = oracles.stft(waveform.numpy(), s.n_fft, s.win, s.hop, s.window, s.center, s.pad_mode)
    close(stft(waveform, s), theirs, 1e-12)
    close(stft(waveform.float(), s), theirs.astype(np.complex64), 1e-6)


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_istft_of_a_masked_spectrum_is_torchs(name: str) -> None:
    s = SETTINGS[name]
    window = torch.from_numpy(oracles.window(s.window, s.win))
    spectrum = stft(noise(2, 1234, dtype=torch.float64), s)
    masked = spectrum * noise(*spectrum.shape, seed=1, dtype=torch.float64).abs()
    theirs = torch.istft(masked, s.n_fft, s.hop, s.win, window, length=1234)
    close(istft(masked, s, 1234), theirs, 1e-11)


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


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mel_scale_and_back(scale: str) -> None:
    hz = torch.tensor([0.0, 1.0, 440.0, 999.9, 1000.0, 1000.1, 8000.0, 22_050.0], dtype=torch.float64)
    mel = dsp.hz_to_mel(hz, scale)
    close(mel, [oracles.hz_to_mel(float(f), scale) for f in hz], 1e-12)
    close(dsp.mel_to_hz(mel, scale), hz, 1e-12)
    close(dsp.mel_to_hz(mel, scale), [oracles.mel_to_hz(float(m), scale) for m in mel], 1e-12)
    assert (mel.diff() > 0).all()


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


# --- torchaudio ---------------------------------------------------------------------------------------------------


def test_spectrograms_and_decibels_are_torchaudios() -> None:
    clip = torch.from_numpy(oracles.synthetic_clip(0.25, 16_000)).expand(2, -1) * torch.tensor([[1.0], [0.03]])
    power = magnitude(stft(clip, STFT(512, 400, 100, pad_mode="reflect"))) ** 2
    close(power, torchaudio.transforms.Spectrogram(512, 400, 100)(clip), 1e-6)
    theirs = torchaudio.transforms.MelSpectrogram(16_000, 512, 400, 100, n_mels=30)(clip)
    close(torch.einsum("fm,bfn->bmn", melscale_fbanks(257, 0.0, 8000.0, 30, 16_000), power), theirs, 1e-5)
    for top_db in (None, 40.0):  # counted from the loudest of each clip, (B, C, M, N)
        decibels = torchaudio.functional.amplitude_to_DB(theirs[:, None], 10.0, 1e-10, 0.0, top_db)
        close(amplitude_to_db(theirs[:, None], top_db=top_db), decibels, 1e-6)
