"""Adapters of functions, image networks, SpeechBrain and torchaudio, on stand-ins with the parts that they look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from stand_ins import LABELS, RATE, bands, bundle, encoder_classifier, image_network, session
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError
from audioxai.testing import check_explainer

CLIPS = 0.1 * torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))


def one_at_a_time(sound: np.ndarray) -> np.ndarray:
    if len(sound) != 1:
        raise Exception("Got: 2 Expected: 1")  # ONNX Runtime's errors are no RuntimeError
    return bands(sound)


def tone(hertz: float) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz / RATE * torch.arange(4000))[None]


# A function -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [bands, session()])
def test_a_function_is_explained_by_its_scores_alone(function):
    classifier = ax.from_callable(function, RATE, LABELS)
    torch.testing.assert_close(classifier(CLIPS), torch.from_numpy(bands(CLIPS.numpy())))
    explainer = ax.Occlusion(classifier, tiles=(4, 2), progress=False)
    check_explainer(explainer)
    both = tone(500) + tone(3500)
    mask = explainer.explain(both, "low").mask[0]
    rows = mask.shape[0] // 2
    assert mask[:rows].mean() > 3 * mask[rows:].mean()


def test_probabilities_become_logits():
    shares = lambda sound: np.exp(bands(sound)) / np.exp(bands(sound)).sum(1, keepdims=True)  # noqa: E731
    classifier = ax.from_callable(shares, RATE, LABELS, probabilities=True)
    np.testing.assert_allclose(classifier(CLIPS).softmax(1), shares(CLIPS.numpy()), rtol=1e-4)
    with pytest.raises(ClassifierError, match=r"probabilities=True, but the function returned scores from -?\d"):
        ax.from_callable(bands, RATE, LABELS, probabilities=True)


@pytest.mark.parametrize("method", [ax.Saliency, ax.IntegratedGradients, ax.GradCAM])
def test_methods_that_need_more_than_scores_refuse_a_function(method):
    with pytest.raises(ClassifierError):
        method(ax.from_callable(bands, RATE, LABELS)).explain(CLIPS)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (3, "takes a function of an array"),
        (lambda sound: bands(sound)[:, 0], r"must return \(1, K\) scores"),
        (lambda sound: bands(sound) - bands(sound).mean(0), "change by .* with the other clips"),
        (one_at_a_time, r"failed on an array \(2, 8000\): Got: 2 Expected: 1.* one at a time"),
    ],
)
def test_what_is_no_function_of_a_clip(function, words):
    with pytest.raises((ConfigError, ClassifierError), match=words):
        ax.from_callable(function, RATE, LABELS)


def test_a_function_of_one_clip_at_a_time_is_taken_as_the_error_says():
    whole = ax.from_callable(lambda clips: np.concatenate([one_at_a_time(clip[None]) for clip in clips]), RATE, LABELS)
    np.testing.assert_allclose(whole(CLIPS), bands(CLIPS.numpy()))


# Networks for images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, (48, 32)])
def test_an_image_network_sees_a_normalised_picture(size):
    network, frontend = image_network(), ax.LogMel(RATE, 32, layout="B1MN")
    mean, std = [0.1, 0.2, 0.3], [1.0, 2.0, 3.0]

    def own(clip):
        picture = frontend(clip)
        if size is not None:
            picture = nn.functional.interpolate(picture, size=size, mode="bilinear", antialias=True)
        planes = [(picture - m) / s for m, s in zip(mean, std, strict=True)]
        return network(torch.cat(planes, 1))

    classifier = ax.from_image_network(
        network, frontend, sample_rate=RATE, labels=LABELS, size=size, mean=mean, std=std, own=own
    )
    torch.testing.assert_close(classifier(CLIPS), own(CLIPS), rtol=1e-4, atol=1e-5)
    for explainer in (ax.Saliency(classifier), ax.GradCAM(classifier)):
        check_explainer(explainer)
    assert ax.LMAC(classifier, width=8).fit([CLIPS], epochs=1, progress=False).explain(CLIPS).mask.shape[0] == 2


def test_an_image_network_that_answers_otherwise_is_refused():
    network, frontend = image_network(), ax.LogMel(RATE, 32, layout="B1MN")
    with pytest.raises(ClassifierError, match="differ from its own by"):
        ax.from_image_network(
            network, frontend, sample_rate=RATE, own=lambda clip: network(frontend(clip).expand(-1, 3, -1, -1) + 1)
        )
    with pytest.raises(ConfigError, match=r"need 3 value\(s\)"):
        ax.from_image_network(network, frontend, sample_rate=RATE, mean=[0.0])


# SpeechBrain ----------------------------------------------------------------------------------------------------------


def test_speechbrain_is_read_from_its_parts():
    model = encoder_classifier()
    classifier = ax.from_speechbrain(model)
    assert (classifier.sample_rate, classifier.labels) == (RATE, tuple(LABELS))
    torch.testing.assert_close(classifier(CLIPS), model.classify_batch(CLIPS)[0])
    for explainer in (ax.Saliency(classifier), ax.GradCAM(classifier)):
        check_explainer(explainer)
    parts = dict(model.mods.items())
    assert torch.equal(ax.from_speechbrain(parts, sample_rate=RATE)(CLIPS), classifier(CLIPS))


def test_what_speechbrain_lacks():
    model = encoder_classifier()
    with pytest.raises(ConfigError, match="does not tell its sample rate"):
        ax.from_speechbrain(dict(model.mods.items()))
    del model.mods["classifier"]
    with pytest.raises(ConfigError, match="no module classifier"):
        ax.from_speechbrain(model)
    model = encoder_classifier()
    right = model.classify_batch
    model.classify_batch = lambda clip: (right(clip)[0] + 1, None)
    with pytest.raises(ClassifierError, match="differ from its own by"):
        ax.from_speechbrain(model)


# torchaudio -----------------------------------------------------------------------------------------------------------


def test_torchaudio_pipelines_answer_for_tokens_or_transcripts():
    given = bundle()
    tokens = ax.from_torchaudio(given)
    frames = given.get_model()(CLIPS)[0].log_softmax(-1)
    torch.testing.assert_close(tokens(CLIPS), frames.amax(1))
    check_explainer(ax.Saliency(tokens))
    check_explainer(ax.GradCAM(tokens))
    said = ax.from_torchaudio(given, ["ab", "ba"])
    assert said.labels == ("ab", "ba", "(anything else)")
    target = torch.tensor([[1, 2]]).expand(len(CLIPS), -1)
    lengths = torch.full((len(CLIPS),), frames.shape[1]), torch.full((len(CLIPS),), 2)
    loss = nn.functional.ctc_loss(frames.transpose(0, 1), target, *lengths, reduction="none")
    torch.testing.assert_close(said(CLIPS)[:, 0], -loss)


def test_what_is_no_pipeline():
    with pytest.raises(ConfigError, match="takes a bundle"):
        ax.from_torchaudio(3)
    headless = bundle()
    del headless.get_labels
    with pytest.raises(ClassifierError, match="no head"):
        ax.from_torchaudio(headless)
    with pytest.raises(ConfigError, match="token 'z'"):
        ax.from_torchaudio(bundle(), ["az"])
