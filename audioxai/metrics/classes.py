"""The metrics as torchmetrics classes: states and reduction over processes; the maths is in ``functional``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from audioxai.classifiers.targets import TargetLike
from audioxai.explainers.base import Explainer
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import functional
from audioxai.metrics.curves import Predict
from audioxai.metrics.evaluate import clip_scores
from audioxai.metrics.registry import STANDARD

__all__ = [
    "AverageDrop",
    "AverageGain",
    "AverageIncrease",
    "Complexity",
    "DeletionAUC",
    "ExplanationMetrics",
    "Faithfulness",
    "Infidelity",
    "InputFidelity",
    "InsertionAUC",
    "InterferenceGain",
    "MaskAUC",
    "MaskMean",
    "MaxSensitivity",
    "PointingGame",
    "RatioMaskOverlap",
    "SISDR",
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


class _OfProbabilities(_Mean):
    """A metric of probabilities; ``multilabel=True`` when they are sigmoids, whose rows do not sum to one."""

    def __init__(self, *, multilabel: bool = False, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.multilabel = multilabel


class AverageIncrease(_OfProbabilities):
    """Mean of :func:`functional.average_increase`, in percent."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.average_increase(probs, probs_kept, target, multilabel=self.multilabel))


class AverageDrop(_OfProbabilities):
    """Mean of :func:`functional.average_drop`, in percent; ``reference=True`` for the published figure."""

    higher_is_better = False

    def __init__(self, *, reference: bool = False, multilabel: bool = False, **torchmetrics: Any) -> None:
        super().__init__(multilabel=multilabel, **torchmetrics)
        self.reference = reference

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        drop = functional.average_drop(probs, probs_kept, target, reference=self.reference, multilabel=self.multilabel)
        self._add(drop)


class AverageGain(_OfProbabilities):
    """Mean of :func:`functional.average_gain`, in percent."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.average_gain(probs, probs_kept, target, multilabel=self.multilabel))


class Faithfulness(_OfProbabilities):
    """Mean of :func:`functional.faithfulness`."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_removed: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.faithfulness(probs, probs_removed, target, multilabel=self.multilabel))


class InputFidelity(_OfProbabilities):
    """Mean of :func:`functional.input_fidelity`."""

    higher_is_better = True

    def update(self, probs: Tensor, probs_kept: Tensor, target: Tensor | None = None) -> None:
        self._add(functional.input_fidelity(probs, probs_kept, target, multilabel=self.multilabel))


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


class RatioMaskOverlap(_Mean):
    """Mean of :func:`functional.ratio_mask_overlap`."""

    higher_is_better = True

    def update(self, mask: Tensor, stem: Tensor, other: Tensor) -> None:
        self._add(functional.ratio_mask_overlap(mask, stem, other))


class PointingGame(_Mean):
    """Mean of :func:`functional.pointing_game`."""

    higher_is_better = True

    def update(self, mask: Tensor, stem: Tensor, other: Tensor) -> None:
        self._add(functional.pointing_game(mask, stem, other))


class MaskAUC(_Mean):
    """Mean of :func:`functional.mask_auc`."""

    higher_is_better = True

    def update(self, mask: Tensor, stem: Tensor, other: Tensor) -> None:
        self._add(functional.mask_auc(mask, stem, other))


class InterferenceGain(_Mean):
    """Mean gain of :func:`functional.interference_gain`, in dB."""

    higher_is_better = True

    def update(self, mask: Tensor, stem: Tensor, other: Tensor) -> None:
        self._add(functional.interference_gain(mask, stem, other)[0])


class SISDR(_Mean):
    """Mean of :func:`functional.si_sdr`, in dB."""

    higher_is_better = True

    def update(self, estimate: Tensor, reference: Tensor) -> None:
        self._add(functional.si_sdr(estimate, reference))


class _Curve(_Mean):
    def __init__(self, *, steps: int = 16, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.steps = steps


class InsertionAUC(_Curve):
    """Mean of :func:`functional.insertion_auc`."""

    higher_is_better = True

    def update(self, predict: Predict, values: Tensor, mask: Tensor) -> None:
        self._add(functional.insertion_auc(predict, values, mask, steps=self.steps))


class DeletionAUC(_Curve):
    """Mean of :func:`functional.deletion_auc`."""

    higher_is_better = False

    def update(self, predict: Predict, values: Tensor, mask: Tensor) -> None:
        self._add(functional.deletion_auc(predict, values, mask, steps=self.steps))


class Infidelity(_Mean):
    """Mean of :func:`functional.infidelity`."""

    higher_is_better = False

    def update(
        self, score: Callable[[Tensor], Tensor], values: Tensor, attribution: Tensor, perturbations: Tensor
    ) -> None:
        self._add(functional.infidelity(score, values, attribution, perturbations))


class MaxSensitivity(_Mean):
    """Mean of :func:`functional.max_sensitivity`; the options are its own."""

    higher_is_better = False

    def __init__(self, *, radius: float = 0.02, samples: int = 10, seed: int = 0, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.options: dict[str, Any] = {"radius": radius, "samples": samples, "seed": seed}

    def update(self, explainer: Explainer, waveform: Tensor, target: TargetLike = None) -> None:
        self._add(functional.max_sensitivity(explainer, waveform, target, **self.options))


class ExplanationMetrics(Metric):
    """The standard metrics of explanations, from the three passes that an explanation shares among them.

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
        self.add_state("total", torch.zeros(len(STANDARD), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(STANDARD), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, explanation: Explanation) -> None:
        scores = clip_scores(explanation)
        values = torch.stack([scores[name].double() for name in STANDARD]).to(self.total.device)
        self.total += values.nansum(1)
        self.count += (~values.isnan()).sum(1)
        self.clips += len(explanation)

    def compute(self) -> dict[str, Tensor]:
        """Name to mean, and for each name ``"NAME undefined"``, the number of clips without a value."""
        means = dict(zip(STANDARD, self.total / self.count, strict=True))
        missing = {f"{name} undefined": self.clips - n for name, n in zip(STANDARD, self.count, strict=True)}
        return means | missing
