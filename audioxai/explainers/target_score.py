"""The explained score as a function of values: all that a training-free method may ask about a classifier."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from audioxai.classifiers.targets import Target
from audioxai.errors import ClassifierError, ConfigError
from audioxai.masking.spaces import Analysis, Space

__all__ = ["Score", "check_logits", "generators_of"]


class Score:
    """The explained score as a function of (masked) values: what a training-free method asks about.

    ``score(values)`` takes (R, ...) values and gives (R,) target logits. Row r belongs to clip ``rows[r]``; without
    ``rows``, R must be a multiple of the number of clips, one batch after the other. Forwards are cut to
    ``max_batch`` rows when no gradient is wanted. ``seed`` is of the :attr:`generators`.
    """

    def __init__(self, space: Space, analysis: Analysis, target: Target, *, max_batch: int, seed: int) -> None:
        self.analysis = analysis
        self._space = space
        self._target = target
        self._max_batch = max_batch
        self._seed = seed
        self._resolved = False
        self.logits: Tensor | None = None

    def __call__(self, values: Tensor, rows: Tensor | None = None) -> Tensor:
        clips = len(self.analysis.values)
        if rows is None:
            if len(values) % clips:
                raise ConfigError(f"{len(values)} rows cannot be matched to {clips} clips; pass rows=")
            rows = torch.arange(clips, device=values.device).repeat(len(values) // clips)
        size = self._max_batch
        if (values.requires_grad and torch.is_grad_enabled()) or len(values) <= size:
            return self._forward(values, rows)
        parts = [slice(start, start + size) for start in range(0, len(values), size)]
        return torch.cat([self._forward(values[part], rows[part]) for part in parts])

    def _forward(self, values: Tensor, rows: Tensor) -> Tensor:
        logits = self._space.predict(values, self.analysis, rows)
        check_logits(logits)
        if not self._resolved and not self._target.predicted:
            # A given class needs no pass over the clips themselves.
            self._resolve(logits)
        return self.target.rows(rows).score(logits)

    @property
    def target(self) -> Target:
        """The resolved target; for the predicted class, after a pass over the clips if the method made none."""
        if not self._resolved:
            with torch.no_grad():
                self.take(self._space.predict(self.analysis.values, self.analysis))
        return self._target

    def name_predicted(self) -> None:
        """Find the predicted classes now, if they are the target: before a method changes how the network works."""
        if self._target.predicted:
            self.target  # noqa: B018 - resolves

    def take(self, logits: Tensor) -> None:
        """Hand over the clips' own logits (B, K), from a pass that the method makes anyway."""
        check_logits(logits)
        self.logits = logits.detach()
        if not self._resolved:
            self._resolve(logits)

    def _resolve(self, logits: Tensor) -> None:
        self._target = self._target.resolve(logits, self._space.classifier.labels)
        self._resolved = True

    @property
    def generators(self) -> list[torch.Generator]:
        """One generator per clip, seeded by the explainer's seed and the clip itself."""
        return generators_of(self.analysis.waveform, self._seed)


def generators_of(waveform: Tensor, seed: int) -> list[torch.Generator]:
    """One generator for each clip of (B, T), seeded by the clip's samples and ``seed`` alone."""
    seeds = [zlib.crc32(clip.detach().cpu().numpy().tobytes(), seed & 0xFFFFFFFF) for clip in waveform]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def check_logits(logits: Tensor) -> None:
    """Refuse logits that are not finite."""
    if not torch.isfinite(logits).all():
        raise ClassifierError("the network returned NaN or infinite logits; check its weights and input range")
