"""All random numbers of a run from its seed, and the caller's as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["own_random_state", "renew_workers", "seed_everything"]


@contextmanager
def own_random_state(device: torch.device, *loaders: Any) -> Iterator[None]:
    """Inside, draw as you like: the global generators and those of the loaders come back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    states = [(generator, generator.get_state()) for loader in loaders for generator in _generators(loader)]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            for generator, before in states:
                generator.set_state(before)


def _generators(loader: Any) -> list[torch.Generator]:
    """Those that a loader draws from."""
    found = [getattr(holder, "generator", None) for holder in (loader, getattr(loader, "sampler", None))]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def renew_workers(loader: Any) -> None:
    """Workers that outlive an epoch would go on with its random state, which no checkpoint holds."""
    if getattr(loader, "persistent_workers", False):
        loader._iterator = None


def seed_everything(seed: int, loader: Any) -> None:
    """Seed Python's, NumPy's and torch's numbers and those that a loader draws."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    for generator in _generators(loader):
        generator.manual_seed(seed)
