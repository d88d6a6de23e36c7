"""Answers per frame as answers per clip: pooling, and transcripts by CTC against every path."""

import networks
import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import audioxai as ax
from audioxai.classifiers.sequences import CTC, Pooled, pool_frames
from audioxai.errors import ClassifierError, ConfigError, InputError, TargetError
from audioxai.testing import check_explainer

TOKENS = ("-", "|", "A", "B")


class Frames(nn.Module):
    """The token network without its pooling: a detector of events, (B, N, 4)."""

    def __init__(self):
        super().__init__()
        self.inner = networks.token_network().network

    def forward(self, log_mel):
        inner = self.inner
        return 3.0 * inner.head(inner.norm(inner.layer(inner.embed(log_mel))))


class Given(nn.Module):
    def forward(self, frames):
        return frames


def detector(network=None) -> ax.AudioClassifier:
    front = ax.LogMel(networks.RATE, 32)
    network = network or Pooled(Frames())
    labels = getattr(network, "labels", networks.LABELS)
    return ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=front, labels=labels).eval()


def test_pooling():
    frames = torch.randn(2, 5, 3)
    assert torch.equal(pool_frames(frames, "max"), frames.max(1).values)
    assert torch.equal(pool_frames(frames, "mean"), frames.sum(1) / 5)
    assert torch.equal(pool_frames(frames, lambda f: f[:, 1:3].mean(1)), (frames[:, 1] + frames[:, 2]) / 2)


@pytest.mark.parametrize(
    ("frames", "pool", "error", "words"),
    [
        (torch.zeros(2, 5, 3), "median", ConfigError, "'median'.*'max', 'mean'"),
        (torch.zeros(2, 5), "max", ClassifierError, r"\(B, N, K\); got \(2, 5\)"),
        (torch.zeros(2, 5, 3), lambda f: f, ClassifierError, r"got \(2, 5, 3\)"),
        (torch.zeros(2, 5, 3), lambda f: 1.0, ClassifierError, "got float"),
    ],
)
def test_bad_pooling(frames, pool, error, words):
    with pytest.raises(error, match=words):
        pool_frames(frames, pool)


def test_a_network_without_frames_is_refused():
    with pytest.raises(ClassifierError, match=r"\(B, N, K\); got \(2, 4\)"):
        Pooled(Given())(torch.zeros(2, 4))


def test_a_detector_is_explained_by_class_by_time_and_by_callable():
    classifier, clips = detector(), networks.clips(2)
    frames = classifier.network.network(classifier.features(clips))
    torch.testing.assert_close(classifier(clips), frames.amax(1))
    early = detector(Pooled(classifier.network.network, lambda f: f[:, :8].mean(1)))
    torch.testing.assert_close(early(clips), frames[:, :8].mean(1))
    saliency = ax.Saliency(early, space="waveform").attribute(clips, "rain")
    assert saliency.shape == clips.shape
    members = torch.tensor([[True, True, False, False]] * 2)
    sums = ax.GradCAM(classifier).attribute(clips, members)
    torch.testing.assert_close(sums, ax.GradCAM(classifier).attribute(clips, lambda y: y[:, 0] + y[:, 1]))
    check_explainer(ax.Saliency(classifier), networks.clips(3, 3000))


class Level(nn.Module):
    """A regression: the clip's level in dB, (B, 1)."""

    def forward(self, waveform):
        return 10 * torch.log10(waveform.square().mean(1, keepdim=True) + 1e-6)


def test_a_regression_is_explained_by_a_callable():
    classifier = ax.AudioClassifier(Level(), sample_rate=8000, multilabel=True)
    clip = torch.zeros(1, 4000)
    clip[:, 1000:2000] = 0.1
    found = ax.InputXGradient(classifier, space="waveform").attribute(clip, lambda level: level[:, 0])
    assert float(found[:, 1000:2000].sum() / found.sum()) == pytest.approx(1.0)
    close_to_30 = ax.InputXGradient(classifier, space="waveform").attribute(clip, lambda y: -(y[:, 0] + 30).square())
    assert close_to_30.sum() < 0  # it is at -26 dB, so what sounds speaks against
    with pytest.raises(TargetError, match="out of range"):
        ax.Saliency(classifier).attribute(clip, 1)


# --- CTC -----------------------------------------------------------------------------------------------------------


@given(
    frames=st.integers(1, 5),
    target=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    seed=st.integers(0, 999),
)
def test_a_transcripts_probability_is_the_sum_over_all_paths(frames, target, seed):
    logits = 2 * torch.randn(1, frames, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()
    network = CTC(Given(), [[TOKENS[k] for k in target]], TOKENS)
    expected = oracles.ctc_probability(logits[0].double().softmax(-1).tolist(), target)
    if expected == 0:
        with pytest.raises(InputError, match="pad the clip"):
            network(logits)
        return
    scores = network(logits)
    assert scores.shape == (1, 2)
    assert float(scores[0, 0].exp()) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(scores.softmax(1)[0].tolist(), [expected, 1 - expected], atol=1e-5)


def test_several_transcripts_share_one():
    logits = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    network = CTC(Given(), ["AB", "A B", "B"], TOKENS)
    assert network.labels == ("AB", "A B", "B", "(anything else)")
    probabilities = network(logits).softmax(1)
    for row, frames in zip(probabilities, logits.softmax(-1), strict=True):
        parts = [oracles.ctc_probability(frames.tolist(), code) for code in ([2, 3], [2, 1, 3], [3])]
        np.testing.assert_allclose(row.tolist(), [*parts, 1 - sum(parts)], atol=1e-5)


def test_what_was_heard():
    best = [[2, 2, 0, 2, 1, 3, 3, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
    logits = torch.nn.functional.one_hot(torch.tensor(best), 4).float()
    network = CTC(Given(), ["A"], TOKENS)
    assert network.transcribe(logits) == ["AA B", ""]
    assert CTC(Given(), ["A"], ("-", " ", "A", "B")).transcribe(logits) == ["AA B", " "]


def test_the_fingerprint_follows_the_transcripts():
    inner = Frames()
    prints = {detector(CTC(inner, texts, TOKENS)).fingerprint() for texts in (["AB"], ["BA"], ["AB", "BA"])}
    assert len(prints) == 3


def test_a_transcript_is_explained():
    classifier = detector(CTC(Frames(), ["AB", "BA"], TOKENS))
    assert classifier(networks.clips(2)).shape == (2, 3)
    check_explainer(
        ax.Saliency(classifier), networks.clips(3, 3000), only=["result", "composition", "targets", "silence"]
    )


@pytest.mark.parametrize(
    ("transcripts", "words"),
    [
        ([], "one or more, all different"),
        (["AB", "AB"], "one or more, all different"),
        (["AC"], "'C' of 'AC' is not known; nearest: "),
        ([""], "empty transcript"),
    ],
)
def test_bad_transcripts(transcripts, words):
    with pytest.raises(ConfigError, match=words):
        CTC(Given(), transcripts, TOKENS)


def test_a_clip_too_short_for_the_transcript():
    with pytest.raises(InputError, match="3 frames, but the transcript 'ABBA' needs 5; pad the clip"):
        CTC(Given(), ["ABBA"], TOKENS)(torch.zeros(1, 3, 4))
