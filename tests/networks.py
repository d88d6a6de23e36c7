"""Small networks of every kind that the tests explain."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import audioxai as ax
from audioxai.nn import CompactCNN, WaveformCNN

RATE = 8000
LABELS = ("dog", "rain", "siren", "bell")


class Tokens(nn.Module):
    """A transformer over frames of a log-mel: latents are tokens (B, L, D)."""

    def __init__(self, n_classes: int = 4, n_mels: int = 32, width: int = 16) -> None:
        super().__init__()
        self.embed = nn.Linear(n_mels, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, log_mel: Tensor) -> Tensor:
        return self.head(self.norm(self.layer(self.embed(log_mel))).mean(1))


class Linear(nn.Module):
    """Logits linear in the mean magnitude of each STFT bin."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.weight = nn.Parameter(torch.randn(513, 4))

    def forward(self, magnitude):
        return magnitude.mean(1) @ self.weight


def linear():
    frontend = ax.LogSTFT(RATE, log="none")
    return ax.AudioClassifier(Linear(), sample_rate=RATE, frontend=frontend, labels=LABELS)


class Written(nn.Module):
    """The same small network with its activations called in five ways."""

    def __init__(self, way):
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.one = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.two = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(8, 4)
        self.relu = nn.ReLU(inplace=way == "inplace module")

    def act(self, x):
        if self.way == "function":
            return F.relu(x)
        if self.way == "torch":
            return torch.relu(x)
        if self.way == "method":
            return x.relu()
        if self.way == "in place":
            x = 1.0 * x
            F.relu_(x)
            return x
        if self.way == "in place, by argument":
            x = 1.0 * x
            F.relu(x, True)
            return x
        return self.relu(x)  # one module, called twice

    def forward(self, x):
        return self.head(self.act(self.two(self.act(self.one(x)))).mean((2, 3)))


def written(way):
    frontend = ax.LogMel(RATE, 32, layout="B1MN")
    return ax.AudioClassifier(Written(way), sample_rate=RATE, frontend=frontend, labels=LABELS).eval()


def log_mel_cnn(multilabel: bool = False) -> ax.AudioClassifier:
    torch.manual_seed(0)
    network = CompactCNN(4, n_mels=32, widths=(8, 16, 16, 16))
    _awaken(network)
    frontend = ax.LogMel(RATE, 32)
    return ax.AudioClassifier(network, sample_rate=RATE, frontend=frontend, labels=LABELS, multilabel=multilabel).eval()


class Texts(nn.Module):
    """A random direction for each text."""

    def __init__(self, dim: int = 4):
        super().__init__()
        self.dim = dim

    def forward(self, texts: list[str]) -> Tensor:
        seeds = [zlib.crc32(text.encode()) for text in texts]
        return torch.stack([torch.randn(self.dim, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def zero_shot(classifier: ax.AudioClassifier | None = None) -> ax.ZeroShotClassifier:
    """A network of four classes as an audio tower of four dimensions."""
    classifier = classifier or log_mel_cnn()
    return ax.ZeroShotClassifier(
        classifier.network, Texts(), sample_rate=RATE, prompts=LABELS, frontend=classifier.frontend
    ).eval()


def waveform_cnn() -> ax.AudioClassifier:
    torch.manual_seed(0)
    network = WaveformCNN(4, widths=(8, 12, 16), strides=(16, 4, 4))
    _awaken(network)
    return ax.AudioClassifier(network, sample_rate=RATE, labels=LABELS).eval()


def token_network() -> ax.AudioClassifier:
    torch.manual_seed(0)
    return ax.AudioClassifier(Tokens(), sample_rate=RATE, frontend=ax.LogMel(RATE, 32), labels=LABELS).eval()


def sequential() -> ax.AudioClassifier:
    """Another library's hands: a plain Sequential on (B, 1, M, N)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    return ax.AudioClassifier(network, sample_rate=RATE, frontend=ax.LogMel(RATE, 32, layout="B1MN"), labels=LABELS)


def _awaken(network: nn.Module) -> None:
    """Batch statistics other than 0 and 1, so that evaluation and training mode differ."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)


NETWORKS = {
    "log-mel CNN": log_mel_cnn,
    "waveform CNN": waveform_cnn,
    "tokens": token_network,
    "multi-label": lambda: log_mel_cnn(multilabel=True),
    "sequential": sequential,
}


def clips(count: int = 3, samples: int = 6000, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))
