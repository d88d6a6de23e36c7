"""What a metric is: its name, how it is computed for a :class:`Case`, and what tables need to know of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias, TypeVar

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, InputError
from audioxai.explainers.base import Explainer
from audioxai.explainers.explanation import Explanation
from audioxai.masking.spaces import Analysis, Scale, Space, STFTSpace, make_space

__all__ = ["Case", "Group", "Metric", "Predict", "asked_alike", "column", "space_of"]

T = TypeVar("T")
#: Values (R, ...) of the clips ``rows`` (R,) to the probability of each clip's target, (R,).
Predict: TypeAlias = Callable[[Tensor, Tensor], Tensor]
#: Which tables show a metric, in the order of their columns.
Group: TypeAlias = Literal["standard", "known parts", "sound", "other", "published"]


@dataclass(frozen=True)
class Case:
    """What a metric may look at.

    Args:
        explanation: of B clips, each for one class.
        explainer: which made it, for the metrics that ask the network or the explainer more.
        stem: (B, T), the part of each clip that the explained class names, where it is known.
    """

    explanation: Explanation
    explainer: Explainer | None = None
    stem: Tensor | None = None
    _found: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def target(self) -> Tensor:
        """(B,) explained classes."""
        if self.explanation.target is None:
            raise InputError("metrics need one target class per clip; this explanation has another target")
        return self.explanation.target

    @property
    def sources(self) -> tuple[Tensor, Tensor]:
        """The known part of each clip and everything else, (B, T) both."""
        if self.stem is None:
            raise ConfigError("this metric needs the known part of each clip; give batches with a 'stem' (B, T)")
        stem = self.stem.to(self.explanation.waveform.device)
        return stem, self.explanation.input - stem

    @cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """Magnitudes of both sources in the mask's space, (B, ...)."""
        sources = self.sources
        if self.explainer is None:
            raise ConfigError("this metric needs the explainer, for its space")
        space = self.explainer.space
        stem, other = (space.magnitude(space.analyse(source)) for source in sources)
        return stem, other

    def once(self, compute: Callable[[Case], T]) -> T:
        """``compute(case)``, computed once: for metrics that are figures of the same passes."""
        if compute not in self._found:
            self._found[compute] = compute(self)
        found: T = self._found[compute]
        return found

    def ask(self, classifier: AudioClassifier | None = None) -> tuple[Tensor, Predict]:
        """The clips' values, and the logits (R, K) for changed values (R, ...) of the clips ``rows`` (R,).

        Args:
            classifier: which is asked; default the explained one.
        """
        if self.explainer is None:
            raise ConfigError("this metric asks the network about more masks; give the explainer")
        size = self.explainer.max_batch
        network = asked_alike(self.explanation, classifier or self.explainer.classifier)
        if classifier is None:
            space = self.explainer.space.bind(network)
            analysis = space.analyse(self.explanation.input)
        else:
            space, analysis = space_of(self.explanation, network)

        def logits(values: Tensor, rows: Tensor) -> Tensor:
            with network.frozen(), torch.no_grad():
                parts = zip(torch.split(values, size), torch.split(rows, size), strict=True)
                return torch.cat([space.predict(some, analysis, clips) for some, clips in parts])

        return analysis.values, logits

    def predict(self, classifier: AudioClassifier | None = None) -> tuple[Tensor, Predict]:
        """As :meth:`ask`, with the probability (R,) of each clip's target in place of the logits."""
        values, logits = self.ask(classifier)
        assert self.explainer is not None
        network = classifier or self.explainer.classifier

        def probability(changed: Tensor, rows: Tensor) -> Tensor:
            probs = network.probabilities(logits(changed, rows))
            return probs.gather(1, self.target.to(probs.device)[rows][:, None])[:, 0]

        return values, probability


def asked_alike(explanation: Explanation, classifier: AudioClassifier) -> AudioClassifier:
    """The classifier to ask about an explanation's classes, which may be prompts.

    Raises:
        ConfigError: it numbers its classes in another way.
    """
    view, labels = classifier.for_targets([explanation.labels]), explanation.labels
    if view.labels is not None and labels is not None and view.labels != labels:
        raise ConfigError(
            f"the classifier's labels {list(view.labels)[:5]} are not those of the explanation, {list(labels)[:5]}; "
            "a judge must number the same classes alike, and after set_prompts explain again"
        )
    return view


def space_of(explanation: Explanation, classifier: AudioClassifier) -> tuple[Space, Analysis]:
    """The space of an explanation's masks for another classifier, and the clips in it.

    Raises:
        ConfigError: that classifier's front end gives another grid.
    """
    scale: Scale = "log1p" if explanation.scale == "log1p" else "magnitude"
    if explanation.space == "stft":
        space: Space = STFTSpace(classifier, scale, stft=explanation.stft)
    else:
        space = make_space(explanation.space, classifier, scale)
    analysis = space.analyse(explanation.input.to(classifier.device))
    if analysis.values.shape != explanation.mask.shape:
        raise ConfigError(
            f"the judge's {space.name} values {tuple(analysis.values.shape)} do not fit masks of "
            f"{tuple(explanation.mask.shape)}; use a judge with the same front end"
        )
    return space, analysis


@dataclass(frozen=True)
class Metric:
    """A metric of explanations.

    Args:
        name: its column in tables.
        compute: a :class:`Case` of B clips to one value a clip, (B,); NaN where the metric has none.
        direction: 1 higher is better, -1 lower is better, 0 neither.
        low: its least value.
        high: its largest value.
        digits: after the point, in tables.
        group: which tables show it unasked.
        function: its maths over tensors, to (B,); found in :mod:`audioxai.metrics.functional` by its own name.
        class_name: of the torchmetrics class in :mod:`audioxai.metrics` that is the function's mean.
        part: which of the function's results it is, where there are several.
    """

    name: str
    compute: Callable[[Case], Tensor]
    direction: int = 0
    low: float = -math.inf
    high: float = math.inf
    digits: int = 2
    group: Group = "other"
    function: Callable[..., Any] | None = None
    class_name: str | None = None
    part: int | None = None

    def __post_init__(self) -> None:
        if self.direction not in (-1, 0, 1):
            raise ConfigError(f"direction={self.direction} of metric {self.name!r} must be 1, -1 or 0")
        if not self.low < self.high:
            raise ConfigError(f"low={self.low} of metric {self.name!r} must lie below high={self.high}")
        if self.class_name and not self.function:
            raise ConfigError(f"class_name={self.class_name!r} of metric {self.name!r} needs a function")

    @property
    def facts(self) -> dict[str, float]:
        """Direction, range and digits, without the ends that are infinite, which JSON cannot say."""
        facts = {name: getattr(self, name) for name in ("direction", "low", "high", "digits")}
        return {name: value for name, value in facts.items() if math.isfinite(value)}

    def measure(self, *tensors: Any, **options: Any) -> Tensor:
        """Its function's value for each clip, (B,)."""
        if self.function is None:
            raise ConfigError(f"metric {self.name!r} has no function of its own; compute it from a case")
        found = self.function(*tensors, **options)
        value: Tensor = found if self.part is None else found[self.part]
        return value


def column(name: str, **facts: Any) -> Metric:
    """A column of finished results: direction, range and digits, without the function, so that it can be pickled."""
    return Metric(name, _not_kept, **facts)


def _not_kept(_case: Case) -> Tensor:
    raise ConfigError("this is a column of finished results; to compute it, give the metric that it was made with")
