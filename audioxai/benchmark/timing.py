"""How much of a run's time goes through the classifier: the floor under any explainer's cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.classifiers.base import AudioClassifier

__all__ = ["NetworkClock", "network_clock"]


@dataclass
class NetworkClock:
    """Seconds spent inside the network.

    Attributes:
        forward: in forward passes.
        backward: in backward passes from the logits to the network's input; those that end at a layer inside are not
            seen, so the sum is a lower bound.
    """

    forward: float = 0.0
    backward: float = 0.0

    @property
    def seconds(self) -> float:
        return self.forward + self.backward


@contextmanager
def network_clock(classifier: AudioClassifier, clock: NetworkClock) -> Iterator[NetworkClock]:
    """Add the time of the network's passes to a clock while the block runs."""
    forward, backward = _Spans(classifier.device), _Spans(classifier.device)
    ends: list[Callable[[], None]] = []

    def before(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        ends.append(forward.begin())

    def after(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        ends.pop()()
        logits, features = getattr(output, "logits", output), inputs[0]
        if isinstance(logits, Tensor) and logits.requires_grad and features.requires_grad:
            begun: list[Callable[[], None]] = []

            def start(_gradient: Tensor) -> None:
                begun.append(backward.begin())

            def stop(_gradient: Tensor) -> None:
                if begun:
                    begun.pop()()

            logits.register_hook(start)  # type: ignore[no-untyped-call]
            features.register_hook(stop)

    handles = [
        classifier.network.register_forward_pre_hook(before),
        classifier.network.register_forward_hook(after),
    ]
    try:
        yield clock
    finally:
        for handle in handles:
            handle.remove()
        clock.forward += forward.seconds()
        clock.backward += backward.seconds()


class _Spans:
    """Stretches of a device's time. A GPU notes them in its own queue, so that nothing waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._noted: list[tuple[Any, Any]] = []

    def begin(self) -> Callable[[], None]:
        """Start a stretch; returns what ends it."""
        start = self._now()

        def end() -> None:
            self._noted.append((start, self._now()))

        return end

    def seconds(self) -> float:
        """The sum of all of them."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return sum(float(start.elapsed_time(end)) for start, end in self._noted) / 1000
        return float(sum(end - start for start, end in self._noted))

    def _now(self) -> Any:
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(self._device))
            return event
        return time.perf_counter()
