"""How the reference classifiers are trained: one function, one augmentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import InputError
from audioxai.sound.inputs import read_batch
from audioxai.training.loop import History, TrainingOptions, train

__all__ = ["accuracy", "augment", "train_classifier"]


def train_classifier(
    classifier: AudioClassifier,
    loader: Iterable[Any],
    *,
    val_loader: Iterable[Any] | None = None,
    augmented: bool = True,
    epochs: int = 45,
    lr: float = 3e-3,
    weight_decay: float = 1e-2,
    **training: Any,
) -> History:
    """Train a classifier in place by cross-entropy.

    Args:
        classifier: whose network is trained; left in evaluation mode.
        loader: re-iterable batches of (waveform (B, T), class (B,) or multi-hot (B, K)).
        val_loader: such batches, for early stopping.
        augmented: shift, level, mix and add noise, see :func:`augment`; when validating nothing is augmented.
        epochs: passes over the loader.
        lr: peak learning rate.
        weight_decay: of AdamW.
        **training: other options of :class:`audioxai.training.loop.TrainingOptions`.

    Returns:
        Losses per epoch.
    """

    def step(batch: Any) -> dict[str, Tensor]:
        waveform, labels = _unpack(batch, classifier)
        if augmented and classifier.training:
            waveform, labels = augment(waveform, labels)
        logits = classifier(waveform)
        if classifier.multilabel:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        else:
            loss = torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss}

    options = TrainingOptions(epochs=epochs, lr=lr, weight_decay=weight_decay, **training)
    history = train(classifier, step, loader, options, val_loader=val_loader, name="classifier")
    classifier.eval()
    return history


def _unpack(batch: Any, classifier: AudioClassifier) -> tuple[Tensor, Tensor]:
    try:
        waveform, labels = batch
    except (TypeError, ValueError) as error:
        raise InputError(
            f"training a classifier takes batches of (waveform, label); got {type(batch).__name__}"
        ) from error
    waveform = read_batch(waveform, classifier.sample_rate).to(classifier.device)
    labels = torch.as_tensor(labels, device=classifier.device)
    if len(labels) != len(waveform):
        raise InputError(f"the batch has {len(waveform)} clips, but {len(labels)} labels")
    if labels.ndim == 1:
        if classifier.labels is None:
            raise InputError(
                "class numbers need to know how many classes there are; pass labels=[...] to AudioClassifier"
            )
        if labels.is_floating_point() or ((labels < 0) | (labels >= len(classifier.labels))).any():
            raise InputError(f"labels are class numbers from 0 to {len(classifier.labels) - 1}; got {labels.tolist()}")
        labels = torch.nn.functional.one_hot(labels.long(), len(classifier.labels))
    return waveform, labels.float()


def augment(waveform: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Vary a batch as recordings vary; random numbers come from torch's global generator.

    Each clip is shifted circularly, scaled by -12 to 6 dB, with probability 1/2 mixed with another clip (labels shared
    by energy), and given white noise 10 to 60 dB below it.

    Args:
        waveform: (B, T).
        labels: (B, K) shares.

    Returns:
        The same shapes.
    """
    size, device = len(waveform), waveform.device
    shifts = torch.randint(0, waveform.shape[1], (size,), device=device)
    index = (torch.arange(waveform.shape[1], device=device) + shifts[:, None]) % waveform.shape[1]
    waveform = waveform.gather(1, index) * _decibels(size, -12, 6, device)
    order = torch.randperm(size, device=device)
    level = waveform.norm(dim=1, keepdim=True).clamp(min=1e-6)
    weight = torch.rand(size, 1, device=device) * (torch.rand(size, 1, device=device) < 0.5)
    scale = ((1 - weight) ** 2 + weight**2).sqrt()
    waveform = ((1 - weight) * waveform + weight * waveform[order] * level / level[order]) / scale
    share = (1 - weight) ** 2 / scale**2
    labels = share * labels + (1 - share) * labels[order]
    noise = torch.randn_like(waveform) * level / waveform.shape[1] ** 0.5
    return waveform + noise * _decibels(size, -60, -10, device), labels


def _decibels(size: int, low: float, high: float, device: torch.device) -> Tensor:
    drawn: Tensor = 10 ** (torch.empty(size, 1, device=device).uniform_(low, high) / 20)
    return drawn


@torch.no_grad()
def accuracy(classifier: AudioClassifier, loader: Iterable[Any]) -> float:
    """Share of clips whose most probable class is their label, in [0, 1]."""
    right, total = 0, 0
    with classifier.frozen():
        for waveform, labels in loader:
            predicted = classifier(waveform.to(classifier.device)).argmax(1).cpu()
            right += int((predicted == labels).sum())
            total += len(labels)
    if total == 0:
        raise InputError("the loader yields no clip; accuracy needs at least one")
    return right / total
