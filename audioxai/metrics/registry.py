"""Every metric that is known by name.

A metric is declared beside its function, in the tuple ``ENTRIES`` of its file; its file is named here, and nowhere
else. Tables, :mod:`~audioxai.metrics.functional`, the torchmetrics classes, the tests and the index of the pages read
what is here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

from audioxai.errors import ConfigError, nearest
from audioxai.metrics import audio_quality, complexity, curves, localisation, probabilities, robustness
from audioxai.metrics.base import Group, Metric

__all__ = [
    "CLASSES", "GROUND_TRUTH", "METRICS", "PUBLISHED", "SOUND", "STANDARD", "column_of", "find_metrics", "register",
]  # fmt: skip

_FILES = (probabilities, complexity, localisation, audio_quality, curves, robustness)


def register(entries: Iterable[Metric]) -> dict[str, Metric]:
    """Metrics by name: those of one group beside each other, each group in the order in which it is given.

    Raises:
        ConfigError: two metrics, or two torchmetrics classes, of one name.
    """
    ordered = sorted(entries, key=lambda entry: get_args(Group).index(entry.group))
    for what in ("name", "class_name"):
        names = [name for entry in ordered if (name := getattr(entry, what)) is not None]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ConfigError(f"two metrics have the {what} {twice[0]!r}; give one of them another")
    return {entry.name: entry for entry in ordered}


def _group(name: Group) -> tuple[str, ...]:
    return tuple(entry.name for entry in METRICS.values() if entry.group == name)


#: Every metric that is known by name.
METRICS = register(entry for file in _FILES for entry in file.ENTRIES)
#: Shown when nothing else is asked for: the eight standard metrics, complexity on both scales.
STANDARD = _group("standard")
#: Shown beside them for clips whose explained part is known.
GROUND_TRUTH = _group("known parts")
#: Of what is heard, of any clip: how loud what is kept is, and whether kept and removed add up to the clip.
SOUND = _group("sound")
#: By the conventions of the published tables.
PUBLISHED = _group("published")
#: The metrics of the torchmetrics classes, by the name of the class.
CLASSES = {entry.class_name: entry for entry in METRICS.values() if entry.class_name}


def find_metrics(asked: Iterable[str | Metric]) -> list[Metric]:
    """Metrics by name, or given.

    Raises:
        ConfigError: an unknown name, two of one name, or none at all.
    """
    found = []
    for entry in asked:
        if not isinstance(entry, Metric) and entry not in METRICS:
            raise ConfigError(f"metric {entry!r} is not known; nearest: {nearest(str(entry), METRICS)}")
        found.append(entry if isinstance(entry, Metric) else METRICS[entry])
    names = [entry.name for entry in found]
    if not found or len(set(names)) < len(names):
        raise ConfigError(f"metrics={names} must name at least one metric, each once")
    return found


def column_of(name: str, own: Mapping[str, Metric]) -> Metric | None:
    """The metric behind a column of scores: the caller's own, or one known by name; a judge's is what it judges by."""
    return own.get(name) or METRICS.get(name.removeprefix("judge "))
