"""The decoder for every network: from planes that any network gives to a mask, with no parameter of one network."""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.nn.decoder import _gate, _resize

__all__ = ["GeneralDecoder"]


class GeneralDecoder(nn.Module):
    """A small U-Net over planes of G bands by N frames, for any number of bands and frames.

    Its last level draws the planes a, b, c of the gate in :class:`audioxai.nn.EvidenceDecoder`, whose values are the
    mask's own, at full resolution. Nothing in it depends on a network, a rate or a transform, so that the same weights
    serve all. Source of the form: Ronneberger et al. 2015, with residual blocks and group norm.

    Args:
        planes: P, planes that it takes.
        width: channels of the third of four levels, each of half the resolution of the one before; the first has half.
    """

    def __init__(self, planes: int = 16, width: int = 32) -> None:
        super().__init__()
        widths = [max(1, width * quarters // 4) for quarters in (2, 3, 4, 6)]
        self.down = nn.ModuleList(_Block(i, o) for i, o in zip([planes, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_Block(wide + deep, wide) for wide, deep in pairwise(widths))
        self.out = nn.Conv2d(widths[0], 3, 3, padding=1)
        self.to(memory_format=torch.channels_last)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.out.bias[0] = -1.0  # type: ignore[index]

    def forward(self, planes: Tensor, values: Tensor, rows: Tensor) -> Tensor:
        """Logits of the mask.

        Args:
            planes: (B, P, G, N).
            values: (B, F, N) what the mask multiplies, or (B, T) in waveform space.
            rows: weights (G, F) from bands to the rows of the values; (G, 1) in waveform space.

        Returns:
            The shape of ``values``.
        """
        drawn = self.draw(planes)
        with torch.autocast(values.device.type, enabled=False):
            drawn = torch.einsum("gf,bcgn->bcfn", rows.float(), drawn.float())
            return _gate(_resize(drawn, rows.shape[1], values.shape[-1]), values.float())

    def draw(self, planes: Tensor) -> Tensor:
        """The gate's planes a, b, c (B, 3, G, N)."""
        x, skips = planes.contiguous(memory_format=torch.channels_last), []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2, ceil_mode=True) if level else x)
            skips.append(x)
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            wider = x.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, : skip.shape[2], : skip.shape[3]]
            x = block(torch.cat([wider, skip], 1))
        drawn: Tensor = self.out(x)
        return drawn


class _Block(nn.Module):
    """Two convolutions with group norm, the second around a shortcut."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.first_norm = nn.GroupNorm(gcd(4, width), width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.second_norm = nn.GroupNorm(gcd(4, width), width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(x)))
        return x + F.relu(self.second_norm(self.second(x)))
