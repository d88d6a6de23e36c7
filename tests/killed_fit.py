"""A fit that is killed with SIGKILL, again and again, in a child process; run by test_training.py.

Arguments: the folder to work in. Writes whole.safetensors, the weights of a fit that nothing disturbed, and for every
way of dying NAME.safetensors, the weights of the fit that was started again until it ended, with the number of deaths
in deaths.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import accelerate
import networks
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax

torch.set_num_threads(1)  # forking is safe as long as nothing has started a thread
EPOCHS = 6


def fit(checkpoint: Path, result: Path, before_step=None) -> None:
    clips = networks.clips(12, 1500)
    loader = DataLoader(TensorDataset(clips, torch.zeros(12)), batch_size=4, shuffle=True)
    explainer = ax.LMAC(networks.log_mel_cnn(), space="mel", width=8)
    honest, steps = explainer.training_step, [0]

    def step(waveform):
        if before_step is not None:
            before_step(steps[0])
        steps[0] += 1
        return honest(waveform)

    explainer.training_step = step
    explainer.fit(
        loader, val_loader=[clips[:4]], patience=3, lr=0.2, epochs=EPOCHS, checkpoint=checkpoint, progress=False
    )
    weights = {k: v.contiguous() for k, v in explainer.decoder_.state_dict().items()}
    losses = [v for record in explainer.history_ for k, v in record.items() if k != "seconds"]
    save_file({**weights, "history": torch.tensor(losses, dtype=torch.float64)}, result)


def die(*_args) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_step(number: int):
    """Before a step of the run, counted from where it was started; steps of validation count too."""
    return lambda step: die() if step == number else None


def die_in_write(stage: str, number: int) -> None:
    """While the checkpoint is written for the n-th time: after half its bytes, or just before or after the move."""
    import audioxai.support.files as files

    writes, replace, fsync = [0], os.replace, os.fsync

    def half(handle: int) -> None:
        writes[0] += 1
        if stage == "half" and writes[0] == number:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            die()
        fsync(handle)

    def move(*paths) -> None:
        if stage == "before" and writes[0] == number:
            die()
        replace(*paths)
        if stage == "after" and writes[0] == number:
            die()

    files.os.fsync, files.os.replace = half, move


def run(folder: Path, name: str, prepare) -> int:
    """Start the fit until it ends by itself; returns how often it died. Only the first two starts are disturbed."""
    for deaths in range(4):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                before = prepare() if deaths < 2 else None
                fit(folder / f"{name}-checkpoint.safetensors", folder / f"{name}.safetensors", before)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise SystemExit(f"{name}: the fit failed")
            return deaths
    raise SystemExit(f"{name}: the fit never ended")


def warm_up() -> None:
    """What is imported on first use is imported here once; a backward pass must wait for the children."""
    module = torch.nn.Linear(1, 1)
    optimizer = torch.optim.AdamW(module.parameters())
    accelerate.Accelerator(cpu=True).prepare(module, optimizer)[1].step()
    networks.log_mel_cnn().layers  # noqa: B018
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def main(folder: Path) -> None:
    warm_up()
    run(folder, "whole", lambda: None)
    deaths = {}
    for number in (0, 3, 6):
        deaths[f"step-{number}"] = run(folder, f"step-{number}", lambda n=number: die_in_step(n))
    for stage in ("half", "before", "after"):
        deaths[stage] = run(folder, stage, lambda s=stage: die_in_write(s, 2))
    (folder / "deaths.json").write_text(json.dumps(deaths))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
