"""The metrics as torchmetrics classes: states and reduction over processes; the maths is in ``functional``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from audioxai.explanation import Explanation
from audioxai.metrics import functional
from audioxai.metrics.evaluate import clip_scores
from audioxai.metrics.results import METRICS

__all__ = [
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Complexity",
    "ExplanationMetrics",
    "Faithfulness",
    "InputFidelity",
    "MaskMean",
    "Sparseness",
]


class _Mean(Metric):
    """Mean over the clips where the metric is defined; NaN when there is none."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        defined = ~values.isnan()
        self.total += values[defined].double().sum()
        self.count += defined.sum()

    def compute(self) -> Tensor:
        return self.total / self.count


class AverageIncrease(_Mean):
    """Mean of :func:`functional.average_increase`, in percent."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.average_increase(probs, probs_kept, target))


class AverageDrop(_Mean):
    """Mean of :func:`functional.average_drop`, in percent; ``reference=True`` for the published figure."""

    higher_is_better = False

    def __init__(self, *, reference: bool = False, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.reference = reference

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.average_drop(probs, probs_kept, target, reference=self.reference))


class AverageGain(_Mean):
    """Mean of :func:`functional.average_gain`, in percent."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.average_gain(probs, probs_kept, target))


class Faithfulness(_Mean):
    """Mean of :func:`functional.faithfulness`."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_removed: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.faithfulness(probs, probs_removed, target))


class InputFidelity(_Mean):
    """Mean of :func:`functional.input_fidelity`."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.input_fidelity(probs, probs_kept, target))


class Sparseness(_Mean):
    """Mean of :func:`functional.sparseness`."""

    higher_is_better = True

    def update(self, mask: Tensor) -> None:
        self._add(functional.sparseness(mask))


class Complexity(_Mean):
    """Mean of :func:`functional.complexity`, in nats, or relative to its ceiling."""

    higher_is_better = False

    def __init__(self, *, relative: bool = False, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.relative = relative

    def update(self, mask: Tensor) -> None:
        self._add(functional.complexity(mask, relative=self.relative))


class MaskMean(_Mean):
    """Mean of :func:`functional.mask_mean`."""

    higher_is_better = None

    def update(self, mask: Tensor) -> None:
        self._add(functional.mask_mean(mask))


class ExplanationMetrics(Metric):
    """All eight standard metrics of explanations, from the three passes that an explanation shares among them.

    Example:
        >>> metrics = ExplanationMetrics()
        >>> metrics.update(explainer.explain(waveform))  # doctest: +SKIP
        >>> metrics.compute()["AI"]  # doctest: +SKIP
    """

    is_differentiable = False
    higher_is_better = None  # they differ, see ``audioxai.metrics.METRICS``
    full_state_update = False
    total: Tensor
    count: Tensor
    clips: Tensor

    def __init__(self, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.add_state("total", torch.zeros(len(METRICS), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(METRICS), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, explanation: Explanation) -> None:
        scores = clip_scores(explanation)
        values = torch.stack([scores[name].double() for name in METRICS]).to(self.total.device)
        self.total += values.nansum(1)
        self.count += (~values.isnan()).sum(1)
        self.clips += len(explanation)

    def compute(self) -> dict[str, Tensor]:
        """Name to mean, and for each name ``"NAME undefined"``, the number of clips without a value."""
        means = dict(zip(METRICS, self.total / self.count, strict=True))
        missing = {f"{name} undefined": self.clips - n for name, n in zip(METRICS, self.count, strict=True)}
        return means | missing
