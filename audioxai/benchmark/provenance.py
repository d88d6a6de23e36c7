"""What stands below the tables: versions, hardware and where the time went."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

from audioxai.benchmark.run_files import Store
from audioxai.version import __version__

__all__ = ["machine", "time_spent"]


def machine(device: torch.device) -> dict[str, Any]:
    """Versions and hardware."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "audioxai": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": gpu or f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
    }


def time_spent(store: Store, seconds: float) -> dict[str, Any]:
    """Seconds by kind of stage, and the classifier's share of them.

    Args:
        store: knows its stages, their times, and the seconds of fits and evaluations inside the classifier.
        seconds: of this run.
    """
    kinds: dict[str, float] = {}
    made = inside = 0.0
    for kind, _, facts, _ in store.log.values():
        kinds[kind] = kinds.get(kind, 0.0) + facts["seconds"]
        if "inside" in facts:
            made, inside = made + facts["seconds"], inside + facts["inside"]
    return {
        "seconds of this run": round(seconds, 1),
        "seconds of all stages, kept ones included": {kind: round(value, 1) for kind, value in kinds.items()},
        "share of fits and evaluations inside the classifier, at least": round(inside / made, 3) if made else None,
    }
