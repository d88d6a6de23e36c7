"""How good an explanation is.

The torchmetrics classes (:mod:`audioxai.metrics.classes`) are loaded when first asked for.
"""

from typing import Any

from audioxai.metrics import functional
from audioxai.metrics.base import Case, Metric
from audioxai.metrics.curves import deletion_auc, insertion_auc
from audioxai.metrics.evaluate import clip_scores, evaluate, judge_scores
from audioxai.metrics.f_fidelity import f_fidelity, f_fidelity_metrics, robust_copy
from audioxai.metrics.invariants import ImpossibleScoresError
from audioxai.metrics.localisation import follow
from audioxai.metrics.prompts import (
    PROMPT_FIGURES,
    PromptSensitivity,
    prompt_figures,
    prompt_sensitivity,
    random_prompts,
    wrong_prompts,
)
from audioxai.metrics.randomisation import Randomisation, cascading_randomisation, mask_similarity, random_labels
from audioxai.metrics.registry import CLASSES, GROUND_TRUTH, METRICS, PUBLISHED, SOUND, STANDARD
from audioxai.metrics.results import Results
from audioxai.metrics.robustness import infidelity, max_sensitivity

__all__ = [
    "GROUND_TRUTH", "METRICS", "PUBLISHED", "SOUND", "STANDARD", "Case", "ImpossibleScoresError", "Metric",
    "PROMPT_FIGURES", "PromptSensitivity", "Randomisation", "Results", "cascading_randomisation", "clip_scores",
    "deletion_auc", "evaluate", "f_fidelity", "f_fidelity_metrics", "follow", "functional", "infidelity",
    "insertion_auc", "judge_scores", "mask_similarity", "max_sensitivity", "prompt_figures", "prompt_sensitivity",
    "random_labels", "random_prompts", "robust_copy", "wrong_prompts",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in CLASSES or name == "ExplanationMetrics":
        from audioxai.metrics import classes

        return getattr(classes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
