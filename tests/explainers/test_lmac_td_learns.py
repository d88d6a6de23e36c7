"""LMAC-TD on a network of which the right answer is known."""

import math

import learned
import networks
import pytest
import torch
from torch import nn

import audioxai as ax


class Halves(nn.Module):
    """Class k's logit is the mean log energy of the k-th half of the STFT rows."""

    def __init__(self):
        super().__init__()
        self.map = nn.ReLU()
        self.gain = nn.Parameter(torch.tensor(30.0))

    def forward(self, log_stft):
        rows = self.map(log_stft[:, None])[:, 0].mean(2)
        return self.gain * torch.stack([part.mean(1) for part in rows[:, :64].chunk(2, dim=1)], 1)


def halves():
    frontend = ax.LogSTFT(networks.RATE, stft=ax.dsp.STFT(128, 128, 64), layout="BFN")
    return ax.AudioClassifier(Halves(), sample_rate=networks.RATE, frontend=frontend, labels=["low", "high"]).eval()


def tones(classes, seed=0, samples=2000):
    """A burst of a tone in the lower or the upper half of the spectrum, somewhere in each clip."""
    generator = torch.Generator().manual_seed(seed)
    time, clips = torch.arange(samples) / networks.RATE, []
    for k in classes:
        pitch = 400 + 2000 * k + 1000 * float(torch.rand(1, generator=generator))
        start = 0.5 * samples * float(torch.rand(1, generator=generator))
        envelope = ((torch.arange(samples) - start) / samples).clamp(min=0).mul(2).clamp(max=1)
        clips.append(0.3 * torch.sin(2 * math.pi * pitch * time) * torch.sin(math.pi * envelope))
    return torch.stack(clips)


@pytest.fixture(scope="module")
def toy():
    classifier = halves()
    classes = [0, 1] * 24
    clips = tones(classes) + 0.003 * networks.clips(48, 2000)
    assert classifier(clips).argmax(1).tolist() == classes
    explainer = ax.LMACTD(classifier, channels=32, masker_options={"blocks": 3})
    return explainer.fit(learned.shuffled(clips), epochs=10, lr=5e-3, progress=False)


def in_halves(sound):
    """(B, T) to the energy in both halves of the spectrum, in dB, (B, 2)."""
    power = torch.fft.rfft(sound).abs().square()[:, : sound.shape[1] // 2]
    return 10 * torch.log10(torch.stack([part.sum(1) for part in power.chunk(2, dim=1)], 1) + 1e-9)


def test_the_tone_of_the_class_is_kept_and_the_other_removed(toy):
    assert toy.history_[-1]["loss"] < 0.7 * toy.history_[0]["loss"]
    stems = tones([0, 1] * 4, seed=5), tones([1, 0] * 4, seed=6)
    mixture = stems[0] + stems[1]
    for targets in ([0, 1] * 4, [1, 0] * 4):
        result = toy.explain(mixture, targets)
        kept, removed = in_halves(result.waveform), in_halves(result.removed)
        for k, own, lost in zip(targets, kept, removed, strict=True):
            assert own[k] - own[1 - k] > 10
            assert lost[1 - k] - lost[k] > 3
        assert result.scores.kept.argmax(1).tolist() == targets
        assert result.scores.removed.argmax(1).tolist() == [1 - k for k in targets]


def test_what_is_kept_follows_a_shift_in_time(toy):
    """A clip that comes a second later is explained a second later; a second of whole frames, so that all is equal."""
    clip = torch.zeros(1, 24000)
    clip[:, 6000:8000] = tones([0], seed=7) + tones([1], seed=8)
    second = 64 * toy.separator.bank.stride
    later = clip.roll(second, 1)
    for target in (0, 1):
        here, there = (toy.explain(sound, target).waveform for sound in (clip, later))
        gap = there - here.roll(second, 1)
        assert gap.norm() < 0.05 * here.norm()


def test_it_beats_the_controls(toy):
    learned.beats_random(toy, tones([0, 1, 0, 1], seed=8) + 0.5 * tones([1, 0, 1, 0], seed=9))


@pytest.mark.parametrize("kind", ["fourier", "learned"])
@pytest.mark.parametrize("samples", [1, 3, 15, 255, 2500])
def test_clips_shorter_than_a_kernel(kind, samples):
    """On a network that takes clips of any length."""
    explainer = learned.fresh(ax.LMACTD, halves(), channels=8, filterbank=kind)
    result = explainer.explain(networks.clips(2, samples))
    assert result.waveform.shape == result.removed.shape == (2, samples)
    assert torch.isfinite(result.waveform).all()
    assert torch.isfinite(result.mask).all()
