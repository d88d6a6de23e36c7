"""The check of every adapter: the wrapped model answers a probe clip as the model itself does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ClassifierError

__all__ = ["check_equal", "check_wrapped", "probe_clip"]

Kind = TypeVar("Kind", bound=AudioClassifier)


def probe_clip(sample_rate: int, seconds: float = 1.0) -> Tensor:
    """(1, T): noise, silence, faint noise and a tone, so that floors, offsets and levels of a front end all show."""
    samples = round(seconds * sample_rate)
    clip = 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(0))
    quarter = samples // 4
    clip[quarter : 2 * quarter] = 0.0
    clip[2 * quarter : 3 * quarter] *= 1e-3
    clip[3 * quarter :] = 0.3 * torch.sin(torch.arange(samples - 3 * quarter) * 0.2) + 0.05
    return clip[None]


def check_equal(what: str, ours: Tensor, own: Tensor, tolerance: float) -> None:
    """Two tensors agree within ``tolerance`` times the largest own value, or 1 where that is smaller.

    Raises:
        ClassifierError: they do not; it shows the largest difference.
    """
    own = own.detach().to(ours.device).float()
    if ours.shape != own.shape:
        raise ClassifierError(f"{what} of the wrapped model are {tuple(ours.shape)}, its own {tuple(own.shape)}")
    gap, size = float((ours.float() - own).abs().max()), float(own.abs().max())
    if not gap <= tolerance * max(1.0, size):  # NaN fails
        raise ClassifierError(
            f"{what} of the wrapped model differ from its own by {gap:.3g} on a probe clip, where the largest is "
            f"{size:.3g}: its front end has settings that cannot be reproduced. Wrap the model yourself with "
            "AudioClassifier(network, frontend=...), or raise tolerance= if it computes in low precision"
        )


def check_wrapped(
    classifier: Kind,
    own: Callable[[Tensor], Tensor] | None,
    *,
    tolerance: float = 1e-3,
    seconds: float = 1.0,
) -> Kind:
    """Return ``classifier`` if it does what the model does, on one clip and on a batch.

    Args:
        classifier: the wrapped model.
        own: the model's own way from a clip (1, T) to logits (1, K); ``None`` when it has none.
        tolerance: see :func:`check_equal`.
        seconds: length of the probe.

    Raises:
        ClassifierError: the logits differ, or a clip's depend on the other clips of its batch.
    """
    clip = probe_clip(classifier.sample_rate, seconds).to(classifier.device)
    devices = [classifier.device] if classifier.device.type == "cuda" else []
    with torch.no_grad(), classifier.frozen(), torch.random.fork_rng(devices=devices):
        alone = classifier(clip)
        if own is not None:
            check_equal("logits", alone, own(clip), tolerance)
        together = classifier(torch.cat([0.2 * clip.flip(1), clip]))[1:]
    gap = float((together - alone).abs().max())
    if not gap <= tolerance * max(1.0, float(alone.abs().max())):
        raise ClassifierError(
            f"the model's logits for a clip change by {gap:.3g} with the other clips of its batch; masked copies of a "
            "clip could not be compared. Normalise each clip on its own"
        )
    return classifier
