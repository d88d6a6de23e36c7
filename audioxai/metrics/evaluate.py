"""Several explainers over one data set: per-clip scores, means and bootstrap intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from audioxai.classifier import AudioClassifier
from audioxai.errors import ConfigError, InputError, NotFittedError
from audioxai.explainers.base import Explainer
from audioxai.explanation import Explanation
from audioxai.inputs import read_batch
from audioxai.metrics import functional as metric
from audioxai.metrics.results import Results
from audioxai.spaces import Scale, Space, STFTSpace, make_space

__all__ = ["clip_scores", "evaluate", "judge_scores"]


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
    target = explanation.target
    if target is None:
        raise InputError("a judge needs one target class per clip; this explanation has another target")
    scale: Scale = "log1p" if explanation.scale == "log1p" else "magnitude"
    if explanation.space == "stft":
        space: Space = STFTSpace(judge, scale, stft=explanation.stft)
    else:
        space = make_space(explanation.space, judge, scale)
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
    target = target.to(judge.device)
    agrees = p.argmax(1) == target
    scores = {"Fid-In": metric.input_fidelity(p, kept, target), "AD": metric.average_drop(p, kept, target)}
    return {f"judge {name}": torch.where(agrees, value, math.nan).cpu() for name, value in scores.items()}


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

    A clip on which an explainer raises is recorded with the reason, has NaN scores and is counted below the table; an
    explainer that raises on every clip raises here.

    Raises:
        InputError: the loader yields nothing.
        ConfigError: no explainer is given, or two share a name.
    """
    named = dict(explainers) if isinstance(explainers, Mapping) else {e.name: e for e in explainers}
    if not named:
        raise ConfigError("there is no explainer to evaluate; pass at least one")
    if len(named) != len(explainers):
        raise ConfigError("two explainers share a name; pass a dict with a name for each")
    collected: dict[str, list[dict[str, Tensor]]] = {name: [] for name in named}
    results = Results({}, {name: {} for name in named}, dict.fromkeys(named, 0.0), dict.fromkeys(named, 0))
    first_error: dict[str, Exception] = {}
    seen = 0
    for batch in loader:
        start = seen
        for name, explainer in named.items():
            clips = read_batch(batch, explainer.classifier.sample_rate)
            seen = start + len(clips)
            began = time.perf_counter()
            with _rows_counted(explainer.classifier, results.passes, name):
                for i, scores in _score(explainer, clips, judges):
                    if isinstance(scores, Exception):
                        first_error.setdefault(name, scores)
                        results.failures[name][start + i] = f"{type(scores).__name__}: {scores}"
                        scores = {}
                    collected[name].append(scores)
            results.seconds[name] += time.perf_counter() - began
    if seen == 0:
        raise InputError("the loader yields no batch; pass a list or a DataLoader that is not empty")
    for name, parts in collected.items():
        keys = next((list(part) for part in parts if part), None)
        if keys is None:  # nothing to put into a table
            raise first_error[name]
        empty = torch.full((1,), math.nan)
        results.scores[name] = {key: torch.cat([part.get(key, empty) for part in parts]) for key in keys}
    return results


def _score(
    explainer: Explainer, clips: Tensor, judges: Sequence[AudioClassifier]
) -> Iterator[tuple[int, dict[str, Tensor] | Exception]]:
    """Scores of a batch, or, when it cannot be explained as a whole, of each clip or the reason why not."""
    try:
        explanation = explainer.explain(clips)
        scores = clip_scores(explanation)
        judged = [judge_scores(explanation, judge) for judge in judges]
    except (NotFittedError, ConfigError, torch.OutOfMemoryError):
        raise  # no other clip will fare better
    except Exception as error:
        if len(clips) == 1:
            yield 0, error
            return
        for i, clip in enumerate(clips):
            for _, scores_or_error in _score(explainer, clip[None], judges):
                yield i, scores_or_error
        return
    if judged:
        scores |= {key: torch.stack([j[key] for j in judged]).nanmean(0) for key in judged[0]}
    yield 0, {key: value.detach().cpu() for key, value in scores.items()}


@contextmanager
def _rows_counted(classifier: AudioClassifier, passes: dict[str, int], name: str) -> Iterator[None]:
    """Count the rows that the network is given."""

    def count(_module: Any, inputs: tuple[Any, ...]) -> None:
        passes[name] += len(inputs[0])

    handle = classifier.network.register_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()
