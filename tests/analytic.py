"""Networks whose right explanation is known in advance, with sounds and the region that the mask must find."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import audioxai as ax

RATE = 8000
BINS = 513


class Bands(nn.Module):
    """Logit k is the mean magnitude in the k-th of four bands, equally high in mel: the right mask is that band."""

    def __init__(self, edges: Tensor) -> None:
        super().__init__()
        self.split = nn.Conv2d(1, 4, 1, bias=False)
        nn.init.ones_(self.split.weight)
        self.act = nn.ReLU()
        band = (torch.arange(4)[:, None] == edges).float()
        self.register_buffer("band", band[:, :, None])

    def forward(self, spectrum: Tensor) -> Tensor:
        maps = self.act(self.split(spectrum) * self.band)
        return 100 * maps.mean((2, 3))


class ToneGate(nn.Module):
    """Logit 0 is how far one STFT row rises over a threshold: the right mask is that row, while the tone sounds."""

    def __init__(self, row: int, threshold: float) -> None:
        super().__init__()
        self.row, self.threshold = row, threshold
        self.maps = nn.ReLU()

    def forward(self, spectrum: Tensor) -> Tensor:
        picked = torch.zeros_like(spectrum)
        picked[:, :, self.row] = spectrum[:, :, self.row] - self.threshold
        over = self.maps(picked)
        return torch.stack([over.sum((1, 2, 3)), 0.5 + 0 * over.sum((1, 2, 3))], 1)


class Onset(nn.Module):
    """Logit 0 is how far the level rises over a threshold from frame to frame: the right mask is the attack."""

    def __init__(self) -> None:
        super().__init__()
        self.rise = nn.Conv2d(1, 1, (1, 2), bias=False)
        with torch.no_grad():
            self.rise.weight.copy_(torch.tensor([-1.0, 1.0]).reshape(1, 1, 1, 2))
        self.act = nn.ReLU()

    def forward(self, spectrum: Tensor) -> Tensor:
        level = nn.functional.pad(spectrum.mean(2, keepdim=True), (1, 0))
        rise = self.act(self.rise(level) - 0.2).sum((1, 2, 3))
        return torch.stack([rise, 0.1 + 0 * rise], 1)


class Stretch(nn.Module):
    """Logit 0 is the level of samples 2000 to 3000: the right mask is that stretch of the waveform."""

    def __init__(self) -> None:
        super().__init__()
        self.square = nn.Conv1d(1, 2, 1, bias=False)
        with torch.no_grad():
            self.square.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1))
        self.act = nn.ReLU()

    def forward(self, waveform: Tensor) -> Tensor:
        gate = torch.zeros(waveform.shape[1])
        gate[2000:3000] = 1
        loud = 10 * self.act(self.square(waveform[:, None]) * gate).mean((1, 2))
        return torch.stack([loud, 0.001 + 0 * loud], 1)


@dataclass(frozen=True)
class Case:
    """A classifier, a clip (1, T), the target, and the region of the space's values that is right."""

    classifier: ax.AudioClassifier
    clip: Tensor
    target: int
    region: Tensor
    space: str = "stft"


def noise(samples: int, level: float = 0.1, seed: int = 0) -> Tensor:
    return level * torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


def _classifier(network: nn.Module, layer: str) -> ax.AudioClassifier:
    frontend = ax.LogSTFT(RATE, log="none", layout="B1FN")
    return ax.AudioClassifier(network, sample_rate=RATE, frontend=frontend, layers=[layer]).eval()


def bands() -> Case:
    space = ax.STFTSpace(_classifier(nn.Sequential(nn.Identity()), "0"))
    edges = (space.pitch * 4).floor()
    classifier = _classifier(Bands(edges), "act")
    clip = noise(6000)
    frames = space.stft.frames(6000)
    return Case(classifier, clip, 2, (edges == 2)[:, None].expand(-1, frames))


def tone() -> Case:
    row = 128  # of 513 rows, at 8000 Hz: 1000 Hz
    samples = 6000
    time = torch.arange(samples) / RATE
    sounding = (time > 0.25) & (time < 0.5)
    clip = noise(samples, 0.02) + 0.3 * torch.sin(2 * math.pi * 1000 * time) * sounding
    classifier = _classifier(ToneGate(row, 2.0), "maps")
    frames = torch.arange(ax.STFTSpace(classifier).stft.frames(samples)) * ax.STFTSpace(classifier).stft.hop / RATE
    region = torch.zeros(BINS, len(frames), dtype=torch.bool)
    region[row - 2 : row + 3] = (frames > 0.22) & (frames < 0.53)
    return Case(classifier, clip, 0, region)


def onset() -> Case:
    samples, attack = 6000, 3000
    age = torch.arange(samples) - attack
    clip = noise(samples, 0.001) + noise(samples, 0.3, 1) * (age >= 0) * torch.exp(-age.clamp(min=0) / 100)
    classifier = _classifier(Onset(), "act")
    stft = ax.STFTSpace(classifier).stft
    frames = torch.arange(stft.frames(samples)) * stft.hop
    region = ((frames - attack).abs() <= 2 * stft.win).expand(BINS, -1)
    return Case(classifier, clip, 0, region)


def stretch() -> Case:
    classifier = ax.AudioClassifier(Stretch(), sample_rate=RATE, layers=["act"]).eval()
    region = torch.zeros(8000, dtype=torch.bool)
    region[2000:3000] = True
    return Case(classifier, noise(8000), 0, region, "waveform")


CASES = {"band energy": bands, "tone gate": tone, "onset": onset, "stretch": stretch}
