"""From per-clip scores to the tables of a benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from audioxai.benchmark.published import PublishedTable, published_tables
from audioxai.metrics import GROUND_TRUTH, METRICS, PROMPT_FIGURES, Results

__all__ = ["Table", "average_items", "average_runs", "leads"]

#: Metrics on which L-MAC is published to lead.
LEADING = ("AI", "AD", "AG", "Fid-In")
_PUBLISHED = {"noise": "in-domain", "mixtures": "mixtures", "speech": "speech", "white-noise": "white-noise"}
_REFERENCE = ("AD published", "SPS published")


@dataclass(frozen=True)
class Table:
    """Every method on one test set in one space.

    Args:
        data: name of the data set.
        condition: name of the contamination.
        space: of the masks.
        network: name of the explained network.
        results: per-clip scores of every method, the mean over its fits.
        spread: method to metric to its lowest and highest mean over fits, for methods with several.
        accuracy: share of clips that the network names rightly, and the judge, if there is one.
        notes: what a reader must know.
        prompts: method to its prompt sensitivity, of a zero-shot network; see :func:`audioxai.metrics.prompt_figures`.
        published_data: name of the data set in published tables, if there are any.
    """

    data: str
    condition: str
    space: str
    network: str
    results: Results
    spread: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    accuracy: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    prompts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    published_data: str | None = None

    @property
    def title(self) -> str:
        return f"{self.data}, {self.condition}, {self.space} masks, {self.network}"

    @property
    def clips(self) -> int:
        """Clips in the test set."""
        return max(map(self.results.clips, self.results.scores), default=0)

    @property
    def facts(self) -> list[str]:
        """What stands above the table: clips, accuracy and notes."""
        accuracy = ", ".join(f"{who} {100 * value:.1f} %" for who, value in self.accuracy.items())
        several = [f"Mean of several fits: {', '.join(self.spread)}."] if self.spread else []
        return [f"{self.clips} clips. Accuracy: {accuracy}.", *self.notes, *several]

    def _only(self, metrics: Sequence[str]) -> Results:
        scores = {
            name: {key: value for key, value in found.items() if key in metrics}
            for name, found in self.results.scores.items()
        }
        return replace(self.results, scores=scores)

    @property
    def _main(self) -> list[str]:
        known = dict.fromkeys(key for found in self.results.scores.values() for key in found)
        return [key for key in known if key not in (*GROUND_TRUTH, *_REFERENCE)]

    def to_markdown(self) -> str:
        """Corrected and published-style metrics, known parts, intervals, who leads, and the published table."""
        parts = [f"## {self.title}", *self.facts]
        parts.append(self._only(self._main).to_markdown(costs=True))
        extra = [key for key in (*_REFERENCE, *GROUND_TRUTH) if self._has(key)]
        if extra:
            known = "the clip's own part as the truth, where the network names it rightly"
            parts += [f"By the published conventions{f', and with {known}' if GROUND_TRUTH[0] in extra else ''}:"]
            parts.append(self._only(extra).to_markdown())
        parts += ["95 % bootstrap intervals over clips:", self._intervals(), *leads(self)]
        if self.prompts:
            parts += ["Do masks follow the prompt? On some of the clips:", self._prompts()]
        for table in self.published():
            parts += [f"Published, {table.title}:", table.to_markdown()]
        return "\n\n".join(parts)

    def _has(self, metric: str) -> bool:
        return any(metric in found and not found[metric].isnan().all() for found in self.results.scores.values())

    def _intervals(self) -> str:
        lines = ["| | " + " | ".join(LEADING) + " |", "|---|" + "---:|" * len(LEADING)]
        for name in self.results.scores:
            cells = []
            for metric in LEADING:
                low, high = self.results.interval(name, metric)
                digits = METRICS[metric].digits
                cell = f"{low:.{digits}f} to {high:.{digits}f}"
                if metric in self.spread.get(name, {}):
                    least, most = self.spread[name][metric]
                    cell += f" (fits {least:.{digits}f} to {most:.{digits}f})"
                cells.append(cell)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _prompts(self) -> str:
        lines = ["| | " + " | ".join(PROMPT_FIGURES) + " |", "|---|" + "---:|" * len(PROMPT_FIGURES)]
        for name, found in self.prompts.items():
            cells = ("" if math.isnan(found[key]) else f"{found[key]:.2f}" for key in PROMPT_FIGURES)
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def published(self) -> list[PublishedTable]:
        """Published tables of the same data set, condition and space."""
        condition = _PUBLISHED.get(self.condition)
        known = [table for table in published_tables() if table.data == self.published_data]
        found = [table for table in known if table.id.startswith(f"lmac-{condition}-{self.space}")]
        return [table.rescaled() if condition == "in-domain" else table for table in found]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON types."""
        return {
            "data": self.data,
            "condition": self.condition,
            "space": self.space,
            "network": self.network,
            "accuracy": dict(self.accuracy),
            "notes": list(self.notes),
            "spread": {
                name: {m: [None if math.isnan(v) else v for v in pair] for m, pair in found.items()}
                for name, found in self.spread.items()
            },
            "prompts": {
                name: {key: None if math.isnan(value) else value for key, value in found.items()}
                for name, found in self.prompts.items()
            },
            **json.loads(self.results.to_json()),
        }


def average_items(run: Results, sources: Sequence[str]) -> Results:
    """One explainer's scores with a single value per source clip: items of the same clip are no independent ones.

    Args:
        run: scores of one explainer.
        sources: the clip behind each item.
    """
    clips = list(dict.fromkeys(sources))
    if len(clips) == len(sources):
        return run
    place = torch.tensor([clips.index(source) for source in sources])
    ((name, row),) = run.scores.items()
    failed = torch.stack([row["AI"][place == k].isnan().any() for k in range(len(clips))])
    scores = {
        key: torch.stack([value[place == k].double().nanmean() for k in range(len(clips))]).masked_fill(
            failed, torch.nan
        )
        for key, value in row.items()
    }
    failures = {int(place[item]): why for item, why in run.failures.get(name, {}).items()}
    runs = {name: len(sources) // len(clips)}
    return replace(run, scores={name: scores}, failures={name: failures}, runs=runs)


def average_runs(name: str, runs: Sequence[Results]) -> tuple[Results, dict[str, tuple[float, float]]]:
    """One method's fits as one row: the mean per clip, since the same clips thrice are not three times as many.

    A clip that failed in one fit has no mean; a metric that is undefined for a clip in one fit has that of the others.

    Returns:
        Results of one row, and metric to lowest and highest mean over the fits, empty for one fit.
    """
    rows = [next(iter(run.scores.values())) for run in runs]
    failed = torch.stack([row["AI"].isnan() for row in rows]).any(0)
    scores = {
        key: torch.stack([row[key].double() for row in rows]).nanmean(0).masked_fill(failed, torch.nan)
        for key in rows[0]
    }
    failures = {clip: why for run in runs for found in run.failures.values() for clip, why in found.items()}
    seconds = sum(sum(run.seconds.values()) for run in runs) / len(runs)
    passes = round(sum(sum(run.passes.values()) for run in runs) / len(runs))
    spread: dict[str, tuple[float, float]] = {}
    if len(runs) > 1:
        for key in rows[0]:
            means = [float(row[key].double().nanmean()) for row in rows]
            spread[key] = min(means), max(means)
    each = next(iter(runs[0].runs.values()), 1)  # items of a clip that each run is the mean of
    scales = {name: next(iter(runs[0].scales.values()))} if runs[0].scales else {}
    fits = {name: each * len(runs)}
    return Results({name: scores}, {name: failures}, {name: seconds}, {name: passes}, fits, scales), spread


def leads(table: Table, ours: str = "L-MAC (evidence)") -> list[str]:
    """Whether our method leads on AI, AD, AG and Fid-In, by intervals that do not overlap with the second's."""
    results = table.results
    if ours not in results.scores:
        return []
    lines = []
    for metric in LEADING:
        direction = METRICS[metric].direction
        # A mask of ones has AD 0 and Fid-In 1 by definition, so it is no rival; nor is our own second stage.
        others = {
            name: results.mean(name, metric)
            for name in results.scores
            if name not in (ours, "AllOnes")
            and not name.startswith("L-MAC FT")
            and not math.isnan(results.mean(name, metric))
        }
        if not others:
            continue
        second = max(others, key=lambda name: direction * others[name])
        mine, (low, high) = results.mean(ours, metric), results.interval(ours, metric)
        least, most = results.interval(second, metric)
        apart = low > most if direction > 0 else high < least
        difference, lower, upper = results.difference(ours, second, metric)
        if mine == others[second]:
            verdict = f"does not lead: {second} has the same"
        elif direction * (mine - others[second]) < 0:
            verdict = f"does not lead: {second} has {others[second]:.{METRICS[metric].digits}f}"
        else:
            verdict = f"leads before {second}, intervals {'apart' if apart else 'overlap'}"
        digits = METRICS[metric].digits
        lines.append(
            f"- {metric}: {ours} ({mine:.{digits}f}) {verdict}; clip by clip the difference is {difference:.{digits}f} "
            f"({lower:.{digits}f} to {upper:.{digits}f})."
        )
    return (
        ["Does L-MAC lead, among all but the mask of ones and its own second stage?\n\n" + "\n".join(lines)]
        if lines
        else []
    )
