"""Which clips and methods fit into a given time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from audioxai.benchmark.methods import CONTROLS

__all__ = ["within_budget"]

_FEWEST = 10  # clips that are explained in any case


def within_budget(seconds: float, costs: Mapping[str, float], sets: int) -> dict[str, Any]:
    """Fewer clips; and where fewer than ten would be left, the costliest methods go first, the controls never.

    Args:
        seconds: that are left for the evaluations.
        costs: method to its seconds per clip.
        sets: test sets.

    Returns:
        ``"clips"`` of each test set, ``"methods"`` that are kept, and the costs.
    """
    kept = dict(costs)
    while True:
        clips = int(seconds / max(sum(kept.values()) * sets, 1e-9))
        free = [key for key in kept if key not in CONTROLS]
        if clips >= _FEWEST or not free:
            return {"clips": max(clips, _FEWEST), "methods": list(kept), "seconds per clip": dict(costs)}
        del kept[max(free, key=lambda key: kept[key])]
