"""The metrics as torchmetrics classes, with states that are reduced over processes.

There is one for every metric of :data:`audioxai.metrics.METRICS` that names one, made of its function: the positional
arguments are those of ``update``, the options those of the class.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from audioxai.errors import nearest
from audioxai.explainers.explanation import Explanation
from audioxai.metrics import base
from audioxai.metrics.evaluate import clip_scores
from audioxai.metrics.registry import CLASSES, STANDARD

__all__ = sorted([*CLASSES, "ExplanationMetrics"])


class _Mean(Metric):
    """Mean over the clips where the metric is defined; NaN when there is none."""

    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor
    entry: base.Metric
    defaults: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        own = {name: options.pop(name, default) for name, default in self.defaults.items()}
        super().__init__(**options)
        for name, value in own.items():
            setattr(self, name, value)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    @property
    def options(self) -> dict[str, Any]:
        """Of the function."""
        return {name: getattr(self, name) for name in self.defaults}

    def update(self, *given: Any, **named: Any) -> None:
        values = self.entry.measure(*given, **named, **self.options)
        defined = ~values.isnan()
        self.total += values[defined].double().sum()
        self.count += defined.sum()

    def compute(self) -> Tensor:
        return self.total / self.count


def _class_of(entry: base.Metric) -> type[_Mean]:
    """The mean of the entry's function, with the function's parameters and words."""
    function = entry.function
    assert function is not None
    given = list(inspect.signature(function, eval_str=True).parameters.values())
    options = [one for one in given if one.kind is one.KEYWORD_ONLY]
    others = inspect.Parameter("torchmetrics", inspect.Parameter.VAR_KEYWORD, annotation=Any)
    where = f":func:`audioxai.metrics.functional.{function.__name__}`"
    words = (inspect.getdoc(function) or "").split("\n\nArgs")[0]  # the arguments are those of ``update``
    body = {
        "__module__": __name__,
        "__doc__": f"Mean {entry.name}, by {where}, over the clips where it is defined.\n\n{words}",
        "__init__": _with_signature(_Mean.__init__, [*options, others], None),
        "update": _with_signature(
            _Mean.update, [one for one in given if one not in options], f"Add clips; arguments as for {where}."
        ),
        "entry": entry,
        "defaults": {one.name: one.default for one in options},
        "higher_is_better": {1: True, -1: False, 0: None}[entry.direction],
    }
    return type(str(entry.class_name), (_Mean,), body)


def _with_signature(
    method: Callable[..., None], parameters: list[inspect.Parameter], words: str | None
) -> Callable[..., None]:
    """A method of its own for one class, since signature and docstring are the function's."""

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> None:
        method(*given, **named)

    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = inspect.Signature([this, *parameters], return_annotation=None)  # type: ignore[attr-defined]
    call.__doc__ = words
    return call


globals().update({name: _class_of(entry) for name, entry in CLASSES.items()})


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; nearest: {nearest(name, __all__)}")


class ExplanationMetrics(Metric):
    """The standard metrics of explanations, from the three passes that an explanation shares among them.

    Example:
        >>> metrics = ExplanationMetrics()
        >>> metrics.update(explainer.explain(waveform))  # doctest: +SKIP
        >>> metrics.compute()["AI"]  # doctest: +SKIP
    """

    is_differentiable = False
    higher_is_better = None  # they differ, see ``audioxai.metrics.METRICS``
    full_state_update = False
    total: Tensor
    count: Tensor
    clips: Tensor

    def __init__(self, **torchmetrics: Any) -> None:
        super().__init__(**torchmetrics)
        self.add_state("total", torch.zeros(len(STANDARD), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(len(STANDARD), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, explanation: Explanation) -> None:
        scores = clip_scores(explanation)
        values = torch.stack([scores[name].double() for name in STANDARD]).to(self.total.device)
        self.total += values.nansum(1)
        self.count += (~values.isnan()).sum(1)
        self.clips += len(explanation)

    def compute(self) -> dict[str, Tensor]:
        """Name to mean, and for each name ``"NAME undefined"``, the number of clips without a value."""
        means = dict(zip(STANDARD, self.total / self.count, strict=True))
        missing = {f"{name} undefined": self.clips - n for name, n in zip(STANDARD, self.count, strict=True)}
        return means | missing
