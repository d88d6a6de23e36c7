"""What pictures and pages ask of an explanation, without an explainer."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from audioxai.explainers.explanation import Scores
from audioxai.sound.dsp import STFT

RATE = 16000
SETTINGS = STFT(n_fft=512)


@dataclass
class Fake:
    """Two clips."""

    input: Tensor
    waveform: Tensor
    removed: Tensor
    mask: Tensor
    scores: Scores
    target: Tensor | None = None
    target_names: list[str] = field(default_factory=lambda: ["dog", "cat"])
    names: list[str] = field(default_factory=lambda: ["a.wav", "b.wav"])
    labels: tuple[str, ...] | None = ("dog", "cat", "rain")
    method: str = "LowPass"
    space: str = "stft"
    scale: str = "magnitude"
    approximate: bool = False
    sample_rate: int = RATE
    stft: STFT | None = SETTINGS
    mel_bank: Tensor | None = None

    def __len__(self) -> int:
        return len(self.names)
