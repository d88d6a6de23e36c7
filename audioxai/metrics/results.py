"""Per-clip scores of several explainers: means, intervals, comparisons, tables, files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import ConfigError, InputError, OutputError, nearest
from audioxai.metrics.base import Metric, column
from audioxai.metrics.invariants import check_scores
from audioxai.metrics.registry import column_of
from audioxai.support.files import PathLike, write_bytes, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Results", "bootstrap"]

T = TypeVar("T")


@dataclass(frozen=True)
class Results:
    """Per-clip scores of several explainers.

    Attributes:
        scores: explainer to metric to (n,) values; NaN where a metric is undefined for a clip.
        failures: explainer to clip number to the reason why it could not be explained; its scores are NaN.
        seconds: explainer to the wall time of explaining and scoring, in s.
        passes: explainer to the rows that the classifier's network was given, over all clips.
        runs: explainer to the number of fits that each score is the mean of, where there is more than one.
        scales: explainer to what its masks multiply, ``"log1p"`` or ``"magnitude"``.
        own: metrics that are not known by name, such as the caller's: their directions, ranges and digits.
    """

    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    failures: dict[str, dict[int, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    scales: dict[str, str] = field(default_factory=dict)
    own: dict[str, Metric] = field(default_factory=dict)

    def _values(self, explainer: str, name: str) -> Tensor:
        return _known("metric", name, _known("explainer", explainer, self.scores)).double()

    def mean(self, explainer: str, name: str) -> float:
        """Mean over the clips where the metric is defined."""
        return float(self._values(explainer, name).nanmean())

    def undefined(self, explainer: str, name: str) -> int:
        """Clips without a value, such as empty masks without a sparseness."""
        return int(self._values(explainer, name).isnan().sum())

    def interval(self, explainer: str, name: str, *, level: float = 0.95, draws: int = 1000) -> tuple[float, float]:
        """Bootstrap interval of the mean over clips; NaN for fewer than two clips."""
        return bootstrap(self._values(explainer, name), level, draws)

    def difference(
        self, first: str, second: str, name: str, *, level: float = 0.95, draws: int = 1000
    ) -> tuple[float, float, float]:
        """Mean of ``first`` minus ``second`` over the clips that both have, and its bootstrap interval.

        Clips are compared pair by pair, so that easy and hard ones do not blur the difference.
        """
        a, b = self._values(first, name), self._values(second, name)
        if len(a) != len(b):
            raise ConfigError(f"{first!r} has {len(a)} clips and {second!r} {len(b)}; compare them on the same clips")
        return float((a - b).nanmean()), *bootstrap(a - b, level, draws)

    def rows(self, *, costs: bool = False) -> list[dict[str, str]]:
        """Means in the metrics' usual digits, one row per explainer.

        Args:
            costs: also seconds, and rows that the network was given, per clip.

        Raises:
            ImpossibleScoresError: scores that no correct metric gives.
        """
        if not self.scores:
            raise InputError("there are no scores to make a table of; evaluate at least one explainer")
        for explainer, scores in self.scores.items():
            check_scores(explainer, scores, self.runs.get(explainer, 1), self.own)
        names = dict.fromkeys(name for scores in self.scores.values() for name in scores)
        return [
            {"": explainer}
            | {name: self._digits(name, self.mean(explainer, name) if name in scores else math.nan) for name in names}
            | (self._costs(explainer) if costs else {})
            for explainer, scores in self.scores.items()
        ]

    def _digits(self, name: str, value: float) -> str:
        if math.isnan(value):
            return "–"
        known = column_of(name, self.own)
        digits = 2 if known is None else known.digits
        return f"{round(value, digits) + 0.0:.{digits}f}"  # no negative zero

    def _costs(self, explainer: str) -> dict[str, str]:
        clips = max(1, self.clips(explainer))
        seconds, passes = self.seconds.get(explainer, math.nan), self.passes.get(explainer, math.nan)
        return {"s/clip": f"{seconds / clips:.3f}", "passes/clip": f"{passes / clips:.1f}"}

    def clips(self, explainer: str) -> int:
        """How many clips were evaluated, with those that failed."""
        return len(next(iter(_known("explainer", explainer, self.scores).values()), []))

    def notes(self) -> list[str]:
        """What a reader of the table must know: undefined scores and failed clips, counted."""
        notes = []
        if any(self.clips(explainer) - len(self.failures.get(explainer, {})) < 2 for explainer in self.scores):
            notes.append("Fewer than two clips: no interval can be given.")
        undefined: dict[str, list[str]] = {}  # the same words about several explainers are said once
        for explainer, scores in self.scores.items():
            failed = len(self.failures.get(explainer, {}))
            counts = {name: self.undefined(explainer, name) - failed for name in scores}
            if words := ", ".join(f"{name} of {count}" for name, count in counts.items() if count > 0):
                undefined.setdefault(words, []).append(explainer)
        for words, explainers in undefined.items():
            who = "all" if len(explainers) == len(self.scores) > 1 else ", ".join(explainers)
            notes.append(f"{who}: undefined {words} clip(s), left out of the mean.")
        for explainer, scores in self.scores.items():
            constant = int((scores["SPS"] <= 1e-6).sum()) if "SPS" in scores else 0
            if constant and not (scores.get("MM", scores["SPS"] * 0) >= 1).all():  # a mask of ones says so itself
                notes.append(f"{explainer}: the mask of {constant} clip(s) is constant.")
            if failed_clips := self.failures.get(explainer, {}):
                clip, reason = next(iter(failed_clips.items()))
                notes.append(f"{explainer}: {len(failed_clips)} clip(s) could not be explained; clip {clip}: {reason}")
        scales: dict[str, list[str]] = {}
        for explainer in self.scores:
            if explainer in self.scales:
                scales.setdefault(self.scales[explainer], []).append(explainer)
        if len(scales) > 1:
            told = "; ".join(f"{scale}: {', '.join(explainers)}" for scale, explainers in sorted(scales.items()))
            notes.append(f"Masks of different scales do not compare. {told}.")
        return [" ".join(note.split()) for note in notes]

    def __str__(self) -> str:
        return self.to_markdown()

    def to_markdown(self, *, costs: bool = False) -> str:
        """A table of means, one row per explainer, and notes below it if there are any."""
        rows = self.rows(costs=costs)
        names = list(rows[0])[1:]
        lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
        lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row.values()) + " |" for row in rows]
        notes = self.notes()
        return "\n".join([*lines, "", *notes] if notes else lines)

    def to_latex(self, *, costs: bool = False) -> str:
        """The table as a LaTeX tabular with booktabs rules."""
        rows = self.rows(costs=costs)
        names = list(rows[0])
        lines = [r"\begin{tabular}{l" + "r" * (len(names) - 1) + "}", r"\toprule"]
        lines += [" & ".join(map(_latex, names)) + r" \\", r"\midrule"]
        lines += [" & ".join(_latex(cell) for cell in row.values()) + r" \\" for row in rows]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in self.notes())])

    def to_csv(self) -> str:
        """Means at full precision with their 95 % intervals, one line per explainer and metric."""
        self.rows()  # refuses impossible scores
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["explainer", "metric", "mean", "low", "high", "clips", "undefined"])
        for explainer, scores in self.scores.items():
            for name, values in scores.items():
                figures = [self.mean(explainer, name), *self.interval(explainer, name)]
                writer.writerow([explainer, name, *figures, len(values), self.undefined(explainer, name)])
        return out.getvalue()

    def to_json(self) -> str:
        """Means, intervals, counts and costs as JSON; what is undefined is null."""
        self.rows()  # refuses impossible scores
        found = {}
        for explainer, scores in self.scores.items():
            metrics = {}
            for name in scores:
                low, high = self.interval(explainer, name)
                figures = {"mean": self.mean(explainer, name), "low": low, "high": high}
                metrics[name] = {key: None if math.isnan(value) else value for key, value in figures.items()}
                metrics[name]["undefined"] = self.undefined(explainer, name)
            found[explainer] = {
                "clips": self.clips(explainer),
                "failed": len(self.failures.get(explainer, {})),
                "seconds": self.seconds.get(explainer),
                "passes": self.passes.get(explainer),
                "scale": self.scales.get(explainer),
                "metrics": metrics,
            }
        return json.dumps({"explainers": found, "notes": self.notes()}, indent=1)

    def plot(self, metrics: Sequence[str] | None = None) -> Figure:
        """Means with their 95 % intervals, one panel a metric, one row an explainer.

        Args:
            metrics: which; default all there are.
        """
        from audioxai.metrics.plot import plot_results

        return plot_results(self, metrics)

    def save(self, path: PathLike) -> None:
        """Write ``path`` (npz, the scores) and beside it the same name with .json (what else there is)."""
        path, beside = _files(path)
        index = {explainer: list(scores) for explainer, scores in self.scores.items()}
        arrays = {f"{i}/{j}": v.numpy() for i, s in enumerate(self.scores.values()) for j, v in enumerate(s.values())}

        def write(file: BinaryIO) -> None:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # names are free

        write_whole(path, write)
        names = ("failures", "seconds", "passes", "runs", "scales")
        facts = {"scores": index} | {name: getattr(self, name) for name in names}
        facts["own"] = {name: metric.facts for name, metric in self.own.items()}
        write_bytes(beside, json.dumps(facts, indent=1).encode())

    @classmethod
    def load(cls, path: PathLike) -> Results:
        """Read what :meth:`save` wrote.

        Raises:
            OutputError: a file that is missing or was not written by :meth:`save`.
        """
        path, beside = _files(path)
        try:
            facts: dict[str, Any] = json.loads(beside.read_text())
            with np.load(path) as arrays:
                scores = {
                    explainer: {name: torch.as_tensor(arrays[f"{i}/{j}"]) for j, name in enumerate(names)}
                    for i, (explainer, names) in enumerate(facts["scores"].items())
                }
            failures = {name: {int(k): v for k, v in found.items()} for name, found in facts["failures"].items()}
            own = {name: column(name, **known) for name, known in facts.get("own", {}).items()}
            more = facts.get("runs", {}), facts.get("scales", {}), own
            return cls(scores, failures, facts["seconds"], facts["passes"], *more)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise OutputError(f"{str(path)!r} holds no saved results: {error}") from error


def _known(what: str, asked: str, among: Mapping[str, T]) -> T:
    if asked not in among:
        raise ConfigError(f"there are no scores of {what} {asked!r}; nearest: {nearest(asked, among)}")
    return among[asked]


def _files(path: PathLike) -> tuple[Path, Path]:
    """The npz and the JSON of a name, which may hold dots."""
    name = os.fspath(path).removesuffix(".npz")
    return Path(name + ".npz"), Path(name + ".json")


def bootstrap(values: Tensor, level: float = 0.95, draws: int = 1000) -> tuple[float, float]:
    """Percentile interval of the mean of (n,) values by resampling them; NaN for fewer than two that are defined."""
    values = values[~values.isnan()]
    if len(values) < 2:
        return math.nan, math.nan
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(len(values), (draws, len(values)), generator=generator)
    means = values[index].mean(1)
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=means.dtype)).tolist()
    return low, high


def _latex(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(signs.get(sign, "\\" + sign if sign in "&%$#_{}" else sign) for sign in text)
