"""What no table of correct metrics can violate, by the definitions in :mod:`audioxai.metrics.functional`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from audioxai.errors import AudioXAIError
from audioxai.metrics.base import Metric
from audioxai.metrics.registry import column_of

__all__ = ["ImpossibleScoresError", "check_scores"]

_SLACK = 1e-6


class ImpossibleScoresError(AudioXAIError, ArithmeticError):
    """Scores that no correct computation gives; a table with them is not written."""


def check_scores(
    name: str, scores: Mapping[str, Tensor], runs: int = 1, own: Mapping[str, Metric] | None = None
) -> None:
    """Raise if the per-clip scores (n,) of one explainer contradict each other.

    Every metric lies in its range; a clip's increase is 0 or 100 in each of the ``runs`` that a score is the mean of;
    its gain is at most its increase and positive exactly where that is; increase and drop exclude each other; a mask
    that keeps everything changes nothing. Undefined scores, NaN, are left out. ``own`` are metrics that are not known
    by name.

    Raises:
        ImpossibleScoresError: with the row, the clip and the values.
    """
    for key, values in scores.items():
        if (metric := column_of(key, own or {})) is not None:
            outside = (values < metric.low - _SLACK) | (values > metric.high + _SLACK)
            _demand(name, outside, scores, f"{key} outside {metric.low:g} to {metric.high:g}")
    if "AI" in scores:
        counted = scores["AI"] * runs / 100
        _demand(name, (counted - counted.round()).abs() > 1e-3, scores, "AI that no count of rises gives")
    if {"AI", "AD", "AG"} <= set(scores):
        rise, drop, gain = scores["AI"], scores["AD"], scores["AG"]
        _demand(name, gain > rise + _SLACK, scores, "AG > AI")
        _demand(name, (gain > 0) & (rise <= 0), scores, "AG > 0 without AI")
        _demand(name, (rise > 0) & (gain <= 0), scores, "AI > 0 without AG")
        _demand(name, rise + drop > 100 + 1e-3, scores, "AI + AD > 100")
    if {"MM", "AD"} <= set(scores):
        everything = scores["MM"] >= 1
        for key in ("AD", "AG"):
            moved = everything & (scores.get(key, scores["MM"] * 0) > 0.1)
            _demand(name, moved, scores, f"{key} > 0 though the mask keeps everything")


def _demand(name: str, wrong: Tensor, scores: Mapping[str, Tensor], what: str) -> None:
    if wrong.any():
        clip = int(wrong.nonzero()[0, 0])
        values = ", ".join(f"{key} {float(value[clip]):.4g}" for key, value in scores.items())
        raise ImpossibleScoresError(
            f"{name}, clip {clip}: {what} ({values}). No correct metric gives this; look for the fault"
        )
