"""The second stage of L-MAC: its settings, and its pairs of clean and noisy clips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, InputError
from audioxai.explainers.evidence import mix_within_batch
from audioxai.sound.inputs import as_waveform, read_batch
from audioxai.training.loss_weights import check_weight
from audioxai.training.losses import binary_guidance, norm_guidance

__all__ = ["FineTuning", "clean_and_noisy"]


@dataclass(frozen=True)
class FineTuning:
    """Settings of the second stage.

    Args:
        lambda_g: weight of the guidance.
        cth: cosine from which a clip is guided.
        guidance: ``"binary"`` or ``"norm"``.
    """

    lambda_g: float = 4.0
    cth: float = 0.6
    guidance: Literal["binary", "norm"] = "norm"

    def __post_init__(self) -> None:
        check_weight("lambda_g", self.lambda_g)
        if not 0 <= self.cth <= 1:
            raise ConfigError(f"cth={self.cth} is a cosine of magnitudes and must lie in [0, 1]")
        if self.guidance not in ("binary", "norm"):
            raise ConfigError(f"guidance={self.guidance!r} is not known; choose 'binary' or 'norm'")

    def distance(self, logits: Tensor, kept: Tensor, clean: Tensor) -> Tensor:
        """Of a mask, given as logits, and of the amplitudes that it keeps, from the clean amplitudes. (B,)."""
        return binary_guidance(logits, clean) if self.guidance == "binary" else norm_guidance(kept, clean)


def clean_and_noisy(batch: Any, classifier: AudioClassifier) -> tuple[Tensor, Tensor]:
    """Clean and noisy clips (B, T) of a batch; clean ones alone are mixed with one another.

    Raises:
        InputError: the two differ in shape, or the batch holds no waveform.
    """
    rate, device = classifier.sample_rate, classifier.device
    pair: tuple[Any, Any] | None = None
    if isinstance(batch, Mapping):
        if ("clean" in batch) != ("noisy" in batch):
            raise InputError(f"a dict with 'clean' or 'noisy' needs both; got {', '.join(map(str, batch))}")
        if "clean" in batch:
            pair = batch["clean"], batch["noisy"]
    elif isinstance(batch, tuple | list) and len(batch) == 2 and _is_waveform(batch[1], classifier):
        pair = batch[0], batch[1]
    if pair is None:
        clean, added, _ = mix_within_batch(classifier, read_batch(batch, rate).to(device), 1.0)
        return clean, clean + added
    clean, noisy = (as_waveform(part, rate).to(device) for part in pair)
    if clean.shape != noisy.shape:
        raise InputError(
            f"clean and noisy clips must match; got {tuple(clean.shape)} and {tuple(noisy.shape)}. Cut both alike"
        )
    return clean, noisy


def _is_waveform(given: Any, classifier: AudioClassifier) -> bool:
    """Whether the second entry of a batch is sound, and not classes (B,) or (B, K)."""
    if not isinstance(given, Tensor | np.ndarray) or given.ndim < 2:
        return False
    floating = given.is_floating_point() if isinstance(given, Tensor) else np.issubdtype(given.dtype, np.floating)
    return bool(floating) and given.shape[-1] != len(classifier.labels or ())
