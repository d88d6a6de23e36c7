"""How good an explanation is.

The torchmetrics classes (:mod:`audioxai.metrics.classes`) are loaded when first asked for.
"""

from typing import Any

from audioxai.metrics import functional
from audioxai.metrics.curves import deletion_auc, insertion_auc
from audioxai.metrics.evaluate import clip_scores, evaluate, judge_scores
from audioxai.metrics.ground_truth import follow
from audioxai.metrics.invariants import ImpossibleScoresError
from audioxai.metrics.results import METRICS, Results
from audioxai.metrics.robustness import infidelity, max_sensitivity

_CLASSES = (
    "AverageDrop", "AverageGain", "AverageIncrease", "Complexity", "ExplanationMetrics", "Faithfulness",
    "InputFidelity", "MaskMean", "Sparseness",
)  # fmt: skip

__all__ = [
    "METRICS",
    "ImpossibleScoresError",
    "Results",
    "clip_scores",
    "deletion_auc",
    "evaluate",
    "follow",
    "functional",
    "infidelity",
    "insertion_auc",
    "judge_scores",
    "max_sensitivity",
]


def __getattr__(name: str) -> Any:
    if name in _CLASSES:
        from audioxai.metrics import classes

        return getattr(classes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
