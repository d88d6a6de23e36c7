"""What a method found for a batch of clips, and the targets of several batches as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from audioxai.classifiers.targets import Target
from audioxai.masking.spaces import Analysis, Space

__all__ = ["Solution", "join"]


@dataclass(frozen=True)
class Solution:
    """What a method found for a batch of clips.

    Args:
        mask: (B, ...) in [0, 1], shaped like the space's values.
        logits: (B, K) of the clips, or ``None`` if the method needed no pass over them.
        target: resolved target.
        attribution: (B, ...) signed, or ``None``.
        sounds: what is kept and removed, each (B, T), where the method makes the sounds itself; the mask then only
            describes them, and scores are asked of the sounds.
    """

    mask: Tensor
    logits: Tensor | None
    target: Target
    attribution: Tensor | None = None
    sounds: tuple[Tensor, Tensor] | None = None

    def sound(self, which: int, space: Space, analysis: Analysis) -> Tensor:
        """What is kept (0) or removed (1), (B, T)."""
        if self.sounds is not None:
            return self.sounds[which]
        return space.resynthesise(self._gain(which) * analysis.values, analysis)

    def predict(self, which: int, space: Space, analysis: Analysis) -> Tensor:
        """The classifier's logits (B, K) for what is kept (0) or removed (1)."""
        if self.sounds is not None:
            return torch.as_tensor(space.classifier(self.sounds[which]))
        return space.predict(self._gain(which) * analysis.values, analysis)

    def heard(self, space: Space, analysis: Analysis) -> Solution:
        """The same with its sounds made, so that scores are asked of them."""
        with torch.no_grad():
            return replace(self, sounds=(self.sound(0, space, analysis), self.sound(1, space, analysis)))

    def among(self, labels: Sequence[str] | None, fewer: Sequence[str] | None) -> Solution:
        """The same for a classifier that knows fewer of the labels, the explained ones among them."""
        if labels is None or fewer is None or labels == fewer:
            return self
        place = {label: k for k, label in enumerate(labels)}
        kept = {place[label]: k for k, label in enumerate(fewer)}
        logits = None if self.logits is None else self.logits[:, list(kept)]
        assert self.target.classes is not None  # only labels and prompts ask for more labels
        classes = self.target.classes.new_tensor([kept[k] for k in self.target.classes.tolist()])
        return replace(self, logits=logits, target=replace(self.target, classes=classes))

    def _gain(self, which: int) -> Tensor:
        return 1 - self.mask if which else self.mask


def join(targets: list[Target]) -> Target:
    """The targets of consecutive parts as one."""

    def cat(name: str) -> Any:
        values = [getattr(t, name) for t in targets]
        return torch.cat(values) if isinstance(values[0], Tensor) else values[0]

    return Target(**{f.name: cat(f.name) for f in fields(Target)})
