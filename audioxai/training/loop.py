"""One training loop, for every learned explainer and classifier, on Accelerate.

Each epoch seeds all random numbers from (seed, epoch), so a run that is killed at any moment and resumed from the
last checkpoint gives the same weights, to the bit on a CPU. A checkpoint is one safetensors file, written whole or
not at all. The caller's random state is left as it was.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError, InputError, OutputError
from audioxai.support.files import write_bytes
from audioxai.support.progress import disable
from audioxai.training.randomness import own_random_state, renew_workers, seed_everything

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["History", "TrainingOptions", "train"]

Losses = dict[str, Tensor]
History = list[dict[str, float]]
Precision = Literal["no", "bf16", "fp16"]

_WARM_UP, _LAST_RATE = 0.1, 0.01


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
        if self.epochs < 1:
            raise ConfigError(f"epochs={self.epochs} must be at least 1")
        if self.precision not in ("no", "bf16", "fp16"):
            raise ConfigError(f"precision={self.precision!r} is not known; choose 'no', 'bf16' or 'fp16'")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience={self.patience} must be at least 1, or None")
        if not self.checkpoint_seconds >= 0:
            raise ConfigError(f"checkpoint_seconds={self.checkpoint_seconds} must not be negative")
        if not self.lr > 0 or not self.clip_norm > 0:
            raise ConfigError(f"lr={self.lr} and clip_norm={self.clip_norm} must be positive")

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
    """Fit the parameters of ``module`` in place.

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
    accelerator = _accelerator(module, options.precision)
    run = _Run(module, step)
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigError(f"{name}: all parameters are frozen, so that none can learn; call .requires_grad_(True)")
    optimizer = torch.optim.AdamW(parameters, options.lr, weight_decay=options.weight_decay)
    prepared_run, prepared = accelerator.prepare(run, optimizer)
    if accelerator.num_processes > 1 and isinstance(loader, torch.utils.data.DataLoader):
        loader = accelerator.prepare(loader)
    state = _State(module, optimizer, options, identity or {})
    state.batches = _length(loader) or 0
    with own_random_state(parameters[0].device, loader, val_loader):
        state.resume()
        while state.epoch < options.epochs and not state.stopped:
            seed_everything(options.seed * 1_000_003 + state.epoch, loader)
            if options.checkpoint is not None:
                renew_workers(loader)
            start, batches, clips = time.perf_counter(), 0, 0
            sums: dict[str, Tensor] = {}
            module.train()
            for batch in _progress(loader, state, options, accelerator, name):
                _set_rate(prepared, options, state, batches)
                with accelerator.autocast():
                    losses = prepared_run(batch)
                if not torch.isfinite(losses["loss"]):
                    raise InputError(
                        f"the loss of batch {batches} in epoch {state.epoch + 1} is {float(losses['loss'].detach())}; "
                        "lower lr or check the batch"
                    )
                prepared.zero_grad(set_to_none=True)
                accelerator.backward(losses["loss"])
                accelerator.clip_grad_norm_(parameters, options.clip_norm)
                prepared.step()
                size = _clips_in(batch)
                for key, value in losses.items():
                    sums[key] = sums.get(key, 0.0) + size * value.detach().float()  # a GPU's, to be read at the end
                batches, clips = batches + 1, clips + size
                state.show(sums, clips)
            if batches == 0:
                again = "" if state.epoch == 0 else f" in epoch {state.epoch + 1}: it can be read only once"
                raise InputError(f"the loader yields no batch{again}; pass a list or a DataLoader that is not empty")
            state.batches = batches
            means = {k: float(v) / clips for k, v in sums.items()}
            if val_loader is not None:
                seed_everything(options.seed, val_loader)  # the same draws in every epoch
                means["val_loss"] = _validate(module, step, val_loader, accelerator)
            record = {"epoch": float(state.epoch + 1), **_over_processes(means, accelerator)}
            record["seconds"] = time.perf_counter() - start
            state.finish_epoch(record, write=accelerator.is_main_process)
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


class _State:
    """Where a run is: epoch, history, best weights; and the checkpoint that keeps it."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: TrainingOptions,
        identity: Mapping[str, Any],
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.options = options
        self.identity = {**options.identity(), **identity}
        self.path = None if options.checkpoint is None else Path(options.checkpoint)
        self.epoch = 0
        self.batches = 0  # in an epoch, once known
        self.history: History = []
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.bar: Any = None
        self.saved = time.perf_counter()

    @property
    def stopped(self) -> bool:
        return self.options.patience is not None and self.epoch - self.best_epoch >= self.options.patience

    def show(self, sums: Mapping[str, Tensor], clips: int) -> None:
        if self.bar is not None and not self.bar.disable:
            self.bar.set_postfix({k: f"{float(v) / clips:.3f}" for k, v in sums.items()}, refresh=False)

    def finish_epoch(self, record: dict[str, float], *, write: bool) -> None:
        watched = "val_loss" if "val_loss" in record else "loss"
        before = [past.get(watched, math.inf) for past in self.history]
        if self.options.patience is not None and all(record[watched] < past for past in before):
            self.best = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
            self.best_epoch = self.epoch + 1
        self.epoch += 1
        self.history.append(record)
        due = time.perf_counter() - self.saved >= self.options.checkpoint_seconds
        if self.path is not None and write and (due or self.stopped or self.epoch == self.options.epochs):
            self.save(self.path)
            self.saved = time.perf_counter()

    def restore_best(self) -> None:
        if self.best:
            self.module.load_state_dict(self.best)

    def save(self, path: Path) -> None:
        from safetensors.torch import save

        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in slots.items() if isinstance(v, Tensor)}
        meta = {
            "options": self.identity,
            "epoch": self.epoch,
            "batches": self.batches,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }
        # Copies, since safetensors refuses weights that are tied.
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        blob = save(plain, {"run": json.dumps(meta)})
        write_bytes(path, blob)

    def resume(self) -> None:
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
            other = [
                f"{k}={found.get(k)!r}, now {mine.get(k)!r}" for k in {**found, **mine} if found.get(k) != mine.get(k)
            ]
            raise ConfigError(
                f"the checkpoint {str(self.path)!r} belongs to a run with {'; '.join(other)}; use the same, another "
                "file, or delete it"
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
        self.best = part("best.")
        self.epoch, self.batches, self.best_epoch, self.history = progress


def _accelerator(module: nn.Module, precision: Precision) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    cpu = next(module.parameters()).device.type == "cpu"
    try:
        return Accelerator(mixed_precision=precision, cpu=cpu)
    except ValueError:  # an earlier run in this process chose another precision
        AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(mixed_precision=precision, cpu=cpu)


def _length(loader: Iterable[Any]) -> int | None:
    try:
        return len(loader)  # type: ignore[arg-type]
    except TypeError:
        return None


def _progress(
    loader: Iterable[Any], state: _State, options: TrainingOptions, accelerator: Accelerator, name: str
) -> Iterator[Any]:
    from tqdm.auto import tqdm

    state.bar = tqdm(
        loader,
        desc=f"{name} {state.epoch + 1}/{options.epochs}",
        total=_length(loader),
        leave=state.epoch + 1 == options.epochs,
        disable=disable(options.progress and accelerator.is_local_main_process),
    )
    yield from state.bar


def _set_rate(optimizer: Any, options: TrainingOptions, state: _State, batch: int) -> None:
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
def _validate(
    module: nn.Module, step: Callable[[Any], Losses], loader: Iterable[Any], accelerator: Accelerator
) -> float:
    module.eval()
    total, clips = 0.0, 0
    for batch in loader:
        size = _clips_in(batch)
        with accelerator.autocast():
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


def _over_processes(means: dict[str, float], accelerator: Accelerator) -> dict[str, float]:
    """Means over all processes, so that each records the same and they stop together."""
    if accelerator.num_processes == 1:
        return means
    values = torch.tensor(list(means.values()), dtype=torch.float64, device=accelerator.device)
    return dict(zip(means, accelerator.reduce(values, reduction="mean").tolist(), strict=True))
