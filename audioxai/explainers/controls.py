"""Controls: masks that know nothing of the classifier. A method that does not beat them has explained nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.classifiers.targets import Target
from audioxai.errors import ConfigError
from audioxai.explainers.base import Explainer, Solution
from audioxai.explainers.registry import register
from audioxai.explainers.score import Score, generators_of
from audioxai.masking.spaces import Analysis

__all__ = ["AllOnes", "EnergyMask", "RandomMask"]


class _Control(Explainer):
    """A control writes ``_control``: values (B, ...) to masks (B, ...)."""

    def _control(self, values: Tensor, generators: list[torch.Generator]) -> Tensor:
        raise NotImplementedError

    def _solve(self, analysis: Analysis, target: Target) -> Solution:
        with torch.no_grad():
            logits = self.space.predict(analysis.values, analysis)
            mask = self._control(analysis.values, generators_of(analysis.waveform, self.seed))
        return Solution(mask, logits, target.resolve(logits, self.classifier.labels))

    def _attribute(self, values: Tensor, score: Score) -> Tensor:
        return self._control(values, score.generators)


@register("all-ones")
class AllOnes(_Control):
    """Keeps everything: AI = AD = AG = 0 and Fid-In = 1 by definition."""

    _published: ClassVar[Mapping[str, Any]] = {}

    def _control(self, values: Tensor, generators: list[torch.Generator]) -> Tensor:
        return torch.ones_like(values)


@register("random")
class RandomMask(_Control):
    """Keeps a random share of the cells.

    Args:
        classifier: the wrapped network.
        share: expected share of cells kept, in (0, 1].
        **base: see :class:`Explainer`.
    """

    def __init__(self, classifier: AudioClassifier, *, share: float = 0.16, **base: Any) -> None:
        super().__init__(classifier, **base)
        self.share = _checked(share)

    def _control(self, values: Tensor, generators: list[torch.Generator]) -> Tensor:
        draws = [torch.rand(values.shape[1:], generator=generator) for generator in generators]
        return (torch.stack(draws) < self.share).to(values)


@register("energy")
class EnergyMask(_Control):
    """Keeps the loudest cells of each clip: a method that does not beat it has learnt loudness.

    Args:
        classifier: the wrapped network.
        share: share of cells kept, in (0, 1].
        **base: see :class:`Explainer`.
    """

    def __init__(self, classifier: AudioClassifier, *, share: float = 0.16, **base: Any) -> None:
        super().__init__(classifier, **base)
        self.share = _checked(share)

    def _control(self, values: Tensor, generators: list[torch.Generator]) -> Tensor:
        flat = values.abs().flatten(1)
        kept = max(1, round(self.share * flat.shape[1]))
        loudest = flat.topk(kept, dim=1).indices
        return torch.zeros_like(flat).scatter_(1, loudest, 1.0).reshape(values.shape)


def _checked(share: float) -> float:
    if not 0 < share <= 1:
        raise ConfigError(f"share={share} must lie in (0, 1]")
    return share
