"""An explainer on trial: clips, what it says of them, and how a broken promise is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import AudioXAIError
from audioxai.explainers.base import Explainer
from audioxai.explainers.explanation import Explanation

__all__ = ["Trial", "numpy_state", "numpys", "refused", "require", "torchs"]


class Trial:
    """An explainer, clips, and what it says of them."""

    def __init__(self, explainer: Explainer, clips: Tensor, tolerance: float) -> None:
        self.explainer, self.clips, self.tolerance = explainer, clips, tolerance
        self.whole: Explanation = explainer.explain(clips)

    def same(self, what: str, other: Explanation, expected: Explanation | None = None, clip: int | None = None) -> None:
        """Mask, sound and probabilities agree with those of all clips, or of one."""
        expected = self.whole if expected is None else expected
        at = slice(None) if clip is None else slice(clip, clip + 1)
        pairs = {
            "mask": (other.mask, expected.mask[at]),
            "sound": (other.waveform, expected.waveform[at]),
            "sound removed": (other.removed, expected.removed[at]),
        }
        pairs |= {
            f"scores.{name}": (getattr(other.scores, name), getattr(expected.scores, name)[at])
            for name in ("input", "kept", "removed")
        }
        for name, (got, wanted) in pairs.items():
            require(got.shape == wanted.shape, f"{what}: {name} is {tuple(got.shape)}, not {tuple(wanted.shape)}")
            gap = float((got - wanted).abs().max())
            require(gap <= self.tolerance, f"{what}: {name} differs by {gap:.2g}")


def require(holds: bool, message: str) -> None:
    """Raise an AssertionError with the message unless something holds."""
    if not holds:
        raise AssertionError(message)


def refused(t: Trial, kind: type[AudioXAIError], given: Any, target: Any) -> None:
    """Require an error of a kind."""
    what = f"target={target!r}" if target is not None else repr(given)[:60]
    try:
        t.explainer.explain(given, target)
    except kind:
        return
    raise AssertionError(f"{what} is accepted; it should be a {kind.__name__}")


def torchs(t: Trial) -> Tensor:
    """Torch's random state."""
    device = t.explainer.classifier.device
    states = [torch.random.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
    return torch.cat(states)


def numpys() -> str:
    """NumPy's random state."""
    return repr(np.random.get_state(legacy=False))


@contextmanager
def numpy_state() -> Iterator[None]:
    """NumPy's random state comes back as it was."""
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
