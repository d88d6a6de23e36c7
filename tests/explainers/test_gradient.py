"""Gradient methods: closed forms on linear networks, Captum as the second witness, and what they refuse."""

import networks
import pytest
import torch
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError, InputError

METHODS = [ax.Saliency, ax.InputXGradient, ax.SmoothGrad, ax.IntegratedGradients]


class Linear(nn.Module):
    """Logits linear in the mean magnitude of each STFT bin."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(513, 4))

    def forward(self, magnitude):
        return magnitude.mean(1) @ self.weight


def linear():
    frontend = ax.LogSTFT(networks.RATE, log="none")
    return ax.AudioClassifier(Linear(), sample_rate=networks.RATE, frontend=frontend, labels=networks.LABELS)


@pytest.mark.parametrize("method", METHODS)
def test_closed_forms_on_a_linear_network(method):
    classifier, clips = linear(), networks.clips(3, 4000)
    explainer = method(classifier, scale="magnitude")
    found = explainer.attribute(clips, [2, 0, 1])
    values = explainer.space.analyse(clips).values
    gradient = classifier.network.weight.detach().T[[2, 0, 1]][:, :, None].expand_as(values) / values.shape[2]
    expected = gradient if method in (ax.Saliency, ax.SmoothGrad) else gradient * values
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("ignore:integrated gradients miss")
@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN"])
def test_equal_to_the_bare_library(network, space):
    from captum import attr

    classifier, clips = networks.NETWORKS[network](), networks.clips(2, 4000)
    target = [3, 1]
    for method, bare, options in (
        (ax.Saliency, attr.Saliency, {"abs": False}),
        (ax.InputXGradient, attr.InputXGradient, {}),
        (ax.IntegratedGradients, attr.IntegratedGradients, {"n_steps": 50, "internal_batch_size": 2}),
    ):
        explainer = method(classifier, space=space)
        analysis = explainer.space.analyse(clips)

        def forward(values, rows, explainer=explainer, analysis=analysis):
            return explainer.space.predict(values, analysis.rows(rows))

        leaf = analysis.values.clone().requires_grad_()
        rows = torch.arange(2)
        if method is ax.IntegratedGradients:
            parts = [
                bare(forward).attribute(
                    leaf[i : i + 1], target=target[i], additional_forward_args=(rows[i : i + 1],), **options
                )
                for i in range(2)
            ]
            expected = torch.cat(parts)
        else:
            expected = bare(forward).attribute(leaf, target=target, additional_forward_args=(rows,), **options)
        torch.testing.assert_close(explainer.attribute(clips, target), expected.detach(), rtol=1e-4, atol=1e-6)


def test_integrated_gradients_add_up_and_say_when_not():
    explainer = ax.IntegratedGradients(networks.log_mel_cnn(), scale="magnitude")
    clips = networks.clips(2, 4000)
    attribution = explainer.attribute(clips, 1)
    logits = [explainer.classifier(x)[:, 1] for x in (clips, torch.zeros_like(clips))]
    torch.testing.assert_close(attribution.sum((1, 2)), (logits[0] - logits[1]).detach(), rtol=0.05, atol=0.02)
    assert explainer.gap_.shape == (2,)
    hasty = ax.IntegratedGradients(networks.log_mel_cnn(), n_steps=1)
    with pytest.warns(UserWarning, match="raise n_steps=1"):
        hasty.attribute(clips, 1)
    assert hasty.gap_.max() > 0.05


def test_a_baseline_of_ones_own():
    explainer = ax.IntegratedGradients(linear(), scale="magnitude", baseline=0.5)
    clips = networks.clips(1, 4000)
    values = explainer.space.analyse(clips).values
    gradient = explainer.classifier.network.weight.detach().T[[2]][:, :, None] / values.shape[2]
    torch.testing.assert_close(explainer.attribute(clips, 2), gradient * (values - 0.5), rtol=1e-4, atol=1e-6)
    with pytest.raises(InputError, match=r"\(3, 3\)"):
        ax.IntegratedGradients(linear(), baseline=torch.zeros(3, 3)).explain(clips)


def test_smooth_grad_averages_seeded_draws():
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    found = ax.SmoothGrad(classifier, n_samples=3, noise=0.2, seed=4).attribute(clips, 0)
    explainer = ax.Saliency(classifier, seed=4)
    analysis = explainer.space.analyse(clips)
    generators = explainer._generators(clips)
    total = 0
    for _ in range(3):
        copies = []
        for value, generator in zip(analysis.values, generators, strict=True):
            noise = torch.randn(value.shape, generator=generator) * 0.2 * (value.max() - value.min())
            copies.append((value + noise).clamp(min=0))
        leaf = torch.stack(copies).requires_grad_()
        total = total + torch.autograd.grad(explainer.space.predict(leaf, analysis)[:, 0].sum(), leaf)[0]
    torch.testing.assert_close(found, total / 3, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda c: ax.IntegratedGradients(c, n_steps=0), "n_steps=0"),
        (lambda c: ax.SmoothGrad(c, n_samples=0), "n_samples=0"),
        (lambda c: ax.SmoothGrad(c, noise=0.0), "noise=0.0"),
    ],
)
def test_bad_options(make, words):
    with pytest.raises(ConfigError, match=words):
        make(networks.log_mel_cnn())


class Detached(nn.Module):
    def forward(self, waveform):
        return waveform.detach()[:, :4]


@pytest.mark.parametrize("method", METHODS)
def test_a_network_without_gradients_is_refused(method):
    classifier = ax.AudioClassifier(Detached(), sample_rate=networks.RATE, labels=networks.LABELS)
    with pytest.raises(ClassifierError, match="differentiable"):
        method(classifier, space="waveform").explain(networks.clips())
