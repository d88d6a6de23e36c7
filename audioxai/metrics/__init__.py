"""How good an explanation is."""

from audioxai.metrics import functional
from audioxai.metrics.evaluate import clip_scores, evaluate, judge_scores
from audioxai.metrics.ground_truth import follow
from audioxai.metrics.invariants import ImpossibleScoresError
from audioxai.metrics.results import METRICS, Results

__all__ = [
    "METRICS",
    "ImpossibleScoresError",
    "Results",
    "clip_scores",
    "evaluate",
    "follow",
    "functional",
    "judge_scores",
]
