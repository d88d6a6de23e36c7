"""The conditioner of a separator: from a classifier's latents, and the evidence in them, to channels over time."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.nn.decoder import EvidenceDecoder

__all__ = ["Conditioner"]


class Conditioner(nn.Module):
    """Latents of any network over the frames of a filter bank, for clips of any length.

    The maps go through the trunk of an :class:`audioxai.nn.EvidenceDecoder`. Its frequency rows become channels, and
    these are interpolated linearly in time, so that step n of the trunk tells of the same moment as frame n.

    Args:
        shapes: (C, F') of each map, shallowest first; F' = 1 for maps without frequency.
        rows: of the filter bank's masks.
        channels: D.
        grid: weights (G, rows) from the maps' frequency rows to the masks' rows.
        evidence: whether each map comes with its evidence.
        width: channels of the trunk.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        rows: int,
        channels: int,
        *,
        grid: Tensor | None = None,
        evidence: bool = True,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.decoder = EvidenceDecoder(shapes, rows, grid=grid, width=width, evidence=evidence)
        self.mix = nn.Conv1d(self.decoder.out.in_channels * shapes[0][1], channels, 1)

    def forward(
        self, latents: Sequence[Tensor], evidence: Sequence[Tensor] | None, frames: int
    ) -> tuple[Tensor, Tensor]:
        """Channels (B, D, L), and planes (B, 3, rows, L) as the trunk alone would draw a mask.

        Args:
            latents: maps (B, C, F', N').
            evidence: maps of the same shapes; ``None`` without.
            frames: L.
        """
        x = self.decoder.trunk(latents, evidence, frames)
        channels: Tensor = self.mix(x.flatten(1, 2))
        channels = F.interpolate(channels, size=frames, mode="linear", align_corners=False)
        return channels, self.decoder.planes(x, frames)
