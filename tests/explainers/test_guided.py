"""Guided backpropagation: Captum as the second witness, and the activations that Captum does not see."""

import networks
import pytest
import torch
from bare import Bare
from torch import nn
from torch.nn import functional as F

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN", "sequential"])
def test_equal_to_captum(network, space):
    from captum.attr import GuidedBackprop

    classifier, clips = networks.NETWORKS[network]().eval(), networks.clips(2)
    explainer = ax.GuidedBackprop(classifier, space=space)
    analysis = explainer.space.analyse(clips)
    expected = GuidedBackprop(Bare(explainer, analysis)).attribute(analysis.values.clone().requires_grad_(), target=1)
    found = explainer.attribute(clips, 1)
    assert explainer.intercepted_ == sum(isinstance(m, nn.ReLU) for m in classifier.network.modules())
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-7)
    plain = ax.Saliency(classifier, space=space).attribute(clips, 1)
    assert not torch.allclose(found, plain, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("way", ["function", "torch", "method", "in place", "in place, by argument", "inplace module"])
@pytest.mark.parametrize("method", [ax.GuidedBackprop, ax.GuidedGradCAM])
def test_every_way_to_call_an_activation_is_guided(method, way):
    clips = networks.clips(2)
    where = {"layer": "two"} if method is ax.GuidedGradCAM else {}
    expected, explainer = (method(networks.written(w), **where) for w in ("module", way))
    torch.testing.assert_close(explainer.attribute(clips, 1), expected.attribute(clips, 1), rtol=1e-5, atol=1e-8)
    assert explainer.intercepted_ == 2


class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.gelu = nn.GELU()
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(F.silu(self.gelu(self.conv(x))).mean((2, 3)))


@pytest.mark.parametrize("method", [ax.GuidedBackprop, ax.GuidedGradCAM])
def test_no_activation_to_guide_is_an_error_that_names_the_way_out(method):
    frontend = ax.LogMel(networks.RATE, 32, layout="B1MN")
    classifier = ax.AudioClassifier(Smooth(), sample_rate=networks.RATE, frontend=frontend).eval()
    clips = networks.clips(2)
    with pytest.raises(
        ClassifierError, match=r"gelu 1 times, silu 1 times .*gelu \(GELU\).*activations=\('gelu', 'silu'"
    ):
        method(classifier).explain(clips)
    guided = method(classifier, activations=("gelu", "silu"))
    assert guided.explain(clips).mask.max() == 1
    assert guided.intercepted_ == 2
    with pytest.raises(ConfigError, match="'rely' is not known; nearest: 'relu'"):
        method(classifier, activations=["rely"])


def test_guiding_clamps_the_gradient_before_each_activation():
    network = Smooth()
    frontend = ax.LogMel(networks.RATE, 32, layout="B1MN")
    classifier = ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=frontend).eval()
    explainer = ax.GuidedBackprop(classifier, activations=("gelu", "silu"), space="mel", scale="magnitude")
    found = explainer.attribute(networks.clips(1), 0)
    analysis = explainer.space.analyse(networks.clips(1))
    leaf = analysis.values.clone().requires_grad_()
    one = network.conv(explainer.space.features(leaf, analysis))
    two = F.gelu(one)
    three = F.silu(two)
    (g,) = torch.autograd.grad(network.head(three.mean((2, 3)))[:, 0].sum(), three, retain_graph=True)
    (g,) = torch.autograd.grad(three, two, g, retain_graph=True)
    (g,) = torch.autograd.grad(two, one, g.clamp(min=0), retain_graph=True)
    (expected,) = torch.autograd.grad(one, leaf, g.clamp(min=0))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
