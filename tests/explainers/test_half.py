"""Networks in half precision: their gradients are as good as their numbers, however small."""

from __future__ import annotations

import networks
import pytest
import torch
from torch import Tensor, nn

import audioxai as ax
from audioxai.classifiers.targets import Target
from audioxai.explainers.evidence import read_evidence

CLIPS = networks.clips(2, 4000)


class Small(nn.Module):
    """Gradients of the logits to all layers and to the input are around 1e-8, which float16 calls 0."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 8, 3, 2), nn.ReLU())
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            self.head.weight.mul_(1e-4)
        self.to(dtype)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(self.layers(maps.to(self.head.weight.dtype)).mean((2, 3)))


def classifier(dtype: torch.dtype, autocast: bool = False) -> ax.AudioClassifier:
    network = Small(torch.float32 if autocast else dtype)
    frontend = ax.LogMel(8000, 32, layout="B1MN")
    return ax.AudioClassifier(network, sample_rate=8000, frontend=frontend, labels=networks.LABELS).eval()


def near(found: Tensor, exact: Tensor) -> None:
    assert exact.abs().max() > 0
    assert found.dtype == torch.float32
    assert (found - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("autocast", [False, True])
def test_evidence(autocast):
    found = []
    for dtype in (torch.float32, torch.float16):
        made = classifier(dtype, autocast)
        with made.frozen(), torch.autocast("cpu", torch.float16, enabled=autocast and dtype == torch.float16):
            features = made.features(CLIPS)
            _, _, [(_, evidence)] = read_evidence(made, features, [Target(classes=torch.tensor([1, 2]))])
        found.append(evidence)
    for half, exact in zip(found[1], found[0], strict=True):
        near(half, exact)


@pytest.mark.parametrize(
    "method", [ax.Saliency, ax.InputXGradient, ax.GradCAM, ax.GuidedBackprop, ax.DeepSHAP, ax.IntegratedGradients]
)
@pytest.mark.filterwarnings("ignore:.*attributions miss")
def test_attributions(method):
    exact, half = (method(classifier(d)).attribute(CLIPS, 1) for d in (torch.float32, torch.float16))
    near(half, exact)


def test_training_sees_no_scale():
    made = classifier(torch.float16)
    with torch.no_grad():
        made.network.head.weight.mul_(1e4)
    made(CLIPS).sum().backward()
    exact = classifier(torch.float32)
    with torch.no_grad():
        exact.network.head.weight.mul_(1e4)
    exact(CLIPS).sum().backward()
    near(made.network.head.weight.grad.float(), exact.network.head.weight.grad)
