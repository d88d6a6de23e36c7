"""The dual-path transformer of SepFormer: the heavy mask network of a separator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.errors import ConfigError

__all__ = ["DualPath", "overlap_add", "segment"]


def segment(x: Tensor, chunk: int) -> Tensor:
    """Frames (B, D, L) of any L to chunks (B, D, K, S) of K = ``chunk`` that overlap by half.

    Zeros are added so that every frame lies in exactly two chunks. Raises ConfigError unless K is even.
    """
    if chunk < 2 or chunk % 2:
        raise ConfigError(f"chunk={chunk} must be an even number of frames, so that chunks overlap by half")
    half, frames = chunk // 2, x.shape[2]
    right = half + -frames % half
    return F.pad(x, (half, right)).unfold(2, chunk, half).transpose(2, 3)


def overlap_add(chunks: Tensor, frames: int) -> Tensor:
    """The inverse of :func:`segment`: the mean of the two values of each frame. (B, D, K, S) to (B, D, L)."""
    half = chunks.shape[2] // 2
    first, second = chunks[:, :, :half], chunks[:, :, half:]
    # The second half of chunk s covers the same frames as the first half of chunk s + 1.
    both = (second[..., :-1] + first[..., 1:]) / 2
    return both.transpose(2, 3).flatten(2)[:, :, :frames]


class DualPath(nn.Module):
    """Transformers within chunks and across them, over (B, D, L) for any L.

    Source: Subakan et al. 2021 (SepFormer), sections 2.2 and 2.3. Unlike there, halves of chunks are averaged, not
    added, and every frame is covered twice, those at the ends too.

    Args:
        channels: D.
        blocks: pairs of an intra- and an inter-chunk transformer.
        intra_layers: layers of the first.
        inter_layers: layers of the second.
        heads: of the attention; a divisor of D.
        hidden: channels of the feed-forward parts.
        chunk: frames K of a chunk, even; default near sqrt(2 L), where both ways are equally long.
    """

    def __init__(
        self,
        channels: int,
        *,
        blocks: int = 2,
        intra_layers: int = 2,
        inter_layers: int = 2,
        heads: int = 4,
        hidden: int = 256,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"heads={heads} must divide the {channels} channels")
        self.chunk = chunk
        self.intra = nn.ModuleList(_Path(channels, intra_layers, heads, hidden) for _ in range(blocks))
        self.inter = nn.ModuleList(_Path(channels, inter_layers, heads, hidden) for _ in range(blocks))
        self.out = nn.Sequential(nn.PReLU(), nn.Conv2d(channels, channels, 1))
        self.value = nn.Conv1d(channels, channels, 1)
        self.gate = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        frames = x.shape[2]
        chunks = segment(x, self.chunk or default_chunk(frames))
        for intra, inter in zip(self.intra, self.inter, strict=True):
            chunks = intra(chunks)
            chunks = inter(chunks.transpose(2, 3)).transpose(2, 3)
        y = overlap_add(self.out(chunks), frames)
        gated: Tensor = torch.tanh(self.value(y)) * torch.sigmoid(self.gate(y))
        return gated


def default_chunk(frames: int) -> int:
    """The even number of frames nearest to sqrt(2 L), at least 2."""
    return max(2, 2 * round(math.sqrt(2 * frames) / 2))


class _Path(nn.Module):
    """A pre-norm transformer along axis 2 of (B, D, K, S), normalised, beside a skip connection."""

    def __init__(self, channels: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            channels, heads, hidden, dropout=0.0, activation="relu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(channels), enable_nested_tensor=False)
        self.norm = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, steps, others = x.shape
        tokens = x.permute(0, 3, 2, 1).reshape(batch * others, steps, channels)
        tokens = self.transformer(tokens + _positions(steps, channels, tokens))
        y: Tensor = self.norm(tokens.reshape(batch, others, steps, channels).permute(0, 3, 2, 1))
        return x + y


def _positions(steps: int, channels: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (steps, channels). Source: Vaswani et al. 2017, section 3.5."""
    rates = torch.exp(torch.arange(0, channels, 2, device=like.device) * (-math.log(10000.0) / channels))
    angles = torch.arange(steps, device=like.device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :channels].to(like.dtype)
