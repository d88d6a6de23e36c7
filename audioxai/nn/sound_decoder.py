"""The decoder for coarse maps: below them, the sound itself gives the finer levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.nn.decoder import _gate, _level, _limit, _log_level, _Residual, _resize, _signed_log, _standardise

__all__ = ["SoundDecoder"]

_HIDDEN = 64


class SoundDecoder(nn.Module):
    """Top-down decoder like :class:`EvidenceDecoder`, for maps that are all coarse, such as a transformer's tokens.

    Tokens of 16 bands by 160 ms tell which class is there and roughly where, not which part of a patch it is. So the
    path goes on below them, over the sound itself at half its resolution and at its full one. And since every token has
    seen the whole clip, each level is scaled and shifted by the evidence averaged over the clip, which names the class
    better than any place does (FiLM: Perez et al. 2018, eq. 2). Of the last level come the planes a, b, c, as in
    :class:`EvidenceDecoder`.

    Args:
        shapes: (C, F') of each map, shallowest first.
        grid: weights (G, F) from G bands to the mask's rows; with it, the sound is seen in these bands.
        width: channels of every level but the last, which has half.
    """

    grid: Tensor | None

    def __init__(self, shapes: Sequence[tuple[int, int]], *, grid: Tensor | None = None, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("grid", None if grid is None else grid.clone(), persistent=False)
        widths = [max(4, width // 2), width] + [width] * len(shapes)
        self.finest = nn.Conv2d(2, widths[0], 3, padding=1)
        self.halved = nn.Conv2d(widths[0], width, 3, stride=2, padding=1)
        self.halved_block = _Residual(width)
        self.lateral = nn.ModuleList(nn.Conv2d(2 * channels, width, 1) for channels, _ in shapes)
        self.up = nn.ModuleList(nn.Conv2d(deep, w, 1) for deep, w in zip(widths[1:], widths[:-1], strict=True))
        self.blocks = nn.ModuleList(_Residual(w) for w in widths)
        self.film = nn.Sequential(
            nn.Linear(sum(channels for channels, _ in shapes), _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(),
            nn.Linear(_HIDDEN, 2 * sum(widths)),
        )  # fmt: skip
        self.out = nn.Conv2d(widths[0], 3, 3, padding=1)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.out.bias[0] = -1.0  # type: ignore[index]

    def forward(self, latents: Sequence[Tensor], evidence: Sequence[Tensor], values: Tensor) -> Tensor:
        """Logits of the mask.

        Args:
            latents: maps (B, C, F', N'), shallowest first.
            evidence: latents times the gradient of the explained score to them, same shapes.
            values: (B, F, N) what the mask multiplies, or (B, T) in waveform space.

        Returns:
            The shape of ``values``.
        """
        levels = [*self._heard(values), *self._told(latents, evidence, values.shape[-1])]
        steered = self.film(torch.cat([_level(e.mean((2, 3), keepdim=True))[:, :, 0, 0] for e in evidence], 1))
        films = steered[:, :, None, None].split([2 * level.shape[1] for level in levels], 1)
        x: Tensor | None = None
        for number in reversed(range(len(levels))):
            y = levels[number]
            if x is not None:
                y = y + _resize(self.up[number](x), y.shape[2], y.shape[3])
            scale, shift = films[number].chunk(2, 1)
            x = self.blocks[number]((1 + scale) * y + shift)
        planes: Tensor = self.out(x)
        with torch.autocast(values.device.type, enabled=False):
            planes = planes.float()
            if self.grid is not None:
                planes = torch.einsum("gf,bcgn->bcfn", self.grid, planes)
            return _gate(planes, values.float())

    def _heard(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The sound's level in the clip and within its row, full (B, W/2, G, N) and halved (B, W, G/2, N/2)."""
        with torch.autocast(values.device.type, enabled=False):
            level = _log_level(values.float())
            if self.grid is not None:
                level = torch.einsum("gf,bfn->bgn", self.grid / self.grid.sum(1, keepdim=True).clamp(min=1e-6), level)
            seen = torch.stack(_standardise(level), 1)
        full: Tensor = self.finest(seen)
        return full, self.halved_block(self.halved(F.relu(full)))

    def _told(self, latents: Sequence[Tensor], evidence: Sequence[Tensor], frames: int) -> list[Tensor]:
        """Latents and evidence of each map, side by side and projected, (B, W, F', N')."""
        maps = zip(self.lateral, latents, evidence, strict=True)
        return [
            lateral(torch.cat([_level(_limit(h, frames)), _signed_log(_limit(e, frames))], 1)) for lateral, h, e in maps
        ]
