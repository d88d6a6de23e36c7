"""Front ends against the recipe's pipeline, naive versions and transformers' extractors."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch

from audioxai.errors import ConfigError
from audioxai.sound.dsp import STFT, magnitude, melscale_fbanks, stft
from audioxai.sound.frontends import LogMel, LogSTFT, default_stft

LOGS = ["log1p", "log", "log10", "db", "none"]
LAYOUTS = ["BNM", "BMN", "B1NM", "B1MN"]
SMALL = STFT(256, 200, 80)


@pytest.fixture
def clips() -> torch.Tensor:
    clip = torch.from_numpy(oracles.synthetic_clip(0.125, 8000))
    return torch.stack([clip, 0.01 * clip.flip(0)])


def naive_log(values: np.ndarray, log: str, power: int, floor: float) -> np.ndarray:
    floored = np.maximum(values, floor)
    return {
        "log1p": lambda: np.log(1 + values),
        "log": lambda: np.log(floored),
        "log10": lambda: np.log10(floored),
        "db": lambda: (10 if power == 2 else 20) * np.log10(floored),
        "none": lambda: values,
    }[log]()


def naive_bands(clips: torch.Tensor, config: STFT, power: int, bank: np.ndarray | None) -> np.ndarray:
    """(B, T) to (B, M, N), or (B, F, N) without a bank."""
    rows = []
    for clip in clips.numpy():
        spectrum = oracles.stft(clip, config.n_fft, config.win, config.hop, config.window, pad_mode=config.pad_mode)
        values = np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-14) ** power
        rows.append(values if bank is None else bank.T @ values)
    return np.stack(rows)


def arrange(values: np.ndarray, layout: str) -> np.ndarray:
    """(B, M, N) to the layout."""
    values = values.transpose(0, 2, 1) if layout.endswith("NM") else values
    return values[:, None] if "1" in layout else values


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("power", [1, 2])
def test_log_mel_against_oracle(clips: torch.Tensor, log: str, power: int, layout: str) -> None:
    frontend = LogMel(8000, 12, f_min=30.0, stft=SMALL, log=log, power=power, floor=1e-5, layout=layout)
    bank = oracles.mel_filters(129, 30.0, 4000.0, 12, 8000)
    expected = arrange(naive_log(naive_bands(clips, SMALL, power, bank), log, power, 1e-5), layout)
    ours = frontend(clips)
    assert ours.shape == expected.shape
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [*LAYOUTS, "BNF", "B1FN"])
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("power", [1, 2])
def test_log_stft_against_oracle(clips: torch.Tensor, log: str, power: int, layout: str) -> None:
    frontend = LogSTFT(8000, stft=SMALL, log=log, power=power, floor=1e-3, layout=layout)
    values = naive_log(naive_bands(clips, SMALL, power, None), log, power, 1e-3)
    ours = frontend(clips)
    np.testing.assert_allclose(ours.numpy(), arrange(values, layout.replace("F", "M")), rtol=2e-5, atol=1e-4)
    assert frontend.time_first == (layout[-1] != "N")


@pytest.mark.parametrize(("scale", "norm"), [("slaney", "slaney"), ("slaney", None), ("htk", "slaney")])
def test_mel_options_reach_the_filters(clips: torch.Tensor, scale: str, norm: str | None) -> None:
    frontend = LogMel(8000, 12, f_min=50.0, f_max=3000.0, mel_scale=scale, norm=norm, stft=SMALL, log="none")
    bank = oracles.mel_filters(129, 50.0, 3000.0, 12, 8000, norm, scale)
    expected = arrange(naive_bands(clips, SMALL, 1, bank), "BNM")
    np.testing.assert_allclose(frontend(clips).numpy(), expected, rtol=2e-5, atol=1e-6 * expected.max())


def test_defaults_are_the_recipes_pipeline() -> None:
    waveform = torch.from_numpy(oracles.synthetic_clip(0.5, 16_000))[None]
    frontend = LogMel(16_000, triangles="reference")
    bank = oracles.mel_filters(513, 0.0, 8000.0, 80, 16_000, triangles="reference")
    spectrum = oracles.stft(waveform[0].numpy(), 1024, 372, 186, "hamming")
    expected = np.log1p(bank.T @ np.sqrt(np.abs(spectrum) ** 2 + 1e-14)).T
    ours = frontend(waveform)[0].numpy()
    assert ours.shape == (44, 80)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=3e-6)
    standard = LogMel(16_000)(waveform)[0].numpy()
    assert np.abs(standard - expected).max() > 0.01


@pytest.mark.parametrize(
    ("rate", "n_fft", "win", "hop"),
    [(16_000, 1024, 372, 186), (44_100, 1024, 1024, 512), (22_050, 1024, 512, 256), (48_000, 2048, 1115, 557)],
)
def test_default_transform_follows_the_rate(rate: int, n_fft: int, win: int, hop: int) -> None:
    assert default_stft(rate) == STFT(n_fft, win, hop, "hamming")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("power", [1, 2])
def test_every_entry_gives_the_same_features(clips: torch.Tensor, power: int, layout: str) -> None:
    frontend = LogMel(8000, 20, stft=SMALL, power=power, log="db", layout=layout)
    values = magnitude(stft(clips, SMALL))
    mel = frontend.to_mel(values)
    assert mel.shape == (2, 20, 13)
    bank = torch.from_numpy(oracles.mel_filters(129, 0.0, 4000.0, 20, 8000)).float()
    torch.testing.assert_close(mel, bank.T @ values**power, rtol=1e-4, atol=1e-5)
    assert torch.equal(frontend.from_magnitude(values), frontend(clips))
    assert torch.equal(frontend.from_mel(mel), frontend(clips))
    spectral = LogSTFT(8000, stft=SMALL, power=power, layout=layout)
    assert torch.equal(spectral.from_magnitude(values), spectral(clips))


@pytest.mark.parametrize("kind", [LogMel, LogSTFT])
@pytest.mark.parametrize("log", LOGS)
@pytest.mark.parametrize("power", [1, 2])
def test_gradient_is_right_and_finite_on_silence(kind, log: str, power: int) -> None:
    frontend = kind(
        8000, stft=STFT(64, 48, 20), power=power, log=log, floor=1e-5, **({"n_mels": 6} if kind is LogMel else {})
    )
    waveform = 0.5 * torch.from_numpy(oracles.synthetic_clip(0.02, 8000))[None]
    waveform[:, 60:90] += 0.1
    waveform.requires_grad_()
    weights = torch.rand(frontend(waveform).shape, generator=torch.Generator().manual_seed(0))

    def score(x: torch.Tensor) -> torch.Tensor:
        return (weights * frontend(x)).sum()

    (gradient,) = torch.autograd.grad(score(waveform), waveform)
    direction = torch.rand(waveform.shape, generator=torch.Generator().manual_seed(1)) - 0.5
    step = 1e-3
    with torch.no_grad():
        slope = (score(waveform + step * direction) - score(waveform - step * direction)) / (2 * step)
    expected = float((gradient * direction).sum())
    assert float(slope) == pytest.approx(expected, rel=0.02, abs=0.01 * float(gradient.norm() * direction.norm()))

    silence = torch.zeros(1, 160, requires_grad=True)
    features = frontend(silence)
    assert features.isfinite().all()
    features.sum().backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize("log", ["log1p", "db"])
def test_autocast_changes_nothing(clips: torch.Tensor, log: str) -> None:
    for frontend in (LogMel(8000, 12, stft=SMALL, log=log), LogSTFT(8000, stft=SMALL, log=log)):
        outside = frontend(clips)
        values = magnitude(stft(clips, SMALL))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(frontend(clips), outside)
            assert torch.equal(frontend.from_magnitude(values), outside)
            assert torch.equal(frontend(clips.bfloat16()), frontend(clips.bfloat16().float()))
            assert frontend(clips.bfloat16()).dtype == torch.float32
            if isinstance(frontend, LogMel):
                assert torch.equal(frontend.from_mel(frontend.to_mel(values)), outside)


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"power": 3}, "power=3"),
        ({"power": 0}, "power=0"),
        ({"log": "log2"}, "'log2'"),
        ({"layout": "NMB"}, "'NMB'"),
        ({"layout": "B2NM"}, "'B2NM'"),
        ({"log": "db", "floor": 0.0}, "floor=0.0.*'db'"),
        ({"log": "log10", "floor": -1.0}, "floor=-1.0.*'log10'"),
    ],
)
@pytest.mark.parametrize("kind", [LogMel, LogSTFT])
def test_bad_options(kind, options: dict, quoted: str) -> None:
    with pytest.raises(ConfigError, match=quoted):
        kind(16_000, **options)


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"n_mels": 0}, "n_mels=0"),
        ({"f_min": 9000.0}, "f_min=9000.0, f_max=8000.0"),
        ({"f_min": -1.0}, "f_min=-1.0"),
        ({"mel_scale": "bark"}, "'bark'"),
        ({"norm": "max"}, "'max'"),
        ({"triangles": "square"}, "'square'"),
    ],
)
def test_bad_mel_options(options: dict, quoted: str) -> None:
    with pytest.raises(ConfigError, match=quoted):
        LogMel(16_000, **options)


def test_config_tells_every_option() -> None:
    options = {
        "n_mels": 20,
        "f_min": 10.0,
        "f_max": 3000.0,
        "mel_scale": "slaney",
        "norm": "slaney",
        "triangles": "reference",
        "power": 2,
        "log": "db",
        "floor": 1e-6,
        "layout": "B1MN",
    }
    config = LogMel(8000, stft=SMALL, **options).config()
    assert config == {"type": "LogMel", "sample_rate": 8000, "stft": SMALL.to_dict(), **options}


def test_filters_move_with_the_module_and_stay_out_of_its_state() -> None:
    frontend = LogMel(8000, 12, stft=SMALL)
    assert dict(frontend.state_dict()) == {}
    assert frontend.to(torch.float64).bank.dtype == torch.float64
    torch.testing.assert_close(LogMel(8000, 12, stft=SMALL).bank, melscale_fbanks(129, 0.0, 4000.0, 12, 8000))


# --- transformers -------------------------------------------------------------------------------------------------

CLAP_STFT = STFT(1024, 1024, 480, "hann", pad_mode="reflect")
# A short clip's "fusion" uses the HTK filters, "rand_trunc" (the unfused checkpoints) Slaney's.
CLAP_MEL = {"fusion": {"mel_scale": "htk", "norm": None}, "rand_trunc": {"mel_scale": "slaney", "norm": "slaney"}}


def clap_frontend(truncation: str) -> LogMel:
    spectral = {"stft": CLAP_STFT, "power": 2, "log": "db", "floor": 1e-10}
    return LogMel(48_000, 64, f_min=50.0, f_max=14_000.0, **CLAP_MEL[truncation], **spectral)


def whisper_features(waveform: torch.Tensor) -> torch.Tensor:
    """(B, T) to (B, 80, N): the front end, then what Whisper does to a whole clip."""
    whisper = STFT(400, 400, 160, "hann", pad_mode="reflect")
    mel = {"mel_scale": "slaney", "norm": "slaney"}
    frontend = LogMel(16_000, 80, **mel, stft=whisper, power=2, log="log10", floor=1e-10, layout="BMN")
    features = frontend(waveform)[..., :-1]
    features = torch.maximum(features, features.amax((1, 2), keepdim=True) - 8.0)
    return (features + 4.0) / 4.0


def clip_and_noise(seconds: float, rate: int) -> list[torch.Tensor]:
    clip = torch.from_numpy(oracles.synthetic_clip(seconds, rate))[None]
    return [clip, 0.1 * torch.rand(clip.shape, generator=torch.Generator().manual_seed(0)) - 0.05]


@pytest.mark.parametrize("truncation", ["fusion", "rand_trunc"])
def test_log_mel_is_claps(truncation: str) -> None:
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    clap = transformers.ClapFeatureExtractor(frequency_min=50, max_length_s=0.6, truncation=truncation)
    for clip in clip_and_noise(0.6, 48_000):
        clap.nb_max_samples = clip.shape[1]
        theirs = clap(clip[0].numpy(), sampling_rate=48_000, return_tensors="np")["input_features"][0, 0]
        # transformers works in float64. Float32 rounding is 2e-4 dB in bands 70 dB below the loudest.
        np.testing.assert_allclose(clap_frontend(truncation)(clip)[0].numpy(), theirs, rtol=0, atol=5e-4)


def test_log_mel_is_whispers() -> None:
    whisper = pytest.importorskip("transformers", exc_type=ImportError).WhisperFeatureExtractor()
    for clip in clip_and_noise(0.6, 16_000):
        theirs = whisper(clip[0].numpy(), sampling_rate=16_000, padding="longest", return_tensors="np")
        np.testing.assert_allclose(whisper_features(clip).numpy(), theirs["input_features"], rtol=0, atol=1e-5)
