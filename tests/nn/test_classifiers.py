"""Reference networks: sizes of the published recipe, activations as modules, any length."""

import oracles
import pytest
import torch
from torch import nn

import audioxai as ax
from audioxai.nn import CNN14, CompactCNN, WaveformCNN


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def block_shapes(network, features):
    shapes = []
    handles = [b.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape))) for b in network.blocks]
    with torch.no_grad():
        logits = network.eval()(features)
    for handle in handles:
        handle.remove()
    return shapes, logits


def test_cnn14_has_the_published_size():
    with torch.device("meta"):
        network = CNN14(50)
    assert parameters(network) - parameters(network.head) == 75_477_472
    assert parameters(network.head) == 2048 * 50 + 50
    with torch.device("meta"):
        shapes, logits = block_shapes(network, torch.zeros(1, 431, 80))
    assert shapes == [
        (1, 64, 215, 40),
        (1, 128, 107, 20),
        (1, 256, 53, 10),
        (1, 512, 26, 5),
        (1, 1024, 13, 2),
        (1, 2048, 13, 2),
    ]
    assert [shape[2:] for shape in shapes] == oracles.conv_net_sizes(431, 80, [2, 2, 2, 2, 2, 1])
    assert logits.shape == (1, 50)
    assert network.dropout.p == 0.2


def test_compact_networks_are_compact():
    assert 0.25e6 < parameters(CompactCNN(10)) < 0.35e6
    assert 0.1e6 < parameters(WaveformCNN(10)) < 0.25e6


@pytest.mark.parametrize("network", [CNN14(3, width=2), CompactCNN(3, widths=(4, 8, 8)), WaveformCNN(3)])
def test_every_activation_is_a_module(network, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a functional activation")

    activations = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    assert activations
    calls = []
    for module in activations:
        monkeypatch.setattr(module, "forward", lambda x: calls.append(1) or x.clamp(min=0))
    for name in ("relu", "relu_", "gelu", "silu", "leaky_relu", "elu"):
        monkeypatch.setattr(torch.nn.functional, name, refuse)
        if hasattr(torch, name):
            monkeypatch.setattr(torch, name, refuse)
        if hasattr(torch.Tensor, name):
            monkeypatch.setattr(torch.Tensor, name, refuse)
    wave = isinstance(network, WaveformCNN)
    network.eval()(torch.rand(1, 8000) if wave else torch.rand(1, 64, 80))
    assert len(calls) == len(activations)


@pytest.mark.parametrize("size", [(1, 20), (2, 20), (7, 20), (32, 20), (501, 20), (1,), (17,), (4000,)])
def test_compact_networks_take_any_length(size):
    network = WaveformCNN(3) if len(size) == 1 else CompactCNN(3, n_mels=20, widths=(4, 8, 8))
    logits = network.eval()(torch.rand(2, *size))
    assert logits.shape == (2, 3)
    assert torch.isfinite(logits).all()


def test_a_clip_too_short_for_cnn14_says_so():
    classifier = ax.AudioClassifier(CNN14(3, width=2), sample_rate=8000, frontend=ax.LogMel(8000)).eval()
    with pytest.raises(ax.ClassifierError, match="pad it"):
        classifier(torch.zeros(1, 1000))
