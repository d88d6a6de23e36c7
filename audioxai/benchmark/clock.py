"""How much of a run's time goes through the classifier: the floor under any explainer's cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.classifier import AudioClassifier

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
    started = [0.0]
    device = classifier.device

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def before(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        started[0] = now()

    def after(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        clock.forward += now() - started[0]
        logits, features = getattr(output, "logits", output), inputs[0]
        if isinstance(logits, Tensor) and logits.requires_grad and features.requires_grad:
            began = [0.0]

            def start(_gradient: Tensor) -> None:
                began[0] = now()

            def stop(_gradient: Tensor) -> None:
                clock.backward += now() - began[0] if began[0] else 0.0

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
