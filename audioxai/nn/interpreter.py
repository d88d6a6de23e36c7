"""L2I's interpreter: from a classifier's latents to the activations of a dictionary (Psi), and on to classes (Theta).

Source: Parekh et al., "Listen to Interpret: Post-hoc Interpretability for Audio Networks with NMF", NeurIPS 2022.
:class:`ActivationDecoder` and :class:`AttentionPooling` take the maps of any network and clips of any length;
:class:`PublishedActivationDecoder` and :class:`PositionPooling` are the L-MAC recipe's, for CNN14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.nn.decoder import _Residual
from audioxai.nn.published import PublishedDecoder

__all__ = [
    "ActivationDecoder", "AttentionPooling", "Interpreter", "PositionPooling", "PublishedActivationDecoder", "Reading",
]  # fmt: skip


class Reading(NamedTuple):
    """What an interpreter reads in a batch: H (B, R, N), H pooled over time (B, R), logits of the classes (B, K)."""

    activations: Tensor
    pooled: Tensor
    logits: Tensor


class Interpreter(nn.Module):
    """Psi, then pooling over time and a linear layer without bias (Theta), beside a dictionary that is not trained.

    Args:
        psi: (latents, frames) to activations (B, R, N), 0 or more.
        pooling: activations (B, R, N) to (B, R).
        rows: rows F of the dictionary.
        components: R.
        n_classes: K.
    """

    dictionary: Tensor

    def __init__(self, psi: nn.Module, pooling: nn.Module, rows: int, components: int, n_classes: int) -> None:
        super().__init__()
        self.psi = psi
        self.pooling = pooling
        self.classes = nn.Linear(components, n_classes, bias=False)
        self.register_buffer("dictionary", torch.zeros(rows, components))

    def forward(self, latents: Sequence[Tensor], frames: int) -> Reading:
        """Maps (B, C, F', N'), shallowest first, and the number of frames N of the spectrogram."""
        activations = self.psi(latents, frames)
        pooled = self.pooling(activations)
        return Reading(activations, pooled, self.classes(pooled))


class ActivationDecoder(nn.Module):
    """Activations from the maps of any network: each map's rows become channels, all maps meet at the frame rate.

    A map enters over its root mean square in the clip, with the logarithm of that as a channel of its own, so that no
    scale of latents is too small or too large to learn from and loudness is still heard.

    Args:
        shapes: (C, F') of each map, shallowest first; F' = 1 for maps without frequency.
        components: R.
        width: channels between.
    """

    def __init__(self, shapes: Sequence[tuple[int, int]], components: int, width: int = 64) -> None:
        super().__init__()
        narrow = [max(8, width // rows) for _, rows in shapes]
        self.narrow = nn.ModuleList(nn.Conv2d(c, w, 1) for (c, _), w in zip(shapes, narrow, strict=True))
        self.enter = nn.ModuleList(
            nn.Conv1d(w * rows + 1, width, 1) for (_, rows), w in zip(shapes, narrow, strict=True)
        )
        self.blocks = nn.ModuleList(_Residual(width, nn.Conv1d(width, width, 5, padding=2)) for _ in range(2))
        self.out = nn.Conv1d(width, components, 1)

    def forward(self, latents: Sequence[Tensor], frames: int) -> Tensor:
        """Maps (B, C, F', N') to (B, R, N), 0 or more."""
        x: Tensor | None = None
        for h, narrow, enter in zip(latents, self.narrow, self.enter, strict=True):
            level = h.float().square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)
            rows = narrow(h / level).relu().flatten(1, 2)
            loudness = level.log()[:, :, 0].expand(-1, 1, rows.shape[2]).to(rows)
            y = _to_frames(enter(torch.cat([rows, loudness], 1)), frames)
            x = y if x is None else x + y
        for block in self.blocks:
            x = block(x)
        return torch.as_tensor(self.out(x).relu())


class AttentionPooling(nn.Module):
    """Weighted mean over time; a frame's weight is the softmax of a learnt score of its activations, as in L2I.

    Args:
        components: R.
    """

    def __init__(self, components: int) -> None:
        super().__init__()
        self.score = nn.Conv1d(components, 1, 1, bias=False)

    def forward(self, activations: Tensor) -> Tensor:
        """(B, R, N) to (B, R), 0 or more."""
        weights: Tensor = self.score(activations).softmax(2)
        return (activations * weights).sum(2)


class PositionPooling(nn.Module):
    """Weighted sum over time with one learnt weight of either sign for each frame, whatever sounds there.

    For clips of another length the weights are interpolated, their sum kept. Source: the L-MAC recipe.

    Args:
        frames: of the clips it is made for.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.weight = nn.Linear(frames, 1, bias=False).weight

    def forward(self, activations: Tensor) -> Tensor:
        """(B, R, N) to (B, R)."""
        frames, made_for = activations.shape[2], self.weight.shape[1]
        weight = _to_frames(self.weight[None], frames)[0, 0] * (made_for / frames)
        return torch.as_tensor(activations @ weight)


class PublishedActivationDecoder(PublishedDecoder):
    """The published Psi, 237 M parameters for CNN14: the STFT decoder of L-MAC with R outputs, ReLU after every layer,
    a longer last kernel, and a mean over frequency. Source: the L-MAC recipe.

    Args:
        channels: of four maps, shallowest first.
        components: R.
        width: channels of the widest layers.
    """

    def __init__(self, channels: Sequence[int], components: int, *, width: int = 2048) -> None:
        super().__init__(channels, "stft", width=width)
        self.layers[-1] = nn.ConvTranspose2d(max(1, width // 8), components, (7, 5), (1, 4))

    def forward(self, latents: Sequence[Tensor], frames: int) -> Tensor:  # type: ignore[override]
        """Maps (B, C, F', N'), shallowest first, to (B, R, N), 0 or more."""
        x = self._climb(latents)
        for last in self.layers[7:]:
            x = last(x).relu()
        return _to_frames(x.mean(3), frames)


def _to_frames(x: Tensor, frames: int) -> Tensor:
    """(B, C, N') to (B, C, N): interpolated upwards, averaged downwards."""
    if x.shape[2] == frames:
        return x
    if x.shape[2] > frames:
        return F.adaptive_avg_pool1d(x, frames)
    return F.interpolate(x, size=frames, mode="linear", align_corners=False)
