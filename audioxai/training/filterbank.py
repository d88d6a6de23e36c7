"""Fitting the learned filter bank of a separator."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from audioxai.errors import ConfigError
from audioxai.nn.filterbank import Filterbank
from audioxai.sound.inputs import read_batch
from audioxai.training.loop import History, TrainingOptions, train
from audioxai.training.losses import si_snr

__all__ = ["fit_filterbank"]


def fit_filterbank(bank: Filterbank, loader: Any, options: TrainingOptions | None = None) -> History:
    """Fit a learned filter bank as an auto-encoder by -SI-SNR, in place; it is left in evaluation mode, and frozen.

    Args:
        bank: with weights.
        loader: re-iterable batches at the bank's rate, as for ``fit`` of an explainer.
        options: of the training.

    Returns:
        The history, with the mean SI-SNR ``"si_snr"`` in dB.

    Raises:
        ConfigError: nothing in the bank can be learnt.
    """
    if not any(True for _ in bank.parameters()):
        raise ConfigError(f"a {bank.kind} filter bank has no weights to fit")
    device = next(bank.parameters()).device

    def step(batch: Any) -> dict[str, Tensor]:
        waveform = read_batch(batch, bank.sample_rate).to(device)
        decoded = bank.decode(bank.encode(waveform), waveform.shape[1])
        # The level matters too: kept and removed must add up to the clip, not to a multiple of it.
        gap = (decoded - waveform).square().sum(1) / waveform.square().sum(1).clamp(min=1e-8)
        ratio = si_snr(decoded, waveform).mean()
        return {"loss": (gap / (1 + gap)).mean() - ratio, "si_snr": ratio}

    bank.requires_grad_(True)
    loader = [loader] if isinstance(loader, Tensor) else loader
    history = train(bank, step, loader, options or TrainingOptions(), name="filter bank", identity=bank.config())
    bank.eval().requires_grad_(False)
    return history
