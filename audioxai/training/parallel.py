"""Several processes that train one module together, where ``accelerate launch`` or torchrun has started them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

__all__ = ["Processes"]


class Processes:
    """The processes of a run; a single one needs no Accelerate, and leaves it alone.

    Args:
        device: where this process trains.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._state: Any = None
        if int(os.environ.get("WORLD_SIZE", 1)) > 1 or torch.distributed.is_initialized():
            from accelerate import PartialState

            self._state = PartialState(cpu=device.type == "cpu")  # precision is no part of it

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self._state is None else int(self._state.num_processes)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self._state is None or bool(self._state.is_main_process)

    @property
    def first_here(self) -> bool:
        """Whether this is the one that shows progress on this machine."""
        return self._state is None or bool(self._state.is_local_main_process)

    def average_gradients(self, run: nn.Module) -> nn.Module:
        """The same module, whose gradients are averaged over the processes."""
        return run if self.count == 1 else nn.parallel.DistributedDataParallel(run)

    def share(self, loader: Iterable[Any]) -> Iterable[Any]:
        """The share of this process of a DataLoader's batches; other loaders give each process everything."""
        if self.count == 1 or not isinstance(loader, torch.utils.data.DataLoader):
            return loader
        from accelerate.data_loader import prepare_data_loader

        shared: Iterable[Any] = prepare_data_loader(
            loader, num_processes=self.count, process_index=self._state.process_index
        )
        return shared

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """Means over all processes, so that each records the same and they stop together."""
        if self.count == 1:
            return values
        total = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return dict(zip(values, (total / self.count).tolist(), strict=True))
