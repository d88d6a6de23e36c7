"""Networks for images, such as timm's, on spectrograms: channels repeated, resized and normalised as they expect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.adapters.check import check_wrapped
from audioxai.adapters.image_layers import fixed_maps, patches
from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ClassifierError, ConfigError

__all__ = ["AsImage", "from_image_network"]


class AsImage(nn.Module):
    """Spectrograms (B, H, W) or (B, 1, H, W) to a network for images (B, C, H, W); H frequency, W time.

    Args:
        network: (B, C, H, W) to logits (B, K).
        channels: C; the spectrogram is repeated.
        size: (H, W) it is resized to, bilinearly; ``None`` leaves it.
        mean: of each channel, subtracted after the resizing.
        std: of each channel, divides then.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        size: tuple[int, int] | None,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        if len(mean) != channels or len(std) != channels or min(std) <= 0:
            raise ConfigError(f"mean={mean!r} and std={std!r} need {channels} value(s), one a channel, std above 0")
        self.network = network
        self.channels = channels
        self.size = size
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return f"channels={self.channels}, size={self.size}"

    def forward(self, spectrogram: Tensor) -> Tensor:
        image = spectrogram if spectrogram.ndim == 4 else spectrogram[:, None]
        if image.ndim != 4 or image.shape[1] != 1:
            raise ClassifierError(
                f"the front end must give (B, H, W) or (B, 1, H, W), frequency before time; got "
                f"{tuple(spectrogram.shape)}; LogMel and LogSTFT do with layout='B1MN'"
            )
        if self.size is not None:
            image = F.interpolate(image, size=self.size, mode="bilinear", align_corners=False, antialias=True)
        logits: Tensor = self.network((image.expand(-1, self.channels, -1, -1) - self.mean) / self.std)
        return logits


def from_image_network(
    network: nn.Module,
    frontend: nn.Module,
    *,
    sample_rate: int,
    labels: Sequence[str] | None = None,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layers: Sequence[str] | Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    multilabel: bool = False,
    own: Callable[[Tensor], Tensor] | None = None,
    seconds: float = 1.0,
    tolerance: float = 1e-3,
) -> AudioClassifier:
    """Wrap a network (B, C, H, W) to (B, K) that was trained on spectrograms as pictures.

    Args:
        network: of timm, torchvision or your own.
        frontend: waveform (B, T) to (B, H, W) or (B, 1, H, W), such as ``LogMel(rate, 128, layout="B1MN")``.
        sample_rate: in Hz.
        labels: K names.
        channels: C; default what the network's first convolution takes.
        size: (H, W) to resize to; ``None``: the network takes any. Networks of a fixed size need theirs.
        mean: one a channel; default 0. ``network.pretrained_cfg["mean"]`` is timm's, if it was used in training.
        std: one a channel; default 1.
        layers: modules as ``network. ...``, or a mapping to functions that give (B, D, H', W'). Default: patches of a
            vision transformer with ``patch_embed.grid_size``, or the deepest map of each resolution.
        multilabel: probabilities are sigmoids of the logits.
        own: your own path from a clip (1, T) to logits (1, K), which the wrapped network is compared with.
        seconds: length of the probe clip.
        tolerance: see :func:`audioxai.adapters.check.check_equal`.

    Raises:
        ConfigError: ``channels``, ``mean`` or ``std`` do not fit.
        ClassifierError: the network fails on the pictures, or answers otherwise than ``own``.
    """
    first = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    channels = channels or (1 if first is None else first.in_channels)
    image = AsImage(network, channels, size, mean or [0.0] * channels, std or [1.0] * channels)

    def wrap(layers: Any) -> AudioClassifier:
        return AudioClassifier(
            image, sample_rate=sample_rate, frontend=frontend, labels=labels, layers=layers, multilabel=multilabel
        )

    classifier = check_wrapped(wrap(layers), own, tolerance=tolerance, seconds=seconds)
    if layers is not None:
        return classifier
    found = patches(network) or (fixed_maps(classifier, size, seconds) if size is not None else {})
    return wrap(found) if found else classifier
