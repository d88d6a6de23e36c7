"""A separator: a filter bank, and a network that draws a mask over its coefficients from sound and from latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.errors import ConfigError
from audioxai.nn.decoder import EvidenceDecoder, _standardise
from audioxai.nn.filterbank import Filterbank
from audioxai.nn.sepformer import DualPath
from audioxai.nn.tcn import TCN
from audioxai.support.options import one_of

__all__ = ["MASKERS", "Conditioner", "Separator"]

#: Mask networks by name: from (B, D, L) to (B, D, L).
MASKERS: dict[str, type[nn.Module]] = {"tcn": TCN, "dual_path": DualPath}


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


class Separator(nn.Module):
    """Z = (1 - alpha) norm(levels) + alpha norm(conditioner), M = sigmoid(mask network(Z)), kept = decode(M * W).

    Source: LMAC-TD (Mancini et al. 2025), section 2. Unlike there, the two parts are normalised before they are mixed,
    so that alpha mixes no scales. And as Z has fewer channels than a mask has rows, two things go round it: the mask
    network and, with weight alpha, the conditioner each draw an offset a and slopes b, c for every cell; with their
    sums the mask's logit is a + b v + c u, v the cell's level in the clip and u within its row. With ``alpha=1``, which
    is not to hear the sound, it is a.

    Args:
        bank: encoder and decoder.
        shapes: (C, F') of the maps that condition it; none for ``alpha=0``.
        grid: weights (G, rows) from the maps' frequency rows to the masks' rows, where the two scales differ.
        alpha: share of the latents in what the mask network sees, in [0, 1]; the rest is the sound.
        evidence: whether the maps come with their evidence.
        channels: D.
        masker: name of the mask network in :data:`MASKERS`.
        options: of the mask network.
        train_bank: whether fitting changes the filter bank too.

    Raises:
        ConfigError: an unknown mask network, or options that it does not have.
    """

    def __init__(
        self,
        bank: Filterbank,
        shapes: Sequence[tuple[int, int]],
        *,
        grid: Tensor | None = None,
        alpha: float = 0.75,
        evidence: bool = True,
        channels: int = 128,
        masker: str = "tcn",
        options: Mapping[str, Any] | None = None,
        train_bank: bool = False,
    ) -> None:
        super().__init__()
        one_of("masker", masker, MASKERS)
        self.bank, self.alpha, self.train_bank = bank, alpha, train_bank
        if alpha < 1:
            self.listen = nn.Sequential(nn.Conv1d(bank.rows, channels, 1), nn.GroupNorm(1, channels))
        if alpha > 0:
            self.condition = Conditioner(shapes, bank.rows, channels, grid=grid, evidence=evidence)
            self.norm = nn.GroupNorm(1, channels)
        try:
            self.masker = MASKERS[masker](channels, **(options or {}))
        except TypeError as error:
            raise ConfigError(f"the mask network {masker!r} does not take {dict(options or {})}: {error}") from error
        self.out = nn.Sequential(nn.PReLU(), nn.Conv1d(channels, 3 * bank.rows, 1))
        self.requires_grad_(True)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """As for any module; but a filter bank that is not to be trained stays as it is."""
        super().requires_grad_(requires_grad)
        if not self.train_bank:
            self.bank.requires_grad_(False)
        return self

    def forward(self, coefficients: Tensor, latents: Sequence[Tensor], evidence: Sequence[Tensor] | None) -> Tensor:
        """The mask (B, rows, L) in [0, 1].

        Args:
            coefficients: (B, C, L) of the filter bank.
            latents: maps (B, C, F', N'); none for ``alpha=0``.
            evidence: maps of the same shapes, or ``None``.
        """
        level = relative_level(self.bank.levels(coefficients))
        z = torch.zeros((), device=level.device)
        around = torch.zeros((), device=level.device)
        if self.alpha < 1:
            z = z + (1 - self.alpha) * self.listen(level)
        if self.alpha > 0:
            channels, planes = self.condition(latents, evidence, level.shape[2])
            z = z + self.alpha * self.norm(channels)
            around = self.alpha * planes
        drawn: Tensor = self.out(self.masker(z)).unflatten(1, (3, -1))
        with torch.autocast(drawn.device.type, enabled=False):
            offset, by_level, within_row = (drawn.float() + around).unbind(1)
            if self.alpha < 1:
                offset = offset + by_level * level + within_row * (level - level.mean(2, keepdim=True))
            return offset.sigmoid()

    def split(self, mask: Tensor, coefficients: Tensor, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """What a mask keeps and removes of a waveform (B, T), both (B, T).

        They add up to the decoded coefficients, and so to the waveform if the filter bank reconstructs perfectly.
        """
        bank, samples = self.bank, waveform.shape[1]
        kept = bank.decode(bank.weigh(mask, coefficients), samples)
        whole = waveform if bank.exact else bank.decode(coefficients, samples)
        return kept, whole - kept  # decoding is linear


def relative_level(levels: Tensor) -> Tensor:
    """Log levels (B, F, L) of a clip over its own root mean square, down to -60 dB, standardised; silence gives 0."""
    rms = levels.square().mean((1, 2), keepdim=True).sqrt()
    return _standardise(torch.log(levels / rms.clamp(min=1e-8) + 1e-3))[0]
