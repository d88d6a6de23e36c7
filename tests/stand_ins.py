"""Small models in the form of SpeechBrain's, torchaudio's, timm's and ONNX Runtime's: the parts adapters use."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

import audioxai as ax

RATE = 8000
LABELS = ["low", "high"]


# ONNX Runtime, or any function ----------------------------------------------------------------------------------------


def bands(waveform: np.ndarray) -> np.ndarray:
    """Energy below and above a quarter of the rate, (B, 2)."""
    power = np.abs(np.fft.rfft(waveform, axis=1)) ** 2
    low = np.arange(power.shape[1]) < power.shape[1] / 2
    means = [(power * part).sum(1) / max(1, part.sum()) for part in (low, ~low)]
    return np.log(np.stack(means, 1) + 1e-6).astype(np.float32)


def session() -> SimpleNamespace:
    """What ONNX Runtime's sessions look like."""
    return SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="sound")], run=lambda _outputs, given: [bands(given["sound"])]
    )


# timm -----------------------------------------------------------------------------------------------------------------


def image_network(channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2),
    ).eval()  # fmt: skip


class VisionTransformer(nn.Module):
    """Patches of 8 x 8 of a picture of 32 x 48, after a class token, from which the logits are read."""

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 16, 8, 8)
        self.patch_embed.grid_size = (4, 6)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 24, 16))
        layer = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(16, 2, 32, **layer) for _ in range(3)))
        self.head = nn.Linear(16, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(image).flatten(2).transpose(1, 2) + self.places
        return self.head(self.blocks(torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1))[:, 0])


def vision_transformer() -> nn.Module:
    torch.manual_seed(0)
    return VisionTransformer().eval()


# SpeechBrain ----------------------------------------------------------------------------------------------------------


class Normalise(nn.Module):
    def forward(self, features, lengths):
        assert torch.equal(lengths, torch.ones(len(features)))
        return features - features.mean(1, keepdim=True)


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(16, 6, 3, padding=1)

    def forward(self, features, lengths=None):
        return self.conv(features.transpose(1, 2)).relu().mean(2)[:, None]


def encoder_classifier() -> SimpleNamespace:
    torch.manual_seed(0)
    mods = nn.ModuleDict(
        {
            "compute_features": ax.LogMel(RATE, 16),
            "mean_var_norm": Normalise(),
            "embedding_model": Embedding(),
            "classifier": nn.Linear(6, 2),
        }
    ).eval()

    def classify_batch(clip):
        lengths = torch.ones(len(clip))
        found = mods["embedding_model"](mods["mean_var_norm"](mods["compute_features"](clip), lengths), lengths)
        return mods["classifier"](found)[:, 0], None

    hparams = SimpleNamespace(sample_rate=RATE, label_encoder=SimpleNamespace(ind2lab=dict(enumerate(LABELS))))
    return SimpleNamespace(mods=mods, hparams=hparams, classify_batch=classify_batch)


# torchaudio -----------------------------------------------------------------------------------------------------------


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x):
        return x + self.linear(x).relu()


class Recogniser(nn.Module):
    def __init__(self):
        super().__init__()
        self.feature_extractor = nn.Conv1d(1, 8, 400, stride=160)
        self.layers = nn.ModuleList(Layer() for _ in range(2))
        self.aux = nn.Linear(8, 3)

    def forward(self, waveform):
        x = self.feature_extractor(waveform[:, None]).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.aux(x), None


def bundle() -> SimpleNamespace:
    """A recogniser of three tokens, with two transformer layers."""
    torch.manual_seed(0)
    model = Recogniser().eval()
    return SimpleNamespace(sample_rate=RATE, get_model=lambda: model, get_labels=lambda: ("-", "a", "b"))
