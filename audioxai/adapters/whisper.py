"""Classifiers on Whisper's encoder: its log-mel, always padded to 30 s, one token per 20 ms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.adapters.tokens import TokenMaps, blocks_of
from audioxai.errors import InputError
from audioxai.sound.dsp import STFT
from audioxai.sound.frontends import LogMel

__all__ = ["Whisper", "WhisperLogMel", "whisper"]

_RANGE = 8.0  # decades below the loudest cell, where the log-mel is cut off; source: Radford et al. 2022, their code
_SILENCE = (-10.0 + 4.0) / 4.0  # the floor of 1e-10, scaled


class WhisperLogMel(nn.Module):
    """Front end (B, T) to (B, M, N): log10 mel power, at most 8 below its maximum, scaled to about [-1, 1].

    N covers the frames that the clip reaches into; all later ones of the 30 s hold silence, see :meth:`Whisper.inputs`.

    Args:
        sample_rate: in Hz.
        n_mels: bands M, 80 or 128.
        n_fft: window in samples.
        hop_length: samples between frames.
        n_samples: longest clip.
    """

    def __init__(self, sample_rate: int, n_mels: int, *, n_fft: int, hop_length: int, n_samples: int) -> None:
        super().__init__()
        stft = STFT(n_fft, n_fft, hop_length, "hann", pad_mode="reflect")
        mel: dict[str, Any] = {"f_max": 8000.0, "mel_scale": "slaney", "norm": "slaney"}
        self.bands = LogMel(sample_rate, n_mels, **mel, stft=stft, power=2, log="log10", floor=1e-10, layout="BMN")
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.n_samples = n_samples

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return f"{self.bands.config()}, n_samples={self.n_samples}"

    def forward(self, waveform: Tensor) -> Tensor:
        samples = waveform.shape[-1]
        if samples > self.n_samples:
            raise InputError(
                f"the clip has {samples} samples, but the model hears {self.n_samples} only; cut it into windows of at "
                f"most {self.n_samples / self.sample_rate:g} s"
            )
        silence = min(self.n_fft, self.n_samples - samples)
        bands = self.bands(F.pad(waveform, (0, silence)))[..., :-1]
        bands = torch.maximum(bands, bands.amax((1, 2), keepdim=True) - _RANGE)
        return (bands + 4.0) / 4.0


class Whisper(TokenMaps):
    """Log-mel (B, M, N) of a clip to logits.

    Args:
        model: a ``WhisperForAudioClassification``.
        frames: what the model eats, 3000 for 30 s.
        beyond: frames of the log-mel that only touch the clip's end.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], frames: int, beyond: int) -> None:
        super().__init__(model, blocks)
        self.frames = frames
        self.beyond = beyond

    def inputs(self, features: Tensor) -> Tensor:
        """(B, M, N) to (B, M, frames), with silence as the extractor scales it beside this clip."""
        silence = (features.amax((1, 2), keepdim=True) - _RANGE / 4.0).clamp(min=_SILENCE)
        rest = silence.expand(-1, features.shape[1], self.frames - features.shape[2])
        return torch.cat([features, rest], -1)

    def forward(self, features: Tensor) -> Tensor:
        frames = features.shape[2]
        own = frames if frames == self.frames else max(1, frames - self.beyond)
        return self.run(self.inputs(features), steps=-(-own // 2))


def whisper(model: nn.Module, extractor: Any, blocks: Sequence[int] | None) -> tuple[Whisper, WhisperLogMel]:
    """The network and its front end, with the settings of a ``WhisperFeatureExtractor``."""
    hop, n_fft = int(extractor.hop_length), int(extractor.n_fft)
    frontend = WhisperLogMel(
        int(extractor.sampling_rate),
        int(extractor.feature_size),
        n_fft=n_fft,
        hop_length=hop,
        n_samples=int(extractor.n_samples),
    )
    return Whisper(model, blocks_of(model, blocks), int(extractor.n_samples) // hop, n_fft // hop), frontend
