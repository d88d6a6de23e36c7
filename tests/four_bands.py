"""A network of four classes whose right masks are the four quarters of the spectrum, and clips for it."""

import networks
import torch
from torch import nn

import audioxai as ax


class Bands(nn.Module):
    """Class k's logit is the mean log energy of the k-th quarter of the STFT rows: the right mask is that band."""

    def __init__(self):
        super().__init__()
        self.map = nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(40.0))

    def forward(self, log_stft):
        rows = self.map(log_stft[:, None])[:, 0].mean(2)
        return self.gain * torch.stack([part.mean(1) for part in rows[:, :64].chunk(4, dim=1)], 1)


def band_classifier():
    frontend = ax.LogSTFT(networks.RATE, stft=ax.dsp.STFT(128, 128, 64), layout="BFN")
    return ax.AudioClassifier(Bands(), sample_rate=networks.RATE, frontend=frontend, labels=networks.LABELS).eval()


def band_clips(classes, seed=0, samples=2048):
    """Noise in one quarter of the spectrum each."""
    noise = torch.randn(len(classes), samples, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(noise)
    bins = torch.arange(spectrum.shape[1]) * 4 // spectrum.shape[1]
    keep = bins[None] == torch.tensor(classes)[:, None]
    return 0.3 * nn.functional.normalize(torch.fft.irfft(spectrum * keep, n=samples)) * samples**0.5


def in_bands(mask):
    """(B, F, N) masks to their means in the four bands, (B, 4)."""
    return torch.stack([part.mean((1, 2)) for part in mask[:, :64].chunk(4, dim=1)], 1)
