"""GradCAM against the equations, on a network small enough to differentiate by hand."""

import networks
import pytest
import torch
from bare import Bare
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
    assert "blocks.1.0" not in classifier.layers  # one that no decoder reads will do, too
    assert ax.GradCAM(classifier, layer="blocks.1.0").explain(clips).mask.max() == 1


@pytest.mark.parametrize("method", [ax.GradCAM, ax.GradCAMPlusPlus, ax.GuidedGradCAM, ax.ScoreCAM, ax.GScoreCAM])
def test_layers_that_cannot_be_weighed_are_refused(method):
    classifier = networks.log_mel_cnn()
    with pytest.raises(ConfigError, match=r"no layer 'blocks.9'; nearest: 'blocks"):
        method(classifier, layer="blocks.9")
    with pytest.raises(ConfigError, match="not part of the network"):
        method(classifier, layer=nn.ReLU())
    classifier.network.spare = nn.Conv2d(1, 2, 3)
    with pytest.raises(ClassifierError, match=r"'spare' is never reached .* layers that are: '"):
        method(classifier, layer="spare")
    with pytest.raises(ClassifierError, match=r"'head' with output \(2, 4\) carries no map over time; .* such as '"):
        method(classifier, layer="head")
    with pytest.raises(ConfigError, match="resize='cubic'"):
        method(classifier, resize="cubic")


@pytest.mark.parametrize("network", ["waveform CNN", "tokens"])
def test_one_row_maps_say_when_but_not_how_high(network):
    """Sequences and tokens have no frequency: every row of the mask is alike."""
    classifier = networks.NETWORKS[network]()
    for method in (ax.GradCAM, ax.GradCAMPlusPlus, ax.ScoreCAM):
        mask = method(classifier).explain(networks.clips(1)).mask
        torch.testing.assert_close(mask, mask[:, :1].expand_as(mask), rtol=0, atol=1e-5)
        assert mask[0, 0].max() - mask[0, 0].min() > 0.05


def test_a_layer_that_the_score_ignores_is_named():
    with pytest.raises(ClassifierError, match="does not depend on layer 'spare'"):
        ax.GradCAM(pooled(layers=["spare"])).explain(networks.clips(1, 3000))


def test_equal_to_captum():
    from captum.attr import GuidedGradCam, LayerGradCam

    classifier = networks.sequential().eval()
    clips, layer = networks.clips(2), classifier.network[3]
    explainer = ax.GradCAM(classifier, space="mel")
    analysis = explainer.space.analyse(clips)
    model, values = Bare(explainer, analysis, channel=True), analysis.values[:, None]
    cam = LayerGradCam(model, layer).attribute(values, target=2, relu_attributions=False).detach()
    ours = ax.GradCAM(classifier, space="mel", layer=layer, resize="nearest").attribute(clips, 2)
    upsampled = LayerGradCam.interpolate(cam, values.shape[2:])[:, 0]
    torch.testing.assert_close(ours, upsampled, rtol=1e-5, atol=1e-7)
    guided = GuidedGradCam(model, layer).attribute(values.requires_grad_(), target=2)[:, 0]
    ours = ax.GuidedGradCAM(classifier, space="mel", layer=layer, resize="nearest").attribute(clips, 2)
    assert guided.abs().max() > 0
    torch.testing.assert_close(ours, guided.detach(), rtol=1e-5, atol=1e-7)


def test_grad_cam_plus_plus_by_the_book():
    classifier = networks.sequential().eval()
    clips = networks.clips(2)
    explainer = ax.GradCAMPlusPlus(classifier, space="mel")
    maps = classifier.network[:4](classifier.features(clips)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(classifier.network[4:](maps)[:, 1].sum(), maps)
    cam = torch.zeros(2, *maps.shape[2:])
    with torch.no_grad():
        for b in range(2):
            for k in range(maps.shape[1]):
                a, g = maps[b, k].double(), gradient[b, k].double()
                alpha = torch.where(g != 0, g**2 / (2 * g**2 + a.sum() * g**3), 0)
                cam[b] += (alpha * g.clamp(min=0)).sum() * a
    expected = explainer.space.from_grid(cam[:, None], explainer.space.analyse(clips).values)[:, 0]
    assert expected.abs().max() > 0
    torch.testing.assert_close(explainer.attribute(clips, 1), expected, rtol=1e-4, atol=1e-7)


def test_score_cam_by_the_book():
    """One masked pass per channel, and the softmax of the scores as weights."""
    classifier, clips = networks.log_mel_cnn(), networks.clips(2)
    explainer = ax.ScoreCAM(classifier, max_batch=3)
    space = explainer.space
    analysis = space.analyse(clips)
    with torch.no_grad():
        _, latents = classifier.classify_with_latents(classifier.features(clips))
        maps = classifier.as_maps(latents)[-1]
        cams = []
        for b in range(2):
            scores = []
            for k in range(maps.shape[1]):
                up = space.from_grid(maps[b : b + 1, k : k + 1], analysis.values[b : b + 1])[0, 0]
                low, high = up.min(), up.max()
                seen = (up - low) / (high - low) if high > low else torch.zeros_like(up)
                scores.append(space.predict((analysis.values[b] * seen)[None], analysis)[0, 3])
            weight = torch.stack(scores).softmax(0)
            cams.append(sum(w * m for w, m in zip(weight, maps[b], strict=True)))
        expected = space.from_grid(torch.stack(cams)[:, None], analysis.values)[:, 0]
    torch.testing.assert_close(explainer.attribute(clips, 3), expected, rtol=1e-4, atol=1e-6)


def test_g_score_cam_takes_the_channels_with_the_largest_gradients():
    classifier, clips = networks.log_mel_cnn(), networks.clips(2)
    whole = ax.ScoreCAM(classifier).attribute(clips, 0)
    channels = 16
    torch.testing.assert_close(ax.GScoreCAM(classifier).attribute(clips, 0), whole, rtol=1e-4, atol=1e-6)
    explainer = ax.GScoreCAM(classifier, k=1)
    logits, latents = classifier.classify_with_latents(classifier.features(clips), differentiable=True)
    gradient = classifier.as_maps(torch.autograd.grad(logits[:, 0].sum(), latents))[-1].mean((2, 3))
    assert gradient.shape == (2, channels)
    maps = classifier.as_maps(latents)[-1].detach()
    best = torch.stack([maps[b, gradient[b].argmax()] for b in range(2)])
    expected = explainer.space.from_grid(best[:, None], explainer.space.analyse(clips).values)[:, 0]
    torch.testing.assert_close(explainer.attribute(clips, 0), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="k=0"):
        ax.GScoreCAM(classifier, k=0)


def test_maps_over_hertz_lie_right_in_mel():
    """A network on a linear spectrogram: a tone's cell is found at the tone's band."""
    classifier = pooled(layers=["maps"])
    time = torch.arange(8000) / RATE
    tone = 0.3 * torch.sin(2 * torch.pi * 2000 * time)[None]
    explainer = ax.GradCAM(classifier, space="mel")
    mask = explainer.explain(tone, 1).mask[0]
    loudest = explainer.space.analyse(tone).values[0].mean(1).argmax()
    assert abs(int(mask.mean(1).argmax()) - int(loudest)) <= 1


def test_no_cell_of_a_fine_map_is_lost():
    """Shrinking averages; picking every eighth step would miss an event."""
    space = ax.GradCAM(networks.waveform_cnn()).space
    values = torch.zeros(1, 513, 50)
    for step in range(190, 210):
        maps = torch.zeros(1, 1, 1, 400)
        maps[..., step] = 1
        assert space.from_grid(maps, values).max() > 0.05


@pytest.mark.parametrize("method", [ax.GradCAM, ax.GradCAMPlusPlus, ax.ScoreCAM])
def test_under_autocast(method):
    explainer, clips = method(networks.log_mel_cnn()), networks.clips(2, 4000)
    expected = explainer.explain(clips).mask
    with torch.autocast("cpu", torch.bfloat16):
        found = explainer.explain(clips).mask
    assert found.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.05


def test_a_layer_that_the_logits_are_not_made_from_is_told():
    class Beside(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.beside = (torch.nn.Conv1d(1, 4, 8, 4) for _ in range(2))

        def forward(self, x):
            return self.used(x[:, None]).mean(2) + 0 * self.beside(x[:, None]).mean(2)

    classifier = ax.AudioClassifier(Beside(), sample_rate=8000)
    with pytest.warns(UserWarning, match="gradient to layer 'beside' is 0 everywhere"):
        assert not ax.GradCAM(classifier, layer="beside").attribute(networks.clips(1, 4000)).any()
