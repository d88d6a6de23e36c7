"""One training loop, for every learned explainer and classifier.

Each epoch seeds all random numbers from (seed, epoch), so a run that is killed at any moment and resumed from the
last checkpoint gives the same weights, to the bit on a CPU. The caller's process is left as it was: its random state,
and whatever Accelerate it uses, since mixed precision is torch's own here. It runs where the parameters are.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError, InputError
from audioxai.support.options import at_least_one, one_of, positive, whole_number
from audioxai.support.progress import disable
from audioxai.training.parallel import Processes
from audioxai.training.randomness import own_random_state, renew_workers, seed_everything
from audioxai.training.run_state import History, RunState

__all__ = ["History", "TrainingOptions", "train"]

Losses = dict[str, Tensor]
Precision = Literal["no", "bf16", "fp16"]

_WARM_UP, _LAST_RATE = 0.1, 0.01
_TYPES = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_SHOWN = 0.5  # seconds between two looks at the losses for the progress bar


@dataclass(frozen=True)
class TrainingOptions:
    """How a model is fitted.

    Args:
        epochs: passes over the loader.
        lr: peak learning rate; it warms up over the first tenth and falls to a hundredth along a cosine.
        weight_decay: of AdamW.
        clip_norm: gradients are clipped to this norm.
        precision: ``"no"`` for float32, ``"bf16"`` or ``"fp16"`` for mixed precision.
        patience: stop after so many epochs without a better loss (on ``val_loader`` if given), keep the best weights;
            ``None`` never stops early.
        seed: of everything random in the run.
        checkpoint: file to resume from if it exists, rewritten after epochs.
        checkpoint_seconds: least time between two such; 0 writes after every epoch. The last epoch always writes.
        progress: show a bar with the losses, on a terminal or in a notebook.
    """

    epochs: int = 20
    lr: float = 2e-3
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    precision: Precision = "no"
    patience: int | None = None
    seed: int = 0
    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_seconds: float = 0.0
    progress: bool = True

    def __post_init__(self) -> None:
        whole_number("seed", self.seed)
        at_least_one("epochs", self.epochs)
        one_of("precision", self.precision, _TYPES)
        if self.patience is not None:
            at_least_one("patience", self.patience)
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(f"checkpoint_seconds={self.checkpoint_seconds} must not be negative")
        positive("lr", self.lr)
        positive("clip_norm", self.clip_norm)

    def identity(self) -> dict[str, Any]:
        """The options that change the result; a checkpoint made with others is refused."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoint", "checkpoint_seconds", "progress")}


def train(
    module: nn.Module,
    step: Callable[[Any], Losses],
    loader: Iterable[Any],
    options: TrainingOptions,
    *,
    val_loader: Iterable[Any] | None = None,
    name: str = "fit",
    identity: Mapping[str, Any] | None = None,
) -> History:
    """Fit the parameters of ``module`` in place, on the device where they are.

    Where ``accelerate launch`` or torchrun has started several processes, each takes its share of the batches.

    Args:
        module: holds the parameters to learn.
        step: a batch of the loader to named per-batch losses; ``"loss"`` is minimised, the others are shown.
        loader: re-iterable batches.
        options: how.
        val_loader: batches whose mean ``"loss"`` drives early stopping.
        name: shown at the progress bar.
        identity: what else decides the result, as JSON types; a checkpoint made with another is refused.

    Returns:
        One dict of mean losses per epoch, with ``"epoch"``, ``"seconds"`` and, with a ``val_loader``, ``"val_loss"``.

    Raises:
        InputError: the loader is none, yields nothing, or only once; a loss is not finite.
        ConfigError: the checkpoint belongs to a run with other options.
        OutputError: the checkpoint cannot be read or written.
    """
    for given in (loader, val_loader):
        if given is not None and not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
            raise InputError(f"a loader is a list of batches or a DataLoader; got {type(given).__name__}")
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError(f"{name}: all parameters are frozen, so that none can learn; call .requires_grad_(True)")
    device = parameters[0].device
    processes = Processes(device)
    run = processes.average_gradients(_Run(module, step))
    loader = processes.share(loader)
    optimizer = torch.optim.AdamW(parameters, options.lr, weight_decay=options.weight_decay)
    autocast = torch.autocast(device.type, _TYPES[options.precision], enabled=options.precision != "no")
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "fp16")
    state = RunState(
        module, optimizer, scaler, epochs=options.epochs, patience=options.patience,
        path=None if options.checkpoint is None else Path(options.checkpoint), seconds=options.checkpoint_seconds,
        identity={**options.identity(), **(identity or {})},
    )  # fmt: skip
    state.batches = _length(loader) or 0
    with own_random_state(device, loader, val_loader):
        state.resume()
        while not state.done:
            seed_everything(options.seed * 1_000_003 + state.epoch, loader)
            if options.checkpoint is not None:
                renew_workers(loader)
            start, epoch = time.perf_counter(), _Epoch(state.epoch + 1, device)
            module.train()
            for batch in epoch.show(loader, f"{name} {state.epoch + 1}/{options.epochs}", state, options, processes):
                _set_rate(optimizer, options, state, epoch.batches)
                with autocast:
                    losses = run(batch)
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(losses["loss"]).backward()
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(parameters, options.clip_norm)
                epoch.add(losses, _clips_in(batch), parameters)
                scaler.step(optimizer)
                scaler.update()
            if epoch.batches == 0:
                again = "" if state.epoch == 0 else f" in epoch {state.epoch + 1}: it can be read only once"
                raise InputError(f"the loader yields no batch{again}; pass a list or a DataLoader that is not empty")
            means = epoch.means()
            state.batches = epoch.batches
            if val_loader is not None:
                seed_everything(options.seed, val_loader)  # the same draws in every epoch
                with autocast:
                    means["val_loss"] = _validate(module, step, val_loader)
            record = {"epoch": float(state.epoch + 1), **processes.mean(means)}
            record["seconds"] = time.perf_counter() - start
            state.finish_epoch(record, write=processes.first)
        state.restore_best()
    return state.history


class _Run(nn.Module):
    """The step as a module, so that several processes average its gradients."""

    def __init__(self, module: nn.Module, step: Callable[[Any], Losses]) -> None:
        super().__init__()
        self.module = module
        self.step = step

    def forward(self, batch: Any) -> Losses:
        return self.step(batch)


class _Epoch:
    """The losses of an epoch, added up where they are computed, and whether all of them were finite."""

    def __init__(self, number: int, device: torch.device) -> None:
        self.number = number
        self.batches = 0
        self.clips = 0
        self._sums: dict[str, Tensor] = {}
        self._unread: list[Tensor] = []
        self._between = _steps_between_looks(device)

    def show(
        self, loader: Iterable[Any], title: str, state: RunState, options: TrainingOptions, processes: Processes
    ) -> Iterator[Any]:
        """The batches, and a progress bar with the means so far."""
        from tqdm.auto import tqdm

        hidden = disable(options.progress and processes.first_here)
        bar = tqdm(loader, desc=title, total=_length(loader), leave=self.number == options.epochs, disable=hidden)
        shown = time.perf_counter()
        for batch in bar:
            yield batch
            if not bar.disable and time.perf_counter() - shown > _SHOWN:
                bar.set_postfix({k: f"{float(v) / self.clips:.3f}" for k, v in self._sums.items()}, refresh=False)
                shown = time.perf_counter()

    def add(self, losses: Losses, clips: int, parameters: Sequence[Tensor]) -> None:
        """Add the losses of a batch; when they are not finite, its gradients are emptied, and the run ends soon.

        Raises:
            InputError: a loss is not finite.
        """
        loss = losses["loss"].detach()
        self._unread.append(loss)
        self.batches, self.clips = self.batches + 1, self.clips + clips
        if len(self._unread) >= self._between:
            self._look()
        else:  # what spoils no weight may be found out later
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.copy_(torch.where(torch.isfinite(loss), parameter.grad, 0))
        for key, value in losses.items():
            self._sums[key] = self._sums.get(key, 0.0) + clips * value.detach().float()

    def means(self) -> dict[str, float]:
        """Means over the clips."""
        self._look()
        return {key: float(value) / self.clips for key, value in self._sums.items()}

    def _look(self) -> None:
        first = self.batches - len(self._unread)
        for number, value in enumerate(torch.stack(self._unread).tolist() if self._unread else [], first):
            if not math.isfinite(value):
                raise InputError(
                    f"the loss of batch {number} in epoch {self.number} is {value}; lower lr or check the batch"
                )
        self._unread.clear()


def _steps_between_looks(device: torch.device) -> int:
    """Steps between two looks at whether the losses were finite, for which the process must wait for a GPU."""
    return 1 if device.type == "cpu" else 32


def _length(loader: Iterable[Any]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


def _set_rate(optimizer: torch.optim.Optimizer, options: TrainingOptions, state: RunState, batch: int) -> None:
    """Warm-up, then a cosine, as a function of how far the run is; of the epoch alone while its length is unknown."""
    within = batch / state.batches if state.batches else 0.0
    done = min(1.0, (state.epoch + min(within, 1.0)) / options.epochs)
    if done < _WARM_UP:
        factor = max(_LAST_RATE, done / _WARM_UP)
    else:
        factor = _LAST_RATE + (1 - _LAST_RATE) * 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
    for group in optimizer.param_groups:
        group["lr"] = options.lr * factor


@torch.no_grad()
def _validate(module: nn.Module, step: Callable[[Any], Losses], loader: Iterable[Any]) -> float:
    module.eval()
    total, clips = 0.0, 0
    for batch in loader:
        size = _clips_in(batch)
        total += size * float(step(batch)["loss"].detach())
        clips += size
    if clips == 0:
        raise InputError("val_loader yields no batch; pass a list or a DataLoader that is not empty")
    return total / clips


def _clips_in(batch: Any) -> int:
    """Clips of a batch in any form; a step's losses are their means."""
    while isinstance(batch, Mapping | tuple | list) and len(batch):
        batch = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    return len(batch) if isinstance(batch, Tensor | np.ndarray) and batch.ndim else 1
