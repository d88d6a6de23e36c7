"""Whisper's log-mel: its extractor's, for clips of every length up to its window."""

from __future__ import annotations

import pytest
import tiny_models
import torch
from hypothesis import given
from hypothesis import strategies as st

import audioxai as ax
from audioxai.adapters.whisper import whisper

RATE = tiny_models.RATE
FULL = 2 * RATE


@pytest.fixture(scope="module")
def wrapped():
    model, extractor = tiny_models.make("Whisper")
    network, frontend = whisper(model, extractor, None)
    return network, frontend, extractor


def gap(wrapped, clip: torch.Tensor) -> float:
    network, frontend, extractor = wrapped
    ours = network.inputs(frontend(clip[None]))
    theirs = extractor(clip.numpy(), sampling_rate=RATE, return_tensors="pt")["input_features"]
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max())


lengths = st.one_of(st.integers(1, FULL), st.integers(FULL - 500, FULL), st.integers(1, 700))


@given(samples=lengths, level=st.sampled_from([0.0, 1e-5, 1e-2, 1.0]), seed=st.integers(0, 99))
def test_features_are_the_extractors(wrapped, samples, level, seed):
    generator = torch.Generator().manual_seed(seed)
    clip = level * torch.randn(samples, generator=generator)
    clip[samples // 3 : samples // 2] = 0.0
    assert gap(wrapped, clip) <= 1e-4


def test_maps_hold_the_clip_alone(wrapped):
    classifier = ax.from_huggingface(*tiny_models.make("Whisper"))
    for samples, steps in ((320, 1), (16000, 50), (16001, 51), (FULL, 100)):
        features = classifier.features(torch.zeros(1, samples))
        maps = classifier.as_maps(classifier.classify_with_latents(features)[1])
        assert {m.shape[2] for m in maps} == {1}
        assert all(abs(m.shape[3] - steps) <= 1 for m in maps)


def test_the_gradient_is_finite_on_silence(wrapped):
    _, frontend, _ = wrapped
    clip = torch.zeros(1, 4000, requires_grad=True)
    frontend(clip).sum().backward()
    assert clip.grad.isfinite().all()
