"""Where a run is: epoch, history, best weights; and the checkpoint that keeps it.

A checkpoint is one safetensors file, written whole or not at all.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError, OutputError
from audioxai.support.files import write_bytes
from audioxai.support.identity import differences

__all__ = ["History", "RunState"]

History = list[dict[str, float]]

_FORMAT = 2


class RunState:
    """Epoch, history and best weights of a run.

    Args:
        module: what is trained.
        optimizer: of its parameters.
        scaler: of the losses, in half precision.
        patience: epochs without a better loss before the run stops; ``None`` never.
        epochs: in all.
        path: of the checkpoint, if there is one.
        seconds: least time between two checkpoints.
        identity: what decides the result, as JSON types; a checkpoint made with another is refused.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        *,
        epochs: int,
        patience: int | None,
        path: Path | None,
        seconds: float,
        identity: Mapping[str, Any],
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.scaler = scaler
        self.epochs = epochs
        self.patience = patience
        self.path = path
        self.seconds = seconds
        self.identity = identity
        self.epoch = 0
        self.batches = 0  # in an epoch, once known
        self.history: History = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.saved = time.perf_counter()

    @property
    def done(self) -> bool:
        """Whether all epochs are made, or the loss has stopped falling."""
        return self.epoch >= self.epochs or self.stopped

    @property
    def stopped(self) -> bool:
        return self.patience is not None and self.epoch - self.best_epoch >= self.patience

    def finish_epoch(self, record: dict[str, float], *, write: bool) -> None:
        """Add the losses of an epoch, keep the best weights, and write the checkpoint if this process does."""
        watched = "val_loss" if "val_loss" in record else "loss"
        before = [past.get(watched, math.inf) for past in self.history]
        if self.patience is not None and all(record[watched] < past for past in before):
            self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
            self.best_epoch = self.epoch + 1
        self.epoch += 1
        self.history.append(record)
        due = time.perf_counter() - self.saved >= self.seconds
        if self.path is not None and write and (due or self.done):
            self.save(self.path)
            self.saved = time.perf_counter()

    def restore_best(self) -> None:
        """The weights of the best epoch, where they were kept."""
        if self.best:
            self.module.load_state_dict(self.best)

    def save(self, path: Path) -> None:
        """Write the checkpoint.

        Raises:
            OutputError: it cannot be written.
        """
        from safetensors.torch import save

        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        meta = {
            "format": _FORMAT,
            "options": self.identity,
            "epoch": self.epoch,
            "batches": self.batches,
            "best_epoch": self.best_epoch,
            "history": self.history,
            "scaler": self.scaler.state_dict(),
        }
        # Copies, since safetensors refuses weights that are tied.
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        blob = save(plain, {"run": json.dumps(meta)})
        write_bytes(path, blob)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one.

        Raises:
            ConfigError: it belongs to a run with other options, or to another model.
            OutputError: it cannot be read.
        """
        if self.path is None or not self.path.exists():
            return
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, framework="pt") as file:
                meta = json.loads((file.metadata() or {})["run"])
                found = dict(meta["options"])
                progress = int(meta["epoch"]), int(meta["batches"]), int(meta["best_epoch"]), list(meta["history"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise OutputError(
                f"the checkpoint {str(self.path)!r} cannot be read ({error}); delete it to start anew"
            ) from error
        mine = json.loads(json.dumps(self.identity))
        if found != mine:
            same = meta.get("format") == _FORMAT
            other = "; ".join(differences(found, mine)) if same else "an earlier version of audioxai"
            raise ConfigError(
                f"the checkpoint {str(self.path)!r} belongs to a run with {other}; use the same, another file, or "
                "delete it"
            )

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        try:
            self.module.load_state_dict(part("module."))
        except RuntimeError as error:
            raise ConfigError(f"the checkpoint {str(self.path)!r} belongs to another model: {error}") from error
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, slot = key.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({"state": slots, "param_groups": self.optimizer.state_dict()["param_groups"]})
        if self.scaler.is_enabled() and meta.get("scaler"):
            self.scaler.load_state_dict(meta["scaler"])
        self.best = part("best.")
        self.epoch, self.batches, self.best_epoch, self.history = progress
