"""Transformers on the waveform itself: Wav2Vec2, HuBERT, WavLM, UniSpeech, Data2Vec, SEW; tokens over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from audioxai.adapters.tokens import TokenMaps, blocks_of
from audioxai.classifiers.sequences import Pool, pool_frames, pool_repr

__all__ = ["Raw", "Standardise", "raw"]


class Standardise(nn.Module):
    """Front end (B, T) to (B, T): each clip less its mean, over the root of its variance + ``eps``.

    Args:
        sample_rate: in Hz.
        eps: added to the variance; 1e-7 in transformers, 1e-5 in torchaudio.
    """

    def __init__(self, sample_rate: int, eps: float = 1e-7) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.eps = eps

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return f"{self.sample_rate}, eps={self.eps!r}"

    def forward(self, waveform: Tensor) -> Tensor:
        centred = waveform - waveform.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()


class Raw(TokenMaps):
    """Waveforms (B, T) to logits (B, K); answers per frame are pooled.

    Args:
        model: with a head for sequences or for frames.
        pool: see :func:`audioxai.classifiers.sequences.pool_frames`.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], pool: Pool = "max") -> None:
        super().__init__(model, blocks)
        self.pool = pool

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {pool_repr(self.pool)}"

    def inputs(self, features: Tensor) -> Tensor:
        """What the model eats."""
        return features

    def forward(self, features: Tensor) -> Tensor:
        logits = self.run(features)
        return pool_frames(logits, self.pool) if logits.ndim == 3 else logits


def raw(model: nn.Module, extractor: Any, blocks: Sequence[int] | None, pool: Pool) -> tuple[Raw, nn.Module | None]:
    """The network and its front end, with the settings of a ``Wav2Vec2FeatureExtractor``."""
    frontend = Standardise(int(extractor.sampling_rate)) if extractor.do_normalize else None
    return Raw(model, blocks_of(model, blocks), pool), frontend
