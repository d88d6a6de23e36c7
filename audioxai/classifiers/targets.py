"""The target rules, once: what ``target=`` means for every explainer.

=============================== ==========================================================
``target``                      explains
=============================== ==========================================================
``None``                        the class predicted for each clip (recorded in the result)
int, 0-d integer tensor         that class, for every clip
``str``, list of B ``str``      the class of that label; unknown names list the nearest three
1-D sequence of B integers      one class a clip
bool matrix (B, K)              the sum of the marked classes' logits
callable ``logits -> (B,)``     anything else: margins, contrasts, regressions
=============================== ==========================================================

Floats, booleans in place of class numbers, wrong lengths and classes out of range are errors, never guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import TargetError, nearest

__all__ = ["Target", "TargetLike", "parse_target"]

_LARGEST = 2**63 - 1  # that fits a tensor of classes

ScoreFunction: TypeAlias = Callable[[Tensor], Tensor]
TargetLike: TypeAlias = (
    "int | str | Sequence[int] | Sequence[str] | np.ndarray[Any, Any] | Tensor | ScoreFunction | None"
)


@dataclass(frozen=True)
class Target:
    """What is explained for each of B clips. Exactly one of the fields is set once it is resolved.

    Args:
        classes: (B,) class per clip.
        members: (B, K) bool, several classes per clip.
        function: logits (B, K) to scores (B,).
        predicted: the classes were chosen by the classifier, or will be (then ``classes`` is still ``None``).
    """

    classes: Tensor | None = None
    members: Tensor | None = None
    function: ScoreFunction | None = None
    predicted: bool = False

    def resolve(self, logits: Tensor, labels: Sequence[str] | None = None) -> Target:
        """Fill in predicted classes from ``logits`` (B, K) and check the range of given ones."""
        n_classes = logits.shape[1]
        if self.predicted:
            return replace(self, classes=logits.detach().argmax(1))
        if self.classes is not None:
            bad = (self.classes < 0) | (self.classes >= n_classes)
            # A caller's classes are on the CPU; those on a GPU are the network's own, and it need not be waited for.
            if self.classes.device.type == "cpu" and bad.any():
                named = f" ({', '.join(map(str, labels))})" if labels and n_classes <= 12 else ""
                raise TargetError(
                    f"target class {int(self.classes[bad][0])} is out of range: the classifier has {n_classes} "
                    f"classes, 0 to {n_classes - 1}{named}"
                )
            return replace(self, classes=self.classes.to(logits.device))
        if self.members is not None:
            if self.members.shape[1] != n_classes:
                raise TargetError(
                    f"a bool target must be (B, K) with K = {n_classes} classes; got {tuple(self.members.shape)}"
                )
            return replace(self, members=self.members.to(logits.device))
        self.score(logits.detach())  # a callable that gives no scores is refused before any work
        return self

    def rows(self, index: slice | Tensor) -> Target:
        """The target of some of the clips."""
        classes = None if self.classes is None else self.classes[index]
        members = None if self.members is None else self.members[index]
        return replace(self, classes=classes, members=members)

    def score(self, logits: Tensor) -> Tensor:
        """The explained score of each clip: (B, K) logits to (B,)."""
        if self.classes is not None:
            return logits.gather(1, self.classes[:, None])[:, 0]
        if self.members is not None:
            return (logits * self.members).sum(1)
        assert self.function is not None, "resolve() comes before score()"
        scores = self.function(logits)
        if not isinstance(scores, Tensor) or scores.shape != logits.shape[:1]:
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise TargetError(f"a callable target must return ({len(logits)},) scores from (B, K) logits; got {got}")
        return scores

    def names(self, labels: Sequence[str] | None, size: int) -> list[str]:
        """One name per clip, for people."""

        def name(k: int) -> str:
            return labels[k] if labels else f"class {k}"

        if self.classes is not None:
            return [name(int(k)) for k in self.classes]
        if self.members is not None:
            return [" + ".join(name(int(k)) for k in row.nonzero()[:, 0]) for row in self.members]
        return [getattr(self.function, "__name__", type(self.function).__name__)] * size


def parse_target(target: TargetLike, size: int, labels: Sequence[str] | None = None) -> Target:
    """Turn what a caller wrote into a :class:`Target` for ``size`` clips.

    Raises:
        TargetError: see the table of this module.
    """
    if target is None:
        return Target(predicted=True)
    if callable(target) and not isinstance(target, Tensor):
        return Target(function=target)
    if isinstance(target, str):
        return Target(classes=torch.full((size,), _look_up(target, labels)))
    if isinstance(target, np.ndarray) and target.dtype.kind in "UO":  # labels, of one width or as objects
        return parse_target(target.tolist(), size, labels)
    if isinstance(target, (Tensor, np.ndarray, np.generic)):
        return _from_array(_tensor(target), size)
    if isinstance(target, bool | float):
        raise TargetError(f"target={target!r} is a {type(target).__name__}; give a class number, a label or None")
    if isinstance(target, int):
        if abs(target) > _LARGEST:
            raise TargetError(f"target={target} is no class number; give 0 to K - 1 of K classes, a label or None")
        return Target(classes=torch.full((size,), target))
    if isinstance(target, Sequence):
        items = list(target)
        if items and isinstance(items[0], Sequence) and not isinstance(items[0], str):
            return _from_array(_tensor(items), size)
        _check_length(len(items), size)
        if any(isinstance(item, str) for item in items):
            return Target(classes=torch.tensor([_look_up(item, labels) for item in items]))
        if len({isinstance(item, bool | np.bool_) for item in items}) > 1:
            raise TargetError(f"target={items!r} mixes booleans with class numbers; give class numbers only")
        return _from_array(_tensor(items), size)
    raise TargetError(
        f"target of type {type(target).__name__} is not known; see audioxai.classifiers.targets for the six forms"
    )


def _tensor(items: Any) -> Tensor:
    try:
        return items if isinstance(items, Tensor) else torch.as_tensor(np.asarray(items))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise TargetError(f"target={items!r} is not a sequence of classes: {error}") from error


def _from_array(values: Tensor, size: int) -> Target:
    if values.dtype == torch.bool:
        if values.ndim != 2 or len(values) != size:
            raise TargetError(f"a bool target must be (B, K) with B = {size} clips; got {tuple(values.shape)}")
        if not values.any(1).all():
            raise TargetError("a bool target marks no class for at least one clip; mark one or more in every row")
        return Target(members=values)
    if values.is_floating_point() or values.is_complex():
        raise TargetError(f"target has dtype {values.dtype}; classes are integers, so convert with .long()")
    if values.ndim == 0:
        return Target(classes=torch.full((size,), int(values)))
    if values.ndim != 1:
        raise TargetError(f"target has shape {tuple(values.shape)}; give (B,) classes or a bool (B, K)")
    _check_length(len(values), size)
    return Target(classes=values.long().cpu())


def _check_length(given: int, size: int) -> None:
    if given != size:
        raise TargetError(f"target has {given} entries for {size} clip(s); give one for each, or one for all")


def _look_up(label: object, labels: Sequence[str] | None) -> int:
    if not isinstance(label, str):
        raise TargetError(f"target mixes labels with {label!r}; give labels only or class numbers only")
    if not labels:
        raise TargetError(f"target={label!r} needs labels; pass labels=[...] to AudioClassifier or give a class number")
    if label not in labels:
        raise TargetError(f"unknown label {label!r}; nearest: {nearest(label, labels)}")
    return list(labels).index(label)
