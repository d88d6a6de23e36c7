"""How much of a run's time goes through the classifier: the floor under any explainer's cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier

__all__ = ["NetworkClock", "network_clock"]


class NetworkClock:
    """Time spent inside the network; a GPU notes it in its own queue, so that nothing waits for it.

    Backward passes count from the logits to the network's input; those that end at a layer inside are not seen, so the
    sum is a lower bound.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._noted: list[tuple[Any, Any]] = []

    @property
    def seconds(self) -> float:
        """The sum of all passes."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return sum(float(start.elapsed_time(end)) for start, end in self._noted) / 1000
        return float(sum(end - start for start, end in self._noted))

    def begin(self) -> Callable[[], None]:
        """Start a pass; returns what ends it."""
        start = self._now()
        return lambda: self._noted.append((start, self._now()))

    def _now(self) -> Any:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self._device))
            return event
        return time.perf_counter()


@contextmanager
def network_clock(classifier: AudioClassifier) -> Iterator[NetworkClock]:
    """A clock of the network's passes while the block runs."""
    clock = NetworkClock(classifier.device)
    ends: list[Callable[[], None]] = []

    def before(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        ends.append(clock.begin())

    def after(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        ends.pop()()
        logits, features = getattr(output, "logits", output), inputs[0]
        if isinstance(logits, Tensor) and logits.requires_grad and features.requires_grad:
            begun: list[Callable[[], None]] = []
            logits.register_hook(lambda _: begun.append(clock.begin()))  # type: ignore[no-untyped-call]
            features.register_hook(lambda _: begun.pop()() if begun else None)

    handles = [
        classifier.network.register_forward_pre_hook(before),
        classifier.network.register_forward_hook(after),
    ]
    try:
        yield clock
    finally:
        for handle in handles:
            handle.remove()
