"""What a listening test says: means with intervals over listeners, and paired tests between methods."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audioxai.listening.page import SCALES
from audioxai.listening.ratings import Answers, Ratings, read_ratings
from audioxai.listening.statistics import MeanInterval, SignedRank, holm, mean_interval, signed_rank, smallest_p
from audioxai.support.files import PathLike, write_bytes

__all__ = ["Comparison", "ListeningResults", "listening_results"]


@dataclass(frozen=True)
class Comparison:
    """Two methods on one scale: the mean difference over listeners, and Wilcoxon's test with Holm's correction."""

    scale: str
    first: str
    second: str
    difference: MeanInterval
    test: SignedRank
    p_holm: float


@dataclass(frozen=True)
class ListeningResults:
    """Means per method and scale, and all pairs of methods.

    Attributes:
        ratings: what they were computed from.
        means: (method, scale) to the mean over listeners, each of whom is the mean of his or her trials, with Student's
            95 % interval.
        comparisons: all pairs of methods, scale by scale; Holm's correction is over the pairs of a scale.
        notes: what a reader of the tables must know.
    """

    ratings: Ratings
    means: dict[tuple[str, str], MeanInterval]
    comparisons: list[Comparison]
    notes: list[str]

    def to_markdown(self) -> str:
        """Two tables and the notes."""
        head = ["", *(f"{scale} (95 % interval)" for scale in SCALES)]
        rows = [[method, *(_spread(self.means[method, scale]) for scale in SCALES)] for method in self.ratings.methods]
        tests = [
            [c.scale, f"{c.first} - {c.second}", _spread(c.difference), f"{c.test.n}", _p(c.test.p), _p(c.p_holm)]
            for c in self.comparisons
        ]
        listeners = len(self.ratings.used)
        lines = [
            f"Mean ratings, n = {listeners} listener(s), {self.ratings.clips} clip(s)",
            "",
            *_table(head, rows),
            "",
            "Differences between methods, and Wilcoxon's signed-rank test (n: listeners whose ratings differ)",
            "",
            *_table(["scale", "methods", "difference (95 % interval)", "n", "p", "p, Holm"], tests, names=2),
        ]
        return "\n".join([*lines, "", *(f"- {_plain(note)}" for note in self.notes)])

    def means_csv(self) -> str:
        """One line per method and scale, at full precision."""
        rows = [[m, s, *_blank(self.means[m, s])] for m in self.ratings.methods for s in SCALES]
        return _csv(["method", "scale", "mean", "low", "high", "listeners"], rows)

    def tests_csv(self) -> str:
        """One line per pair of methods and scale, at full precision."""
        head = ["scale", "first", "second", "difference", "low", "high", "listeners", "n", "equal", "statistic", "p"]
        rows = [
            [c.scale, c.first, c.second, *_blank([*c.difference, *c.test[:4], c.p_holm]), c.test.exact]
            for c in self.comparisons
        ]
        return _csv([*head, "p_holm", "exact"], rows)

    def ratings_csv(self) -> str:
        """Every rating with the names from the key, for models of your own; screened listeners are marked."""
        names = ("trial", "clip", "target", "kind", "method", "position", "plays", *SCALES)
        everyone = [(a, False) for a in self.ratings.used] + [(a, True) for a in self.ratings.screened]
        rows = [[a.listener, out, *(getattr(r, name) for name in names)] for a, out in everyone for r in a.ratings]
        return _csv(["listener", "screened", *names], rows)

    def to_json(self) -> str:
        """All figures; what cannot be given is null."""
        found = {
            "test": self.ratings.test,
            "clips": self.ratings.clips,
            "listeners": [a.listener for a in self.ratings.used],
            "screened": [
                {"listener": a.listener, "low_references": a.low_references, "trials": a.trials}
                for a in self.ratings.screened
            ],
            "means": [
                {"method": method, "scale": scale} | _figures(mean) for (method, scale), mean in self.means.items()
            ],
            "comparisons": [
                {"scale": c.scale, "first": c.first, "second": c.second, "difference": _figures(c.difference)}
                | {"test": _figures(c.test), "p_holm": _null(c.p_holm)}
                for c in self.comparisons
            ],
            "notes": self.notes,
        }
        return json.dumps(found, indent=1)

    def save(self, folder: PathLike) -> list[Path]:
        """Write ``listening.md``, ``listening.json``, ``means.csv``, ``tests.csv`` and ``ratings.csv``."""
        files = {
            "listening.md": self.to_markdown() + "\n",
            "listening.json": self.to_json(),
            "means.csv": self.means_csv(),
            "tests.csv": self.tests_csv(),
            "ratings.csv": self.ratings_csv(),
        }
        for name, text in files.items():
            write_bytes(Path(folder) / name, text.encode())
        return [Path(folder) / name for name in files]


def listening_results(
    exports: Iterable[PathLike], key: PathLike, *, screen: bool = True, complete_only: bool = False
) -> ListeningResults:
    """Means and paired tests from the exports of a listening test.

    Listeners are the units: the ratings of one listener depend on each other, so each counts once, as the mean of his
    or her complete trials. The intervals and tests speak of other listeners hearing these clips, not of other clips.

    Args:
        exports, key, screen, complete_only: see :func:`audioxai.listening.ratings.read_ratings`, also for the errors.
    """
    ratings = read_ratings(exports, key, screen=screen, complete_only=complete_only)
    means = {
        (method, scale): mean_interval([_mean(a, method, scale) for a in ratings.used])
        for method in ratings.methods
        for scale in SCALES
    }
    comparisons = [c for scale in SCALES for c in _compare(ratings, scale)]
    return ListeningResults(ratings, means, comparisons, [*ratings.notes, *_notes(ratings, comparisons)])


def _mean(answers: Answers, method: str, scale: str) -> float:
    return float(np.mean([getattr(r, scale) for r in answers.ratings if r.method == method]))


def _compare(ratings: Ratings, scale: str) -> list[Comparison]:
    """All pairs of methods; reference and anchor are no methods."""
    pairs = list(itertools.combinations(ratings.methods[1:-1], 2))
    differences = [[_mean(a, x, scale) - _mean(a, y, scale) for a in ratings.used] for x, y in pairs]
    tests = [signed_rank(values) for values in differences]
    corrected = holm([test.p for test in tests])
    return [
        Comparison(scale, x, y, mean_interval(values), test, p)
        for (x, y), values, test, p in zip(pairs, differences, tests, corrected, strict=True)
    ]


def _notes(ratings: Ratings, comparisons: Sequence[Comparison]) -> list[str]:
    n = len(ratings.used)
    per_scale = len(comparisons) // len(SCALES)
    notes = [
        f"Each listener counts once, as the mean of the complete trials; intervals are Student's over listeners. p is "
        f"two-sided; Holm's correction is over the {per_scale} pair(s) of a scale."
    ]
    if n < 2:
        notes.append("One listener: no interval can be given.")
    least = next(count for count in itertools.count(1) if smallest_p(count) * per_scale <= 0.05)
    if n < least:
        lowest = min(1.0, smallest_p(n) * per_scale)
        notes.append(
            f"With n = {n} and {per_scale} pair(s) no corrected p can be below {lowest:.3g}: it takes at least {least} "
            "listeners to find a difference at 0.05."
        )
    if approximate := sum(not c.test.exact for c in comparisons):
        notes.append(f"{approximate} p value(s) are normal approximations, all others exact.")
    if not ratings.screened:
        notes.append("No listener was screened out.")
    return notes


def _figures(values: MeanInterval | SignedRank) -> dict[str, Any]:
    return {name: _null(value) for name, value in values._asdict().items()}


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def _blank(values: Iterable[float]) -> list[float | str]:
    return ["" if math.isnan(value) else value for value in values]


def _spread(mean: MeanInterval) -> str:
    value = f"{mean.mean:.1f}"
    return value if math.isnan(mean.low) else f"{value} ({mean.low:.1f} to {mean.high:.1f})"


def _p(p: float) -> str:
    return "–" if math.isnan(p) else "< 0.001" if p < 0.0005 else f"{p:.3f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    """Markdown, the first ``names`` columns to the left."""
    lines = [head, ["---"] * names + ["---:"] * (len(head) - names), *rows]
    return ["| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines]


def _plain(text: str) -> str:
    """Text on one line that Markdown takes for text."""
    return " ".join(text.split()).replace("|", r"\|").replace("<", "&lt;")


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([head, *rows])
    return out.getvalue()
