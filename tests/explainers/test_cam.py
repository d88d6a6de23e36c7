"""GradCAM against the equations, on a network small enough to differentiate by hand."""

import networks
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError

RATE = networks.RATE


class Pooled(nn.Module):
    """Three fixed maps of the spectrogram, their means weighted: gradients are the weights over the cells."""

    weights = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])

    def __init__(self):
        super().__init__()
        self.maps = nn.Conv2d(1, 3, 1, bias=False)
        with torch.no_grad():
            self.maps.weight.copy_(torch.tensor([1.0, 2.0, -1.0]).reshape(3, 1, 1, 1))
        self.spare = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        self.spare(x)
        return self.maps(x).mean((2, 3)) @ self.weights.T


def pooled(**options):
    frontend = ax.LogSTFT(RATE, layout="B1FN")
    return ax.AudioClassifier(Pooled(), sample_rate=RATE, frontend=frontend, **options)


@pytest.mark.parametrize("target", [0, 1])
def test_the_map_is_the_weighted_sum_of_the_channels(target):
    classifier = pooled(layers=["maps"])
    clips = networks.clips(2, 3000)
    result = ax.GradCAM(classifier).explain(clips, target)
    spectrogram = classifier.features(clips)[:, 0]
    cells = spectrogram[0].numel()
    weight = (Pooled.weights[target] * torch.tensor([1.0, 2.0, -1.0])).sum() / cells
    torch.testing.assert_close(result.attribution, weight * spectrogram, rtol=1e-4, atol=1e-9)
    positive = (weight * spectrogram).clamp(min=0)
    peak = positive.amax((1, 2), keepdim=True)
    torch.testing.assert_close(result.mask, positive / torch.where(peak > 0, peak, 1), rtol=1e-4, atol=1e-6)
    assert result.normalise == "relu_max"


def test_by_hand_on_a_convolutional_network():
    classifier = networks.sequential().eval()
    clips = networks.clips(2, 5000)
    explainer = ax.GradCAM(classifier, space="mel")
    assert explainer.layer == classifier.layers[-1]
    network = classifier.network
    with torch.enable_grad():
        features = classifier.features(clips)
        maps = network[:4](features).detach().requires_grad_()
        logits = network[4:](maps)
        (gradient,) = torch.autograd.grad(logits[:, 2].sum(), maps)
    cam = (gradient.mean((2, 3), keepdim=True) * maps).sum(1).detach()
    frames = features.shape[3]
    expected = F.interpolate(cam[:, None], (32, frames), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(explainer.attribute(clips, 2), expected, rtol=1e-4, atol=1e-7)


def test_the_layer_is_chosen_by_name_or_module():
    classifier = networks.log_mel_cnn()
    by_name = ax.GradCAM(classifier, layer=classifier.layers[0])
    by_module = ax.GradCAM(classifier, layer=classifier.network.get_submodule(classifier.layers[0]))
    clips = networks.clips(1)
    torch.testing.assert_close(by_name.attribute(clips), by_module.attribute(clips))
    assert not torch.allclose(by_name.explain(clips).mask, ax.GradCAM(classifier).explain(clips).mask, atol=0.01)
    with pytest.raises(ConfigError, match=r"nearest: 'blocks"):
        ax.GradCAM(classifier, layer="blocks.9")
    with pytest.raises(ConfigError, match="not part of the network"):
        ax.GradCAM(classifier, layer=nn.ReLU())


def test_a_layer_that_the_score_ignores_is_named():
    with pytest.raises(ClassifierError, match="does not depend on layer 'spare'"):
        ax.GradCAM(pooled(layers=["spare"])).explain(networks.clips(1, 3000))


def test_a_map_finds_the_sounding_half():
    """Noise in the first half of the clip only: the class that grows with energy is there."""
    classifier = pooled(layers=["maps"])
    clip = networks.clips(1, 8000)
    clip[:, 4000:] = 0
    mask = ax.GradCAM(classifier, normalise="max").explain(clip, 1).mask[0]
    frames = mask.shape[1]
    assert mask[:, : frames // 2 - 2].mean() > 20 * mask[:, frames // 2 + 3 :].mean()
    assert torch.isfinite(mask).all()
