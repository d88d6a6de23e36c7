"""How an audio and a text tower are trained into one space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from audioxai.errors import InputError
from audioxai.nn.clap import CompactCLAP
from audioxai.training import History, TrainingOptions, train

__all__ = ["contrastive_loss", "train_clap"]

_HOTTEST = 50.0  # bound of the temperature


def contrastive_loss(audio: Tensor, text: Tensor, matches: Tensor, temperature: Tensor | float) -> Tensor:
    """Cross-entropy of each clip against the texts that match it, and of each text against its clips, averaged.

    With one match each it is the loss of CLIP and CLAP; of several matches each has an equal share. Clips and texts
    without any are left out. Source: Khosla et al. 2020, eq. 2, over two modalities.

    Args:
        audio: (B, D) embeddings of length 1.
        text: (P, D) embeddings of length 1.
        matches: (B, P) bool.
        temperature: factor of the cosines.
    """
    logits = temperature * audio @ text.T
    losses = []
    for scores, right in ((logits, matches), (logits.T, matches.T)):
        counts = right.sum(1)
        each = -(scores.log_softmax(1) * right).sum(1) / counts.clamp(min=1)
        losses.append(each.sum() / (counts > 0).sum().clamp(min=1))
    return (losses[0] + losses[1]) / 2


def train_clap(
    clap: CompactCLAP,
    frontend: nn.Module,
    loader: Iterable[Any],
    *,
    epochs: int = 30,
    lr: float = 3e-3,
    weight_decay: float = 1e-2,
    **training: Any,
) -> History:
    """Train both towers in place, and the temperature; they are left in evaluation mode.

    Args:
        clap: the towers.
        frontend: (B, T) waveforms to what the audio tower eats.
        loader: re-iterable batches (waveform (B, T), P captions, matches (B, P)). With ``None`` for matches, caption i
            is that of clip i, and of clips with an equal caption.
        epochs: passes over the loader.
        lr: peak learning rate.
        weight_decay: of AdamW.
        **training: other options of :class:`audioxai.training.TrainingOptions`.

    Returns:
        Losses per epoch.
    """

    def step(batch: Any) -> dict[str, Tensor]:
        try:
            waveform, captions, matches = batch
        except (TypeError, ValueError) as error:
            raise InputError(
                f"training a CLAP takes batches of (waveform, captions, matches); got {type(batch).__name__}"
            ) from error
        if matches is None:
            matches = torch.tensor([[mine == other for other in captions] for mine in captions])
        if matches.shape != (len(waveform), len(captions)):
            raise InputError(
                f"{len(waveform)} clips and {len(captions)} captions need matches of shape "
                f"({len(waveform)}, {len(captions)}); got {tuple(matches.shape)}"
            )
        device = clap.log_temperature.device
        audio = nn.functional.normalize(clap.audio(frontend(waveform.to(device))), dim=1)
        text = nn.functional.normalize(clap.text(captions), dim=1)
        temperature = clap.log_temperature.exp().clamp(max=_HOTTEST)
        return {"loss": contrastive_loss(audio, text, matches.to(device), temperature)}

    options = TrainingOptions(epochs=epochs, lr=lr, weight_decay=weight_decay, **training)
    history = train(clap, step, loader, options, name="CLAP")
    clap.eval()
    return history
