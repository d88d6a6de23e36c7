"""How good an explanation is."""

from audioxai.metrics import functional
from audioxai.metrics.evaluate import METRICS, Results, clip_scores, evaluate, judge_scores
from audioxai.metrics.ground_truth import follow

__all__ = ["METRICS", "Results", "clip_scores", "evaluate", "follow", "functional", "judge_scores"]
