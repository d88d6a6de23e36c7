"""The decoder of the learned explainers: from a classifier's latents, and the evidence in them, to a mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["EvidenceDecoder"]

_FEWEST_ROWS = 8  # below this, maps carry too little frequency to be stretched: the rows are learnt instead
_LEARNT_ROWS = 40


class EvidenceDecoder(nn.Module):
    """Top-down decoder over a network's maps of any number and size, for clips of any length.

    From the deepest map upwards, each level adds its latents and evidence to what comes from below. The last level
    draws three planes: an offset a and two slopes b, c. The mask's logit at a cell is a + b v + c u with v the cell's
    level in the clip (log value, standardised) and u its level within its row. So the network says where to listen and
    how strictly, and the spectrogram itself gives the fine structure, which no map of a classifier resolves.

    Args:
        shapes: (C, F') of each map, shallowest first; F' = 1 for maps without frequency.
        rows: frequency rows F of the mask; 1 in waveform space.
        grid: weights (G, F) from the maps' frequency rows to the mask's rows, where the two scales differ.
        width: channels of the deeper levels; the shallowest has half.
        evidence: whether each level also receives the evidence.
    """

    grid: Tensor | None

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        rows: int,
        *,
        grid: Tensor | None = None,
        width: int = 32,
        evidence: bool = True,
    ) -> None:
        super().__init__()
        self.rows = rows
        self.evidence = evidence
        self.register_buffer("grid", None if grid is None else grid.clone(), persistent=False)
        widths = [max(4, width // 2)] + [width] * (len(shapes) - 1)
        inputs = [channels * (2 if evidence else 1) for channels, _ in shapes]
        self.lateral = nn.ModuleList(nn.Conv2d(i, w, 1) for i, w in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(nn.Conv2d(deep, w, 1) for deep, w in zip(widths[1:], widths[:-1], strict=True))
        self.blocks = nn.ModuleList(_Residual(w) for w in widths)
        self.learnt_rows = rows > 1 and shapes[0][1] < _FEWEST_ROWS
        self.out = nn.Conv2d(widths[0], 3 * (_LEARNT_ROWS if self.learnt_rows else 1), 3, padding=1)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.out.bias[: len(self.out.bias) // 3] = -1.0  # type: ignore[index, arg-type]

    def forward(self, latents: Sequence[Tensor], evidence: Sequence[Tensor] | None, values: Tensor) -> Tensor:
        """Logits of the mask.

        Args:
            latents: maps (B, C, F', N'), shallowest first.
            evidence: latents times the gradient of the explained score to them, same shapes; ``None`` without.
            values: (B, F, N) what the mask multiplies, or (B, T) in waveform space.

        Returns:
            (B, F, N) or (B, T).
        """
        frames = values.shape[-1]
        planes = self.planes(self.trunk(latents, evidence, frames), frames)
        with torch.autocast(values.device.type, enabled=False):
            return _gate(planes, values.float())

    def trunk(self, latents: Sequence[Tensor], evidence: Sequence[Tensor] | None, frames: int) -> Tensor:
        """What the levels make of the maps, at the size of the shallowest one and at most ``frames`` long."""
        x: Tensor | None = None
        for level in reversed(range(len(latents))):
            h = _level(_limit(latents[level], frames))
            if self.evidence:
                assert evidence is not None
                h = torch.cat([h, self.scaled(_limit(evidence[level], frames))], 1)
            y = self.lateral[level](h)
            if x is not None:
                y = y + _resize(self.up[level](x), y.shape[2], y.shape[3])
            x = self.blocks[level](y)
        assert x is not None
        return x

    def planes(self, x: Tensor, frames: int) -> Tensor:
        """The planes a, b, c (B, 3, F, N) of N = ``frames``, from what :meth:`trunk` gave, in float32."""
        planes: Tensor = self.out(x)
        if self.learnt_rows:
            planes = planes.mean(2).reshape(len(planes), 3, _LEARNT_ROWS, -1)
        with torch.autocast(planes.device.type, enabled=False):
            return self._to_rows(planes.float(), frames)

    def scaled(self, evidence: Tensor) -> Tensor:
        """Evidence of a level as the decoder takes it."""
        return _signed_log(evidence)

    def _to_rows(self, planes: Tensor, frames: int) -> Tensor:
        if self.grid is None:
            return _resize(planes, self.rows, frames)
        return torch.einsum("gf,bcgn->bcfn", self.grid, _resize(planes, len(self.grid), frames))


def _gate(planes: Tensor, values: Tensor) -> Tensor:
    """a + b v + c u, see :class:`EvidenceDecoder`. (B, 3, F, N) and (B, F, N) or (B, T) to the shape of the values."""
    level, within = _standardise(_log_level(values))
    logits = planes[:, 0] + planes[:, 1] * level + planes[:, 2] * within
    return logits.reshape(values.shape)


def _log_level(values: Tensor) -> Tensor:
    """Log magnitudes (B, F, N) of values (B, F, N) or (B, T)."""
    return torch.log(values.detach().abs().reshape(len(values), -1, values.shape[-1]) + 1e-4)


def _standardise(level: Tensor) -> tuple[Tensor, Tensor]:
    """Each clip's level in deviations from its mean, and that less the mean of its row, both (B, F, N)."""
    level = level - level.mean((1, 2), keepdim=True)
    level = level / (level.square().mean((1, 2), keepdim=True).sqrt() + 1e-3)
    return level, level - level.mean(2, keepdim=True)


def _level(h: Tensor) -> Tensor:
    """Each clip's map over its root mean square, so that the decoder does not depend on the latents' scale."""
    return h / h.float().square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)


def _signed_log(e: Tensor) -> Tensor:
    """Each clip's evidence over its mean magnitude, its heavy tails tamed by sign(e) log(1 + |e|)."""
    e = e / e.float().abs().mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return e.sign() * torch.log1p(e.abs())


def _limit(x: Tensor, frames: int) -> Tensor:
    """Maps with more steps than the mask has frames are averaged down to them."""
    return F.adaptive_avg_pool2d(x, (x.shape[2], frames)) if x.shape[3] > frames else x


def _resize(x: Tensor, rows: int, frames: int) -> Tensor:
    if x.shape[2:] == (rows, frames):
        return x
    return F.interpolate(x, size=(rows, frames), mode="bilinear", align_corners=False)


class _Residual(nn.Module):
    def __init__(self, width: int, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = conv or nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.relu(self.conv(self.norm(x)))
