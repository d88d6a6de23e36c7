"""Kaldi's filter banks against a naive version and, where it is installed, AST's extractor."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.sound.kaldi import kaldi_fbank

CLIP = torch.from_numpy(oracles.synthetic_clip(0.3, 16_000))[None]


@pytest.mark.parametrize("window", ["povey", "hanning", "hamming", "rectangular"])
def test_against_the_oracle(window: str) -> None:
    clip = torch.stack([CLIP[0, :1500], 0.01 * CLIP[0, 500:2000]])
    ours = kaldi_fbank(clip, num_mel_bins=20, low_freq=30.0, high_freq=7000.0, window_type=window)
    assert ours.shape == (2, 7, 20)
    assert ours.dtype == torch.float32
    for got, x in zip(ours, clip, strict=True):
        expected = oracles.kaldi_fbank(x.numpy(), 16_000, 20, 30.0, 7000.0, window)
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-5)


def test_frames_preemphasis_and_offset_against_the_oracle() -> None:
    clip = CLIP[:, :1500] + 0.3
    for rate, high in ((16_000, 0.0), (8000, -400.0)):  # below zero: counted from half the rate
        options = {"sample_frequency": rate, "high_freq": high, "frame_length": 30.0, "frame_shift": 7.0}
        ours = kaldi_fbank(clip, preemphasis_coefficient=0.5, remove_dc_offset=False, **options)
        expected = oracles.kaldi_fbank(
            clip[0].numpy(), rate, 23, 20.0, rate / 2 + high, "povey", 30.0, 7.0, preemphasis=0.5, dc=False
        )
        np.testing.assert_allclose(ours[0].numpy(), expected, rtol=0, atol=1e-5)
    with_offset = kaldi_fbank(clip, num_mel_bins=12)
    torch.testing.assert_close(with_offset, kaldi_fbank(clip - 0.3, num_mel_bins=12), rtol=0, atol=1e-3)


def extractor():
    return pytest.importorskip("transformers", exc_type=ImportError).ASTFeatureExtractor()


def compare_with_ast(clip: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Our logarithms (N, M) of a clip (1, T), and how far those of AST's extractor are from them."""
    ast = extractor()
    ours = ax.KaldiFbank(16_000, 128, mean=ast.mean, std=2 * ast.std, window_type="hanning")(clip)[0].numpy()
    theirs = ast(clip[0].numpy(), sampling_rate=16_000, return_tensors="np")["input_values"][0]
    assert np.abs(theirs[len(ours) :] + ast.mean / (2 * ast.std)).max(initial=0) <= 1e-6  # padded with zeros
    return ours * 2 * ast.std, np.abs(theirs[: len(ours)] - ours) * 2 * ast.std


def check_ast(clip: torch.Tensor) -> None:
    """Equal to transformers' own filter bank, in NumPy's float64, which it takes where torchaudio is absent.

    Torchaudio's in float32 rounds by the loudest band of a frame, 4 of its last digits here; and its filters as
    above, which is 6e-4 of a logarithm in a band without a bin near its centre.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(type(extractor()).__init__.__globals__, "is_speech_available", lambda: False)
        assert compare_with_ast(clip)[1].max() <= 1e-5
    ours, difference = compare_with_ast(clip)
    quiet = np.exp((ours.max(1, keepdims=True) - ours) / 2)  # amplitude of the loudest band over a band's own
    assert (difference <= 6e-4 + 4 * np.finfo(np.float32).eps * quiet).all()


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@given(samples=st.integers(400, 9000), level=st.sampled_from([1e-6, 1e-3, 0.1, 1.0]), seed=st.integers(0, 99))
def test_it_is_asts_extractor(samples: int, level: float, seed: int) -> None:
    clip = level * torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))
    check_ast(clip)


def test_the_gradient_is_right_and_finite_on_silence() -> None:
    front = ax.KaldiFbank(16_000, 12)
    clip = CLIP[:, :800].clone().requires_grad_()
    weights = torch.rand(front(clip).shape, generator=torch.Generator().manual_seed(0))

    def score(x: torch.Tensor) -> torch.Tensor:
        return (weights * kaldi_fbank(x, num_mel_bins=12)).sum()

    (gradient,) = torch.autograd.grad((weights * front(clip)).sum(), clip)
    direction = torch.rand(clip.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    with torch.no_grad():
        slope = (score(clip.double() + 1e-5 * direction) - score(clip.double() - 1e-5 * direction)) / 2e-5
    assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=1e-3)
    silence = torch.zeros(1, 800, requires_grad=True)
    front(silence).sum().backward()
    assert silence.grad.isfinite().all()


def test_the_front_end_stays_in_float32_and_tells_its_settings() -> None:
    front = ax.KaldiFbank(16_000, 12, mean=-4.0, std=2.0, window_type="hanning")
    plain = kaldi_fbank(CLIP, num_mel_bins=12, window_type="hanning")
    torch.testing.assert_close(front(CLIP), (plain + 4.0) / 2.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(front(CLIP), (plain + 4.0) / 2.0)
    assert front.time_first
    network = torch.nn.Linear(1, 1)
    prints = {
        ax.AudioClassifier(network, sample_rate=16_000, frontend=f).fingerprint()
        for f in (front, ax.KaldiFbank(16_000, 12), ax.KaldiFbank(16_000, 12, low_freq=30.0), ax.KaldiFbank(16_000, 13))
    }
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window_type": "hann"}, "window_type='hann'.*'hanning'"),
        ({"num_mel_bins": 0}, "num_mel_bins=0"),
        ({"low_freq": 9000.0}, "from 9000.0"),
        ({"high_freq": 9000.0}, "to 9000.0"),
        ({"low_freq": -1.0}, "from -1.0"),
        ({"frame_length": 0.01}, "0.01 ms"),
        ({"frame_shift": 0.0}, "every 0.0 ms"),
        ({"dither": 1.0}, "dither.*options are those"),
        ({"std": 0.0}, "std=0.0"),
    ],
)
def test_bad_options(options: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ax.KaldiFbank(16_000, **{"num_mel_bins": 20, **options})


def test_a_clip_shorter_than_a_frame() -> None:
    with pytest.raises(InputError, match=r"399 samples has no frame of 400; pad"):
        kaldi_fbank(torch.zeros(1, 399))
