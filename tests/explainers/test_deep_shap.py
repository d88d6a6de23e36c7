"""DeepSHAP: shap and Captum where they are right, completeness where they are not."""

import networks
import pytest
import torch
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError


class Pooled(nn.Module):
    """Convolutions, activations as modules, perhaps a maximum: what shap has rules for."""

    def __init__(self, act, pool):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            act(),
            pool(2),
            nn.Conv2d(6, 8, 3, padding=1),
            act(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        )

    def forward(self, x):
        return self.layers(x)


def pooled(act, pool):
    frontend = ax.LogMel(networks.RATE, 32, layout="B1MN", log="none")
    return ax.AudioClassifier(
        Pooled(act, pool), sample_rate=networks.RATE, frontend=frontend, labels=networks.LABELS
    ).eval()


@pytest.mark.parametrize("pool", [nn.MaxPool2d, nn.AvgPool2d])
@pytest.mark.parametrize("act", [nn.ReLU, nn.Sigmoid, nn.GELU])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*backward hook")
def test_equal_to_the_bare_libraries(act, pool):
    import shap
    from captum.attr import DeepLiftShap

    classifier, clips = pooled(act, pool), networks.clips(2)
    data = networks.clips(3, seed=5)
    explainer = ax.DeepSHAP(classifier, space="mel", scale="magnitude", baseline="data", n_baselines=3).fit([data])
    found = explainer.attribute(clips, 2)
    features = classifier.features(clips)
    starts = classifier.features(data)
    expected = shap.DeepExplainer(classifier.network, starts).shap_values(features)[..., 2]
    torch.testing.assert_close(found, torch.as_tensor(expected)[:, 0].float(), rtol=1e-4, atol=1e-6)
    # Captum has no rule for GELU, and behind an activation its rule for maxima misses completeness by its own measure.
    if act is not nn.GELU and pool is nn.AvgPool2d:
        captums = DeepLiftShap(classifier.network).attribute(features, starts, target=2)
        torch.testing.assert_close(found, captums[:, 0].detach().float(), rtol=1e-4, atol=1e-5)
    assert explainer.gap_.max() < 1e-3


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN", "sequential"])
@pytest.mark.parametrize("scale", ["log1p", "magnitude"])
def test_complete_through_front_end_and_stft(network, space, scale):
    """Logarithms, powers, magnitudes and the functional maximum over time have their rules too."""
    classifier = networks.NETWORKS[network]().eval()
    explainer = ax.DeepSHAP(classifier, space=space, scale=scale)
    clips = networks.clips(2)
    attribution = explainer.attribute(clips, 1)
    rise = classifier(clips)[:, 1] - classifier(torch.zeros_like(clips))[:, 1]
    torch.testing.assert_close(attribution.flatten(1).sum(1), rise.detach(), rtol=1e-3, atol=1e-4)
    assert explainer.gap_.max() < 1e-3


@pytest.mark.parametrize("way", ["function", "in place", "inplace module"])
def test_functional_and_reused_activations_are_right(way):
    """One ReLU module called twice is what shap and Captum get wrong; here each call counts by itself."""
    clips = networks.clips(2)
    found, expected = (ax.DeepSHAP(networks.written(w)).attribute(clips, 1) for w in (way, "module"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    explainer = ax.DeepSHAP(networks.written(way))
    explainer.attribute(clips, 1)
    assert explainer.gap_.max() < 1e-3


def test_what_has_no_rule_is_told():
    explainer = ax.DeepSHAP(networks.token_network())
    with pytest.warns(UserWarning, match=r"DeepSHAP: .* miss .* such as attention"):
        explainer.explain(networks.clips(1))
    assert explainer.gap_.max() > 0.05


@pytest.mark.parametrize("log", ["log1p", "log", "log10", "db", "none"])
@pytest.mark.parametrize("power", [1, 2])
def test_every_front_end_has_its_rule(log, power):
    torch.manual_seed(0)
    network = networks.CompactCNN(4, n_mels=32, widths=(8, 16, 16, 16))
    frontend = ax.LogMel(networks.RATE, 32, log=log, power=power, floor=1e-5)
    classifier = ax.AudioClassifier(network, sample_rate=networks.RATE, frontend=frontend).eval()
    explainer = ax.DeepSHAP(classifier)
    explainer.explain(networks.clips(2), 0)
    assert explainer.gap_.max() < 5e-3


class ComplexSpectrum(nn.Module):
    """A spectrogram inside the network, by the magnitude of complex numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(129, 4, 3)
        self.act = nn.ReLU()

    def forward(self, waveform):
        spectrum = torch.stft(waveform, 256, 128, window=torch.hann_window(256), return_complex=True)
        return self.act(self.conv(spectrum.abs().log1p())).mean(2)


@pytest.mark.parametrize("space", ["stft", "waveform"])
def test_complex_magnitudes_have_their_rule(space):
    classifier = ax.AudioClassifier(ComplexSpectrum(), sample_rate=networks.RATE).eval()
    explainer = ax.DeepSHAP(classifier, space=space)
    explainer.explain(networks.clips(2), 1)
    assert explainer.gap_.max() < 5e-3


class Largest(nn.Module):
    """Maxima called in other ways: along a dimension, and by a pool that keeps the size."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        x = self.conv(x)
        if self.way == "pool":
            return self.head(self.pool(x).mean((2, 3)))
        if self.way == "windows":
            windows = nn.functional.pad(x, (1, 1, 1, 1), value=-1e3).unfold(2, 3, 1).unfold(3, 3, 1)
            return self.head(windows.amax((4, 5)).mean((2, 3)))
        if self.way == "amax":
            return self.head(x.mean(2).amax(2))
        if self.way == "max":
            return self.head(torch.max(x.mean(2), 2)[0])
        return self.head(x.mean(2).max(dim=2).values)


def largest(way):
    frontend = ax.LogMel(networks.RATE, 32, layout="B1MN", log="none")
    return ax.AudioClassifier(Largest(way), sample_rate=networks.RATE, frontend=frontend).eval()


@pytest.mark.parametrize("way", ["max", "method"])
def test_a_maximum_along_a_dimension(way):
    clips = networks.clips(2)
    found, expected = (ax.DeepSHAP(largest(w)).attribute(clips, 1) for w in (way, "amax"))
    torch.testing.assert_close(found, expected)
    explainer = ax.DeepSHAP(largest(way))
    explainer.attribute(clips, 1)
    assert explainer.gap_.max() < 1e-3


def test_a_pool_that_keeps_the_size_is_a_maximum_too():
    """Its credit goes to where the maxima lie, as when the windows are written out."""
    clips, data = networks.clips(2), [networks.clips(1, seed=5)]  # silence would tie everywhere
    made = [ax.DeepSHAP(largest(way), baseline="data").fit(data) for way in ("pool", "windows")]
    found, expected = (one.attribute(clips, 1) for one in made)
    assert expected.abs().max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


class TimeFirst(nn.Module):
    """Activations on (N, B, C), as recurrent networks have them, or with the batch lost in between."""

    def __init__(self, lost=False):
        super().__init__()
        torch.manual_seed(0)
        self.lost = lost
        self.one, self.two = nn.Linear(32, 8), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.one(x).transpose(0, 1))
        if self.lost:
            x = torch.tanh(x.flatten(1)).unflatten(1, (-1, 8))
        return self.two(x).mean(0)


def test_the_batch_may_stand_elsewhere_but_not_vanish():
    frontend = ax.LogMel(networks.RATE, 32)
    clips = networks.clips(2, 6000)
    explainer = ax.DeepSHAP(ax.AudioClassifier(TimeFirst(), sample_rate=networks.RATE, frontend=frontend))
    explainer.attribute(clips, 1)
    assert explainer.gap_.max() < 1e-3
    lost = ax.DeepSHAP(ax.AudioClassifier(TimeFirst(lost=True), sample_rate=networks.RATE, frontend=frontend))
    assert explainer.space.stft.frames(6000) % 4 != 0
    with pytest.raises(ClassifierError, match="cannot tell which axis .* holds the 4 rows"):
        lost.attribute(clips, 1)


class FrameWise(nn.Module):
    """Frames go through the network as if each were a clip; ``width`` channels."""

    def __init__(self, width, time_first=False):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, width), nn.ReLU(), nn.Linear(width, 3))
        self.time_first = time_first

    def forward(self, x):
        size, frames, bands = x.shape
        if self.time_first:
            return self.layers(x.transpose(0, 1)).mean(0)
        return self.layers(x.reshape(size * frames, bands)).reshape(size, frames, -1).mean(1)


@pytest.mark.parametrize("max_batch", [1, 4, 8, 16])
@pytest.mark.parametrize("width", [2, 4, 8, 16])
@pytest.mark.parametrize("time_first", [False, True])
def test_the_batch_is_found_whatever_the_sizes_beside_it(width, max_batch, time_first):
    torch.manual_seed(0)
    network = FrameWise(width, time_first)
    classifier = ax.AudioClassifier(network, sample_rate=8000, frontend=ax.LogMel(8000, 20, layout="BNM"))
    clips = networks.clips(8, 4000)
    explainer = ax.DeepSHAP(classifier, max_batch=max_batch)
    found = explainer.attribute(clips, 0)
    assert explainer.gap_.max() < 1e-3
    plain = ax.AudioClassifier(FrameWise(17, time_first), sample_rate=8000, frontend=classifier.frontend)
    wide = plain.network.layers  # the same function with a number of channels that no batch has
    with torch.no_grad():
        for layer in (wide[0], wide[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        wide[0].weight[:width], wide[0].bias[:width] = network.layers[0].weight, network.layers[0].bias
        wide[2].weight[:, :width], wide[2].bias[:] = network.layers[2].weight, network.layers[2].bias
    torch.testing.assert_close(found, ax.DeepSHAP(plain, max_batch=16).attribute(clips, 0), rtol=1e-3, atol=1e-5)
