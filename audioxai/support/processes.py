"""The processes that ``accelerate launch`` or torchrun starts: which one this is, and where it computes."""

from __future__ import annotations

import os

import torch

__all__ = ["device_of", "launched"]


def launched() -> tuple[int, int]:
    """This process's number and how many ``accelerate launch`` or torchrun has started; 0 of 1 without them.

    What they set is taken away, since each fit is the work of one process.
    """
    number, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    return number, count


def device_of(asked: str | None, number: int) -> torch.device:
    """The device of a process: GPUs go round."""
    if asked is not None:
        return torch.device(asked)
    return (
        torch.device("cuda", number % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
