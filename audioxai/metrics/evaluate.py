"""Several explainers over one data set: per-clip scores, means and bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from audioxai.classifier import AudioClassifier
from audioxai.errors import ConfigError, InputError
from audioxai.explainers.base import Explainer
from audioxai.explanation import Explanation
from audioxai.inputs import read_batch
from audioxai.metrics import functional as metric
from audioxai.spaces import make_space

__all__ = ["METRICS", "Results", "clip_scores", "evaluate", "judge_scores"]

#: Name to direction: 1 higher is better, -1 lower is better, 0 neither.
METRICS = {"AI": 1, "AD": -1, "AG": 1, "FF": 1, "Fid-In": 1, "SPS": 1, "COMP": -1, "MM": 0}


def clip_scores(explanation: Explanation) -> dict[str, Tensor]:
    """The eight standard metrics of one explanation, each (B,). Source: L-MAC section 5; see ``metrics.functional``."""
    p, kept, removed = explanation.scores
    target, mask = explanation.target, explanation.mask
    if target is None:
        raise InputError("the standard metrics need one target class per clip; this explanation has another target")
    return {
        "AI": metric.average_increase(p, kept, target),
        "AD": metric.average_drop(p, kept, target),
        "AG": metric.average_gain(p, kept, target),
        "FF": metric.faithfulness(p, removed, target),
        "Fid-In": metric.input_fidelity(p, kept, target),
        "SPS": metric.sparseness(mask),
        "COMP": metric.complexity(mask),
        "MM": metric.mask_mean(mask),
    }


@torch.no_grad()
def judge_scores(explanation: Explanation, judge: AudioClassifier) -> dict[str, Tensor]:
    """Fid-In and AD of the same masks for a classifier that had no part in them, each (B,).

    NaN where the judge does not predict the explained class on the clip itself: there is nothing to keep there.
    """
    space = make_space(explanation.space, judge, "log1p" if explanation.scale == "log1p" else "magnitude")
    with judge.frozen():
        analysis = space.analyse(explanation.input.to(judge.device))
        if analysis.values.shape != explanation.mask.shape:
            raise ConfigError(
                f"the judge's {space.name} values {tuple(analysis.values.shape)} do not fit masks of "
                f"{tuple(explanation.mask.shape)}; use a judge with the same front end"
            )
        mask = explanation.mask.to(judge.device)
        p = judge.probabilities(space.predict(analysis.values, analysis))
        kept = judge.probabilities(space.predict(mask * analysis.values, analysis))
    target = explanation.target
    if target is None:
        raise InputError("a judge needs one target class per clip; this explanation has another target")
    agrees = p.argmax(1) == target
    scores = {"Fid-In": metric.input_fidelity(p, kept, target), "AD": metric.average_drop(p, kept, target)}
    return {f"judge {name}": torch.where(agrees, value, math.nan) for name, value in scores.items()}


@dataclass(frozen=True)
class Results:
    """Per-clip scores of several explainers.

    Attributes:
        scores: explainer to metric to (n,) values; NaN where a metric is undefined for a clip.
    """

    scores: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def mean(self, explainer: str, name: str) -> float:
        """Mean over the clips where the metric is defined."""
        return float(self.scores[explainer][name].double().nanmean())

    def undefined(self, explainer: str, name: str) -> int:
        """Clips without a value, such as empty masks without a sparseness."""
        return int(self.scores[explainer][name].isnan().sum())

    def interval(self, explainer: str, name: str, *, level: float = 0.95, draws: int = 1000) -> tuple[float, float]:
        """Bootstrap interval of the mean over clips; NaN for fewer than two clips."""
        values = self.scores[explainer][name].double()
        values = values[~values.isnan()]
        if len(values) < 2:
            return math.nan, math.nan
        generator = torch.Generator().manual_seed(0)
        index = torch.randint(len(values), (draws, len(values)), generator=generator)
        means = values[index].mean(1)
        low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)).tolist()
        return low, high

    def to_markdown(self) -> str:
        """A table of means, one row per explainer, in the metrics' usual digits."""
        names = list(next(iter(self.scores.values())))
        lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
        for explainer in self.scores:
            cells = [_digits(name, self.mean(explainer, name)) for name in names]
            name = explainer.replace("|", r"\|")
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


def _digits(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.1f}" if name.split()[-1] in ("AI", "AD", "AG") else f"{value:.2f}"


def evaluate(
    explainers: Mapping[str, Explainer] | Sequence[Explainer],
    loader: Iterable[Any],
    *,
    judges: Sequence[AudioClassifier] = (),
) -> Results:
    """Explain every clip with every explainer, for the predicted class, and score the masks.

    Args:
        explainers: by name, or a sequence whose methods' names are used.
        loader: batches as for ``fit``.
        judges: other classifiers that score the same masks; with several, their scores are averaged.

    Raises:
        InputError: the loader yields nothing.
        ConfigError: no explainer is given, or two share a name.
    """
    named = dict(explainers) if isinstance(explainers, Mapping) else {e.name: e for e in explainers}
    if not named:
        raise ConfigError("there is no explainer to evaluate; pass at least one")
    if len(named) != len(explainers):
        raise ConfigError("two explainers share a name; pass a dict with a name for each")
    collected: dict[str, dict[str, list[Tensor]]] = {name: {} for name in named}
    batches = 0
    for batch in loader:
        batches += 1
        for name, explainer in named.items():
            explanation = explainer.explain(read_batch(batch, explainer.classifier.sample_rate))
            scores = clip_scores(explanation)
            judged = [judge_scores(explanation, judge) for judge in judges]
            if judged:
                scores |= {key: torch.stack([j[key] for j in judged]).nanmean(0) for key in judged[0]}
            for key, value in scores.items():
                collected[name].setdefault(key, []).append(value.detach().cpu())
    if batches == 0:
        raise InputError("the loader yields no batch; pass a list or a DataLoader that is not empty")
    return Results({name: {key: torch.cat(parts) for key, parts in by.items()} for name, by in collected.items()})
