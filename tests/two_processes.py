"""A fit in several processes, each of which writes its decoder; run by test_training.py under torch's launcher."""

from __future__ import annotations

import sys
from pathlib import Path

import accelerate
import networks
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

import audioxai as ax

torch.set_num_threads(1)


def main(folder: Path) -> None:
    state = accelerate.PartialState(cpu=True)
    clips = networks.clips(12, 1500) * torch.linspace(0.1, 3, 12)[:, None]
    loader = DataLoader(TensorDataset(clips), batch_size=2, shuffle=True)
    explainer = ax.LMAC(networks.log_mel_cnn(), space="mel", width=8)
    explainer.fit(loader, epochs=6, lr=0.3, patience=1, checkpoint=folder / "checkpoint", progress=False)
    losses = torch.tensor([record["loss"] for record in explainer.history_], dtype=torch.float64)
    save_file({**explainer.decoder_.state_dict(), "losses": losses}, folder / f"{state.process_index}.safetensors")
    if state.num_processes != 2:
        raise SystemExit(f"{state.num_processes} processes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
