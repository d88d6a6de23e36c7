"""A CLAP whose right explanations are known: its embeddings are energies of bands, its words name them."""

import torch
from torch import nn

import audioxai as ax
from audioxai.sound.dsp import STFT

RATE, LENGTH = 8000, 2000
BANDS = {"low": (200, 600), "middle": (1200, 1800), "high": (2600, 3400)}


class Bands(nn.Module):
    """Magnitudes (B, N, F) to the energy in each band and a tenth of all energy, (B, 4); silence is like no band.

    The layer that is explained gives maps (B, 4, N, F) of what lies in each, or one of everything.
    """

    def __init__(self, bins, separate=True):
        super().__init__()
        hertz = torch.linspace(0, RATE / 2, bins)
        inside = [(hertz >= low) & (hertz <= high) for low, high in BANDS.values()]
        self.register_buffer("bands", torch.stack([*(band.float() for band in inside), torch.full((bins,), 0.1)]))
        weights = [self.bands, torch.ones(1, bins)]
        self.layer, self.rest = (Weigh(w) for w in (weights if separate else weights[::-1]))

    def forward(self, magnitude):
        energy = self.rest(self.layer(magnitude.square()[:, None])).mean(2).sum(2)
        return energy + energy.new_tensor([0, 0, 0, 1e-2])


class Weigh(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, power):
        return power * self.weights[:, None]


class Names(nn.Module):
    """A text is about the bands that it names."""

    def forward(self, texts):
        return torch.tensor([[*(float(name in text) for name in BANDS), 1e-3] for text in texts])


def band_clap(separate=True, **options):
    frontend = ax.LogSTFT(RATE, stft=STFT(256, 256, 128), log="none")
    settings = {"prompts": list(BANDS), "layers": ["layer"]} | options
    audio = Bands(frontend.stft.bins, separate)
    return ax.ZeroShotClassifier(audio, Names(), sample_rate=RATE, frontend=frontend, **settings).eval()


def clips(count, seed=0):
    """Three tones in one band each, with its number."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(LENGTH) / RATE
    rows = []
    for number in range(count):
        low, high = list(BANDS.values())[number % 3]
        hertz = low + (high - low) * torch.rand(3, 1, generator=generator)
        rows.append(torch.sin(2 * torch.pi * hertz * time).sum(0) * 0.2)
    return torch.stack(rows) + 1e-3 * torch.randn(count, LENGTH, generator=generator), torch.arange(count) % 3


def batches(count=24, beside=None, size=8):
    """Clips, each with its number or with what is given beside."""
    waveform, classes = clips(count)
    beside = classes if beside is None else beside
    return [(waveform[i : i + size], beside[i : i + size]) for i in range(0, count, size)]
