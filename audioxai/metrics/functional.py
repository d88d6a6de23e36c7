"""The maths of every metric that is known by name: tensors in, one value per clip out.

What is here are the functions of :data:`audioxai.metrics.METRICS`, wherever they are written. Notation: p probabilities
(B, K) of the clip, o of what the mask keeps, m of what it removes, c the target class of each clip, by default argmax p
with the first index on ties.
"""

from __future__ import annotations

from typing import Any

from audioxai.errors import nearest
from audioxai.metrics.registry import METRICS

_FUNCTIONS = {entry.function.__name__: entry.function for entry in METRICS.values() if entry.function}
globals().update(_FUNCTIONS)

__all__ = sorted(_FUNCTIONS)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; nearest: {nearest(name, _FUNCTIONS)}")
