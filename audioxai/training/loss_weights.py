"""What a learned explainer's losses weigh: checked where they are set, summed and logged in one way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, overload

import torch
from torch import Tensor

from audioxai.errors import ConfigError

__all__ = ["LossWeight", "check_weight", "weigh"]


def check_weight(name: str, value: Any) -> float:
    """The weight of a loss that an option gives.

    Raises:
        ConfigError: it is no finite number of at least 0.
    """
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, Real) else float(value)
    except OverflowError:  # a whole number beyond all others
        number = math.inf
    if not 0 <= number < math.inf:
        raise ConfigError(f"{name}={value!r} weighs a loss and must be a finite number of at least 0")
    return number


class LossWeight:
    """An option of a learned explainer that weighs one of its losses: an attribute that refuses what is no weight.

    Args:
        loss: its name in what :func:`weigh` is given, and in ``history_``.

    Example:
        >>> class Keeper(LearnedExplainer):
        ...     lambda_s = LossWeight("mask")
    """

    def __init__(self, loss: str) -> None:
        self.loss = loss

    def __set_name__(self, kind: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, explainer: None, kind: type) -> LossWeight: ...
    @overload
    def __get__(self, explainer: object, kind: type) -> float: ...
    def __get__(self, explainer: object | None, kind: type) -> LossWeight | float:
        if explainer is None:
            return self
        if self.name not in vars(explainer):
            raise AttributeError(f"{kind.__name__} has not set {self.name!r} yet")
        return float(vars(explainer)[self.name])

    def __set__(self, explainer: object, value: float) -> None:
        vars(explainer)[self.name] = check_weight(self.name, value)


def weigh(explainer: object, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a training step gives: the weighted sum of the losses' means as ``"loss"``, and the means, which are logged.

    Args:
        explainer: its class has a :class:`LossWeight` for each of the losses.
        losses: name to a value per clip (B,), or to their mean.

    Raises:
        ConfigError: a loss that nothing weighs.
    """
    entries = [entry for kind in reversed(type(explainer).__mro__) for entry in vars(kind).values()]
    names = {entry.loss: entry.name for entry in entries if isinstance(entry, LossWeight)}
    if unknown := losses.keys() - names:
        kind = type(explainer).__name__
        raise ConfigError(f"{kind} has no LossWeight for {sorted(unknown)}; it has some for {sorted(names)}")
    means = {name: loss.mean() for name, loss in losses.items()}
    total = torch.stack([getattr(explainer, names[name]) * mean for name, mean in means.items()]).sum()
    return {"loss": total, **means}
