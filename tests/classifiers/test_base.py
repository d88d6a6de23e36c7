"""AudioClassifier: what it refuses, what it leaves alone, how it finds and reads latents."""

import networks
import pytest
import torch
from torch import nn

import audioxai as ax
from audioxai.errors import ClassifierError, ConfigError


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_latents_come_with_the_plain_logits(name):
    classifier = networks.NETWORKS[name]().eval()
    features = classifier.features(networks.clips())
    logits, latents = classifier.classify_with_latents(features, differentiable=True)
    torch.testing.assert_close(logits, classifier.classify(features))
    gradients = torch.autograd.grad(logits[:, 0].sum(), latents)
    assert all(g.abs().sum() > 0 for g in gradients)
    maps = classifier.as_maps(latents)
    assert all(m.ndim == 4 and m.shape[0] == 3 for m in maps)
    assert 1 <= len(maps) <= 4
    assert not any(module._forward_hooks for module in classifier.modules())


def test_maps_have_frequency_before_time():
    for layout in ("BNM", "B1MN"):
        classifier = networks.log_mel_cnn() if layout == "BNM" else networks.sequential().eval()
        short, long = (classifier.features(networks.clips(2, n)) for n in (6000, 12000))
        maps = [classifier.as_maps(classifier.classify_with_latents(x)[1]) for x in (short, long)]
        for a, b in zip(*maps, strict=True):
            assert a.shape[2] == b.shape[2]
            assert a.shape[3] < b.shape[3]


def test_default_layers_are_the_deepest_of_each_resolution():
    classifier = networks.log_mel_cnn()
    maps = classifier.as_maps(classifier.classify_with_latents(classifier.features(networks.clips()))[1])
    sizes = [m.shape[2:] for m in maps]
    assert len(set(sizes)) == len(sizes)
    assert classifier.layers[-1] == "blocks.3"
    assert networks.token_network().layers == ("norm",)


def test_layers_by_name_by_module_and_by_function():
    network = networks.log_mel_cnn().network
    named = ax.AudioClassifier(network, sample_rate=8000, frontend=ax.LogMel(8000, 32), layers=["blocks.2"])
    given = ax.AudioClassifier(network, sample_rate=8000, frontend=ax.LogMel(8000, 32), layers=[network.blocks[2]])
    own = ax.AudioClassifier(
        network, sample_rate=8000, frontend=ax.LogMel(8000, 32), layers={"blocks.2": lambda x: x.transpose(2, 3)}
    )
    assert named.layers == given.layers == own.layers == ("blocks.2",)
    features = named.features(networks.clips())
    maps = [c.as_maps(c.eval().classify_with_latents(features)[1])[0] for c in (named, given, own)]
    torch.testing.assert_close(maps[0], maps[2])
    torch.testing.assert_close(maps[0], maps[1])


def test_frozen_restores_everything_even_after_an_error():
    classifier = networks.log_mel_cnn()
    classifier.network.train()
    classifier.network.blocks[1].eval()
    classifier.network.head.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in classifier.network.state_dict().items()}
    modes = [m.training for m in classifier.modules()]
    with pytest.raises(RuntimeError, match="on purpose"), classifier.frozen():
        assert not any(m.training for m in classifier.modules())
        assert not any(p.requires_grad for p in classifier.parameters())
        classifier.network.norm.running_mean.add_(1)
        raise RuntimeError("on purpose")
    assert [m.training for m in classifier.modules()] == modes
    assert [p.requires_grad for p in classifier.network.head.parameters()] == [False, True]
    for name, value in classifier.network.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


class Output(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, waveform):
        return self.make(waveform)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x: x.mean(1), r"\(B, K\).*got \(2,\)"),
        (lambda x: x[:, None, :3], r"got \(2, 1, 3\)"),
        (lambda x: x[:1, :3], r"got \(1, 3\)"),
        (lambda x: {"scores": x}, "got dict"),
        (lambda x: x[:, :3], "3 outputs, but 4 labels"),
        (lambda x: torch.nn.functional.conv1d(x[:, None], torch.ones(1, 1, 99999)), "failed on an input of shape"),
    ],
)
def test_networks_that_are_no_classifiers(make, words):
    classifier = ax.AudioClassifier(Output(make), sample_rate=8000, labels=networks.LABELS)
    with pytest.raises(ClassifierError, match=words):
        classifier(torch.zeros(2, 4000))


def test_an_output_object_with_logits_is_accepted():
    from types import SimpleNamespace

    classifier = ax.AudioClassifier(Output(lambda x: SimpleNamespace(logits=x[:, :4])), sample_rate=8000)
    assert classifier(torch.zeros(2, 4000)).shape == (2, 4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sample_rate": 16000, "frontend": ax.LogMel(8000)}, "8000 Hz, the classifier for 16000"),
        ({"sample_rate": 0}, "positive whole number"),
        ({"sample_rate": 8000, "labels": ["a", "a"]}, "distinct"),
        ({"sample_rate": 8000, "layers": ["blocks.9"]}, "nearest"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(ConfigError, match=words):
        ax.AudioClassifier(networks.log_mel_cnn().network, **options)


def test_no_usable_layer_and_never_reached_layer():
    plain = ax.AudioClassifier(Output(lambda x: x[:, :4]), sample_rate=8000)
    with pytest.raises(ClassifierError, match=r"name some with layers="):
        plain.layers  # noqa: B018
    unused = networks.log_mel_cnn().network
    unused.spare = nn.Conv2d(1, 1, 3)
    classifier = ax.AudioClassifier(unused, sample_rate=8000, frontend=ax.LogMel(8000, 32), layers=["spare"])
    with pytest.raises(ClassifierError, match="'spare' is never reached"):
        classifier.layers  # noqa: B018


@pytest.mark.parametrize("space", ["waveform", "stft", "mel"])
def test_a_network_that_works_in_place_changes_nothing(space):
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv1d(1, 4, 64, 16)

        def forward(self, x):
            x -= x.mean(1, keepdim=True)
            return self.layer(x.mul_(2)[:, None]).mean(2)

    classifier = ax.AudioClassifier(InPlace(), sample_rate=8000)
    clips = networks.clips(2, 4000) + 0.5
    before = clips.clone()
    for method in (ax.EnergyMask, ax.Saliency, ax.IntegratedGradients):
        explanation = method(classifier, space=space, scale="magnitude").explain(clips, 0)
        assert torch.equal(clips, before)
        assert torch.equal(explanation.input, before)


def test_a_wrong_number_of_labels_is_told_as_it_is():
    layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    frontend = ax.LogMel(8000, 20, layout="B1MN")
    classifier = ax.AudioClassifier(nn.Sequential(*layers), sample_rate=8000, frontend=frontend, labels=["a", "b"])
    for use in (lambda: ax.GradCAM(classifier), lambda: classifier(networks.clips(1, 4000))):
        with pytest.raises(ClassifierError, match="^the network has 3 outputs, but 2 labels were given$"):
            use()


def test_what_was_built_can_be_read():
    shown = repr(networks.log_mel_cnn())
    assert "sample_rate=8000" in shown and "labels=" in shown
    assert "n_mels=20" in repr(ax.LogMel(8000, 20)) and "power=2" in repr(ax.LogMel(8000, 20, power=2))


@pytest.mark.parametrize("labels", ["dogs", ["dog", 1, "rain", "bell"], [None] * 4])
def test_labels_that_are_no_names(labels):
    with pytest.raises(ConfigError, match="must be a list of names"):
        ax.AudioClassifier(networks.log_mel_cnn().network, sample_rate=8000, labels=labels)
