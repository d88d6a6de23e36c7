"""Several explainers over one data set: per-clip scores, means and bootstrap intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, InputError, NotFittedError
from audioxai.explainers.base import Explainer
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import functional as metric
from audioxai.metrics.registry import GROUND_TRUTH, STANDARD, Case, Metric, asked_alike, find_metrics, space_of
from audioxai.metrics.results import Results
from audioxai.sound.inputs import as_waveform, read_batch

__all__ = ["clip_scores", "evaluate", "judge_scores"]


def clip_scores(
    explanation: Explanation,
    metrics: Iterable[str | Metric] = STANDARD,
    *,
    explainer: Explainer | None = None,
    stem: Tensor | None = None,
) -> dict[str, Tensor]:
    """Metrics of one explanation, each (B,).

    Args:
        explanation: of one class a clip.
        metrics: names in :data:`audioxai.metrics.METRICS`, or :class:`audioxai.metrics.Metric` objects.
        explainer: which made it; insertion, deletion, infidelity, max-sensitivity and known parts need it.
        stem: (B, T), the part of each clip that its class names, for the metrics of known parts.

    Raises:
        ConfigError: an unknown metric, or one that needs what was not given.
        InputError: the explanation has no target class.
    """
    case = Case(explanation, explainer, stem)
    with torch.no_grad():
        return {metric.name: metric.compute(case) for metric in find_metrics(metrics)}


@torch.no_grad()
def judge_scores(explanation: Explanation, judge: AudioClassifier) -> dict[str, Tensor]:
    """Fid-In and AD of the same masks, or synthesised sounds, for a classifier that had no part in them, each (B,).

    NaN where the judge does not predict the explained class on the clip itself: there is nothing to keep there.
    """
    target = explanation.target
    if target is None:
        raise InputError("a judge needs one target class per clip; this explanation has another target")
    if judge.sample_rate != explanation.sample_rate:
        raise ConfigError(
            f"the judge takes {judge.sample_rate} Hz, the clips have {explanation.sample_rate} Hz; use one rate"
        )
    judge = asked_alike(explanation, judge)
    with judge.frozen():
        if explanation.synthesised:
            sounds = explanation.input, explanation.waveform
            p, kept = (judge.probabilities(judge(sound.to(judge.device))) for sound in sounds)
        else:
            space, analysis = space_of(explanation, judge)
            mask = explanation.mask.to(judge.device)
            p = judge.probabilities(space.predict(analysis.values, analysis))
            kept = judge.probabilities(space.predict(mask * analysis.values, analysis))
    target = target.to(judge.device)
    agrees = p.argmax(1) == target
    scores = {
        "Fid-In": metric.input_fidelity(p, kept, target, multilabel=judge.multilabel),
        "AD": metric.average_drop(p, kept, target, multilabel=judge.multilabel),
    }
    return {f"judge {name}": torch.where(agrees, value, math.nan).cpu() for name, value in scores.items()}


def evaluate(
    explainers: Mapping[str, Explainer] | Sequence[Explainer],
    loader: Iterable[Any],
    *,
    metrics: Iterable[str | Metric] | None = None,
    judges: Sequence[AudioClassifier] = (),
) -> Results:
    """Explain every clip with every explainer and score the masks, batch by batch: only the scores are kept.

    Args:
        explainers: by name, or a sequence whose methods' names are used.
        loader: batches as for ``fit``. A dict may also hold a ``"target"`` to explain in place of the predicted class,
            and a ``"stem"`` (B, T), the part of each clip that the target names.
        metrics: names in :data:`audioxai.metrics.METRICS`, or :class:`audioxai.metrics.Metric` objects; default the
            standard ones, and those of known parts for batches with stems.
        judges: other classifiers that score the same masks; with several, their scores are averaged.

    A clip on which an explainer raises is recorded with the reason, has NaN scores and is counted below the table; an
    explainer that raises on every clip raises here.

    Raises:
        InputError: the loader yields nothing.
        ConfigError: no explainer is given, two share a name, or a metric needs what the batches lack.
    """
    named = dict(explainers) if isinstance(explainers, Mapping) else {e.name: e for e in explainers}
    if not named:
        raise ConfigError("there is no explainer to evaluate; pass at least one")
    if len(named) != len(explainers):
        raise ConfigError("two explainers share a name; pass a dict with a name for each")
    asked = None if metrics is None else find_metrics(metrics)
    collected: dict[str, list[dict[str, Tensor]]] = {name: [] for name in named}
    scales: dict[str, str] = {name: explainer.space.scale for name, explainer in named.items()}
    zeros = dict.fromkeys(named, 0.0), dict.fromkeys(named, 0)
    results = Results({}, {name: {} for name in named}, *zeros, scales=scales)
    first_error: dict[str, Exception] = {}
    seen = 0
    for batch in loader:
        start = seen
        for name, explainer in named.items():
            clips = _read(batch, explainer.classifier.sample_rate)
            seen = start + len(clips)
            began = time.perf_counter()
            with _rows_counted(explainer.classifier, results.passes, name):
                for i, scores in _score(explainer, clips, asked, judges):
                    if isinstance(scores, Exception):
                        first_error.setdefault(name, scores)
                        results.failures[name][start + i] = f"{type(scores).__name__}: {scores}"
                        scores = {}
                    collected[name].append(scores)
            results.seconds[name] += time.perf_counter() - began
    if seen == 0:
        raise InputError("the loader yields no batch; pass a list or a DataLoader that is not empty")
    for name, parts in collected.items():
        keys = list(dict.fromkeys(key for part in parts for key in part))
        if not keys:  # nothing to put into a table
            raise first_error[name]
        empty = [torch.full((len(next(iter(part.values()), [0])),), math.nan) for part in parts]
        results.scores[name] = {
            key: torch.cat([part.get(key, nothing) for part, nothing in zip(parts, empty, strict=True)]) for key in keys
        }
    return results


@dataclass(frozen=True)
class _Clips:
    """A batch that is evaluated: waveforms (B, T), targets, B classes or labels, and stems (B, T), where given."""

    waveform: Tensor
    target: Tensor | Sequence[str] | None
    stem: Tensor | None

    def __len__(self) -> int:
        return len(self.waveform)

    def one(self, i: int) -> _Clips:
        parts = (self.waveform, self.target, self.stem)
        return _Clips(*(None if part is None else part[i : i + 1] for part in parts))  # type: ignore[arg-type]


def _read(batch: Any, sample_rate: int) -> _Clips:
    waveform = read_batch(batch, sample_rate, finite=False)  # one bad clip must not lose the others
    target, stem = (batch.get(key) if isinstance(batch, Mapping) else None for key in ("target", "stem"))
    if target is not None and not (isinstance(target, list | tuple) and all(isinstance(t, str) for t in target)):
        target = torch.as_tensor(target)
    if target is not None and len(target) != len(waveform):
        raise InputError(f"the batch has {len(waveform)} clips, but {len(target)} targets")
    if stem is not None:
        stem = as_waveform(stem, sample_rate, finite=False)
        if stem.shape != waveform.shape:
            raise InputError(f"the stems {tuple(stem.shape)} and the clips {tuple(waveform.shape)} differ in shape")
    return _Clips(waveform, target, stem)


def _score(
    explainer: Explainer, clips: _Clips, metrics: Sequence[Metric] | None, judges: Sequence[AudioClassifier]
) -> Iterator[tuple[int, dict[str, Tensor] | Exception]]:
    """Scores of a batch, or, when it cannot be explained as a whole, of each clip or the reason why not."""
    try:
        if clips.stem is not None and not clips.stem.isfinite().all():
            raise InputError("the stem holds NaN or infinite samples; repair or drop it")
        explanation = explainer.explain(clips.waveform, clips.target)
        wanted = metrics or find_metrics(STANDARD if clips.stem is None else STANDARD + GROUND_TRUTH)
        scores = clip_scores(explanation, wanted, explainer=explainer, stem=clips.stem)
        judged = [judge_scores(explanation, judge) for judge in judges]
    except (NotFittedError, ConfigError, torch.OutOfMemoryError):
        raise  # no other clip will fare better
    except Exception as error:
        if len(clips) == 1:
            yield 0, error
            return
        for i in range(len(clips)):
            for _, scores_or_error in _score(explainer, clips.one(i), metrics, judges):
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
