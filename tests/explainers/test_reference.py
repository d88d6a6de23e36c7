"""The published settings, quirks included. Source: the L-MAC recipe, its development history."""

import networks
import pytest
import torch
from torch.nn import functional as F

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.explainers.target_score import generators_of

CLIPS = networks.clips(2, 4000)
PUBLISHED = [
    ax.Saliency, ax.SmoothGrad, ax.IntegratedGradients, ax.GradCAM, ax.GuidedBackprop, ax.GuidedGradCAM,
    ax.GradientSHAP, ax.AllOnes,
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")


def over_max(attribution):
    values = attribution.abs()
    return values / values.amax((1, 2), keepdim=True)


@pytest.mark.parametrize("space", ["stft", "mel"])
@pytest.mark.parametrize("method", PUBLISHED)
def test_common_frame(method, space):
    """The log1p scale, the predicted class's logit, |A| / max |A|."""
    explainer = method.reference(networks.log_mel_cnn(), space=space)
    result = explainer.explain(CLIPS)
    assert result.scale == "log1p"
    if method is not ax.AllOnes:
        torch.testing.assert_close(result.mask, over_max(result.attribution))


def test_guided_backprop_is_plain_saliency():
    classifier = networks.log_mel_cnn()
    rows = [method.reference(classifier).attribute(CLIPS) for method in (ax.Saliency, ax.GuidedBackprop)]
    torch.testing.assert_close(*rows)
    assert not torch.allclose(ax.GuidedBackprop(classifier).attribute(CLIPS), rows[0], atol=1e-6)


def test_smooth_grad_is_saliency_at_one_noisy_point():
    classifier = networks.log_mel_cnn()
    explainer = ax.SmoothGrad.reference(classifier)
    analysis = explainer.space.analyse(CLIPS)
    noisy = []
    for value, generator in zip(analysis.values, generators_of(CLIPS, explainer.seed), strict=True):
        noise = torch.randn(value.shape, generator=generator).abs()
        noisy.append(value + 0.15 * (value.max() - value.min()) * noise)
    leaf = torch.stack(noisy).requires_grad_()
    (gradient,) = torch.autograd.grad(explainer.space.predict(leaf, analysis)[:, 1].sum(), leaf)
    torch.testing.assert_close(explainer.attribute(CLIPS, 1), gradient, rtol=1e-4, atol=1e-8)


def test_grad_cam_repeats_cells_of_the_last_block():
    classifier = networks.log_mel_cnn()
    explainer = ax.GradCAM.reference(classifier)
    logits, latents = classifier.classify_with_latents(classifier.features(CLIPS), differentiable=True)
    maps = classifier.as_maps(latents)[-1]
    gradient = classifier.as_maps(torch.autograd.grad(logits[:, 1].sum(), latents))[-1]
    cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).detach()
    result = explainer.explain(CLIPS, 1)
    expected = F.interpolate(cam[:, None], result.mask.shape[1:], mode="nearest")[:, 0]
    torch.testing.assert_close(result.mask, over_max(expected), rtol=1e-4, atol=1e-6)
    guided = ax.GuidedGradCAM.reference(classifier).attribute(CLIPS, 1)
    saliency = ax.Saliency(classifier).attribute(CLIPS, 1)
    torch.testing.assert_close(guided, expected.clamp(min=0) * saliency, rtol=1e-4, atol=1e-8)


def test_shap_starts_from_three_draws_of_noise():
    explainer = ax.GradientSHAP.reference(networks.log_mel_cnn())
    assert explainer.n_samples == 5
    drawn = explainer.baseline(torch.zeros(2, 40, 50), [torch.Generator().manual_seed(s) for s in (1, 2)])
    assert drawn.shape == (3, 2, 40, 50)
    assert drawn.min() >= 0
    assert float(drawn.mean()) == pytest.approx((2 / torch.pi) ** 0.5, abs=0.02)


def test_integrated_gradients_take_fifty_steps_from_silence():
    explainer = ax.IntegratedGradients.reference(networks.log_mel_cnn())
    assert (explainer.n_steps, explainer.baseline) == (50, "silence")


@pytest.mark.parametrize(
    "method",
    [
        ax.InputXGradient,
        ax.GradCAMPlusPlus,
        ax.ScoreCAM,
        ax.GScoreCAM,
        ax.DeepSHAP,
        ax.KernelSHAP,
        ax.Occlusion,
        ax.LIME,
    ],
)
def test_what_was_never_published_has_no_reference(method):
    with pytest.raises(ConfigError, match=f"{method.__name__} is in no published table; build it with"):
        method.reference(networks.log_mel_cnn())


def test_options_may_be_overridden():
    explainer = ax.GradCAM.reference(networks.log_mel_cnn(), space="mel", scale="magnitude")
    assert (explainer.space.name, explainer.space.scale, explainer.resize) == ("mel", "magnitude", "nearest")
