"""HTSAT, the audio tower of LAION's CLAP and of Microsoft's of 2023, as transformers implements it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from audioxai.adapters.windows import WindowedTower, Windows

__all__ = ["HTSAT"]


class HTSAT(WindowedTower):
    """Log-mels of windows to embeddings, with the maps of each resolution, unfolded.

    HTSAT folds a long narrow spectrogram into a square image: its rows are R segments of time, one below the other,
    each with all frequencies. Its tokens are put back in the order of time, an Rth of the rows with R times the steps.

    Args:
        model: a ``transformers.ClapAudioModel``.
        projection: from its pooled output to the common space.
        windows: see :class:`WindowedTower`.
    """

    def __init__(self, model: Any, projection: nn.Module, windows: Windows) -> None:
        encoder = model.audio_encoder
        stages = list(encoder.layers)
        # The last stage keeps the resolution of the one before, so that one of the two is enough.
        super().__init__([encoder.patch_embed, *stages[:-2], stages[-1]], windows)
        self.model = model
        self.projection = projection
        self.segments = int(encoder.freq_ratio)
        self.fused = bool(encoder.enable_fusion)
        grid: tuple[int, int] = encoder.patch_embed.grid_size
        self._aspect = grid[0] / grid[1]

    def embed(self, bands: Tensor) -> Tensor:
        return self.run(bands[:, None], None)

    def run(self, images: Tensor, longer: Tensor | None) -> Tensor:
        """(R, 1 or 4, N, M) log-mels, and for fused models whether each clip is longer than a window, (R, 1)."""
        dtype = next(self.model.parameters()).dtype
        pooled = self.model(input_features=images.to(dtype), is_longer=longer).pooler_output
        rows: Tensor = self.projection(pooled)
        return rows

    def to_map(self, output: Tensor) -> Tensor:
        """Tokens (R, L, C) to (R, C, F, N)."""
        size, tokens, channels = output.shape
        rows = round((tokens * self._aspect) ** 0.5)
        folded = output.transpose(1, 2).reshape(size, channels, self.segments, rows // self.segments, tokens // rows)
        return folded.permute(0, 1, 3, 2, 4).flatten(3)

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        size, channels, rows, steps = maps.shape
        folded = maps.reshape(size, channels, rows, self.segments, steps // self.segments)
        return folded.transpose(2, 3).reshape(size, channels, -1).transpose(1, 2)
