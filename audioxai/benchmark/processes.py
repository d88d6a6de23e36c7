"""This process among those of ``accelerate launch``."""

from __future__ import annotations

import os
from typing import Any

import torch

__all__ = ["Processes"]


class Processes:
    """This process among those of ``accelerate launch``; alone without it."""

    def __init__(self) -> None:
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            self._state = PartialState(cpu=not torch.cuda.is_available())

    @property
    def first(self) -> bool:
        return self._state is None or bool(self._state.is_main_process)

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self._state is None else int(self._state.num_processes)

    def mine(self, number: int) -> bool:
        """Whether this process does job ``number``."""
        return self._state is None or number % self._state.num_processes == self._state.process_index

    def wait(self) -> None:
        if self._state is not None:
            self._state.wait_for_everyone()

    def device(self, asked: str | None) -> torch.device:
        if asked is not None:
            return torch.device(asked)
        if self._state is not None:
            return torch.device(self._state.device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
