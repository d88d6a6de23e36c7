"""What networks and explainers are known by: another one for whatever explains otherwise, the same for all else."""

import copy
import warnings

import networks
import numpy as np
import pytest
import torch
from band_clap import band_clap
from torch import nn

import audioxai as ax
from audioxai.errors import ConfigError

CLIPS = networks.clips(2, 3000)


# Networks -------------------------------------------------------------------------------------------------------------


class Foreign(nn.Module):
    """Another library's network: nothing of its settings in a text of its own."""

    def __init__(self, **parts):
        super().__init__()
        torch.manual_seed(0)
        known = {
            "conv": nn.Conv2d(1, 8, 3), "act": nn.ReLU(), "norm": nn.GroupNorm(4, 8), "pool": nn.MaxPool2d(2),
            "drop": nn.Dropout(0.2), "head": nn.Linear(8, 4),
        }  # fmt: skip
        torch.manual_seed(0)
        self.body = nn.ModuleDict({**known, **{name: make() for name, make in parts.items()}})

    def forward(self, x):
        *first, head = self.body.values()
        for part in first:
            x = part(x)
        return head(x.mean((2, 3)))


def foreign(**parts):
    return ax.AudioClassifier(Foreign(**parts), sample_rate=8000, frontend=ax.LogMel(8000, 32, layout="B1MN"))


OTHERS = {
    "activation": {"act": nn.GELU},
    "approximation": {"act": lambda: nn.GELU("tanh")},
    "stride": {"conv": lambda: nn.Conv2d(1, 8, 3, stride=2)},
    "padding": {"conv": lambda: nn.Conv2d(1, 8, 3, padding=1)},
    "dilation": {"conv": lambda: nn.Conv2d(1, 8, 3, dilation=2)},
    "groups": {"norm": lambda: nn.GroupNorm(2, 8)},
    "pooling": {"pool": lambda: nn.AvgPool2d(2)},
    "kernel": {"pool": lambda: nn.MaxPool2d(3)},
    "dropout": {"drop": lambda: nn.Dropout(0.3)},
    "nothing": {"norm": nn.Identity},
}


def test_settings_of_foreign_modules_count():
    found = {name: foreign(**parts).fingerprint() for name, parts in {"as it is": {}, **OTHERS}.items()}
    assert len(set(found.values())) == len(found)
    assert found["as it is"] == foreign().fingerprint()


def test_mode_gradients_hooks_and_copies_do_not_count():
    classifier = foreign()
    before = classifier.identity()
    classifier.train().requires_grad_(False)
    classifier.network.register_forward_hook(lambda *_: None)
    classifier(CLIPS)
    assert copy.deepcopy(classifier).identity() == classifier.eval().identity() == before


def test_the_device_of_a_list_of_parameters_does_not_count(monkeypatch):
    classifier = foreign(drop=lambda: nn.ParameterList([torch.zeros(2)]))
    before = classifier.fingerprint()
    monkeypatch.setattr(nn.ParameterList, "extra_repr", lambda _: "(0): Parameter of size 2 (GPU 0)")
    assert classifier.fingerprint() == before


def test_functions_that_read_layers_count():
    def known(function):
        found = ax.AudioClassifier(foreign().network, sample_rate=8000, layers={"body.act": function}).identity()
        return found["fingerprint"], str(found)

    found = [known(f) for f in (lambda x: x, lambda x: x.transpose(2, 3), lambda x: x)]
    assert len({fingerprint for fingerprint, _ in found}) == 1
    assert len(set(found)) == 2


# Explainers -----------------------------------------------------------------------------------------------------------


class Counting(ax.EnergyMask):
    """It keeps what it likes."""

    def __init__(self, classifier, *, power=1.0, **base):
        super().__init__(classifier, **base)
        self.power, self.calls = power, 0

    def _solve(self, analysis, target):
        self.calls += 1
        return super()._solve(analysis, target)


def test_explainers_are_told_apart_and_stay():
    classifier = networks.log_mel_cnn()
    learnt = {"width": 8, "mixing": 0.0}
    makers = [
        lambda: ax.GradCAM(classifier),
        lambda: ax.GradCAM(classifier, layer=classifier.layers[0]),
        lambda: ax.GradCAM(classifier, scale="magnitude"),
        lambda: ax.GradCAM(classifier, space="mel"),
        lambda: ax.GradCAM(classifier, space=ax.MelSpace(classifier, mel=ax.LogMel(8000, 32, f_min=50.0))),
        lambda: ax.GradCAM(classifier, space=ax.STFTSpace(classifier, stft=ax.dsp.STFT(512, 512, 256))),
        lambda: ax.GradCAM(classifier, heard=True),
        lambda: ax.GuidedBackprop(classifier),
        lambda: ax.IntegratedGradients(classifier, n_steps=7),
        lambda: ax.IntegratedGradients(classifier, n_steps=8),
        lambda: ax.IntegratedGradients(classifier, n_steps=8, baseline=0.5),
        lambda: ax.IntegratedGradients(classifier, n_steps=8, baseline="data").fit([CLIPS]),
        lambda: ax.IntegratedGradients(classifier, n_steps=8, baseline="data").fit([CLIPS[:1]]),
        lambda: ax.GradientSHAP(classifier, n_samples=2, baseline=lambda x, _: x[None] * 0.5),
        lambda: ax.GradientSHAP(classifier, n_samples=2, baseline=lambda x, _: x[None] * 0.25),
        lambda: Counting(classifier),
        lambda: Counting(classifier, power=2.0),
        lambda: ax.LMAC(classifier, **learnt).fit([CLIPS], epochs=1, lr=0.1, progress=False),
        lambda: ax.LMAC(classifier, **learnt).fit([CLIPS], epochs=2, lr=0.1, progress=False),
    ]
    found = []
    for make in makers:
        method = make()
        found.append(method.identity())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few steps miss completeness
            method.explain(CLIPS[:1])
        method.max_batch = 3
        assert method.identity() == found[-1] == make().identity()
    assert len(set(map(str, found))) == len(found)


def test_an_option_that_is_no_attribute_is_named():
    class Hiding(ax.Saliency):
        def __init__(self, classifier, *, power=1.0, **base):
            super().__init__(classifier, **base)

    with pytest.raises(ConfigError, match="Hiding keeps no attribute 'power' for its option"):
        Hiding(networks.log_mel_cnn()).identity()


def test_prompts_are_told_apart():
    other = {"low": "a middle hum", "middle": "middle", "high": "high"}
    found = [
        str(band_clap(**given).identity()) for given in ({}, {"prompts": other}, {"template": "{} and middle"}, {})
    ]
    assert len(set(found)) == 3


def test_functions_are_told_apart():
    def quieter(by):
        return ax.from_callable(lambda clips: np.stack([clips.std(1), by * clips.mean(1)], 1), networks.RATE)

    assert len({quieter(by).fingerprint() for by in (1.0, 2.0, 1.0)}) == 2
