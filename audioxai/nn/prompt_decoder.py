"""The decoder of LMAC-ZS: what a prompt does to the maps that a mask is drawn from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from audioxai.nn.decoder import EvidenceDecoder, _level

__all__ = ["CONDITIONINGS", "PromptDecoder"]

#: Ways in which a prompt enters.
CONDITIONINGS = ("evidence+gate", "evidence", "film", "concat", "gate")

_TEXT_CHANNELS = 64
_HIDDEN = 256


class PromptDecoder(nn.Module):
    """An :class:`EvidenceDecoder` whose mask depends on a prompt, and on how similar clip and prompt are.

    Args:
        shapes: (C, F') of each map of the audio tower, shallowest first.
        rows: frequency rows F of the mask.
        dim: size D of the prompts' embeddings.
        conditioning: ``"evidence"``: the maps' evidence for the prompt beside them; or the prompt's embedding t enters
            every level by ``"film"``: (1 + gamma(t)) h + beta(t) per channel; ``"concat"``: projected, as further
            channels; ``"gate"``: h times the cosine between t and a projection of h, cell by cell;
            ``"evidence+gate"``: the evidence beside gated maps.
        grid, width: see :class:`EvidenceDecoder`.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        rows: int,
        dim: int,
        *,
        conditioning: str = "evidence+gate",
        grid: Tensor | None = None,
        width: int = 32,
    ) -> None:
        super().__init__()
        self.way = conditioning.removeprefix("evidence").removeprefix("+")
        self.dim = dim
        channels = [c for c, _ in shapes]
        if self.way == "film":
            self.film = nn.Sequential(nn.Linear(dim, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 2 * sum(channels)))
            nn.init.zeros_(self.film[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.film[-1].bias)  # type: ignore[arg-type]
        elif self.way == "concat":
            self.text = nn.Linear(dim, _TEXT_CHANNELS)
            shapes = [(c + _TEXT_CHANNELS, f) for c, f in shapes]
        elif self.way == "gate":
            self.project = nn.ModuleList(nn.Conv2d(c, dim, 1) for c in channels)
        self.decoder = EvidenceDecoder(shapes, rows, grid=grid, width=width, evidence="evidence" in conditioning)
        # How present the prompt is moves the whole mask, since the maps' evidence is taken without its size.
        self.presence = nn.Sequential(nn.Linear(1, 16), nn.GELU(), nn.Linear(16, 1))
        nn.init.zeros_(self.presence[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.presence[-1].bias)  # type: ignore[arg-type]

    def forward(
        self,
        latents: Sequence[Tensor],
        evidence: Sequence[Tensor] | None,
        text: Tensor,
        similarity: Tensor,
        values: Tensor,
    ) -> Tensor:
        """Logits of the mask.

        Args:
            latents: maps (B, C, F', N'), shallowest first.
            evidence: latents times the gradient of the similarity to them, where the conditioning has it.
            text: (B, D) embeddings of the prompts, of length 1.
            similarity: (B,) cosine between clip and prompt.
            values: (B, F, N) or (B, T), what the mask multiplies.

        Returns:
            The shape of ``values``.
        """
        logits: Tensor = self.decoder(self._condition(latents, text), evidence, values)
        shift: Tensor = self.presence(similarity[:, None]).float()
        return logits + shift.reshape(-1, *[1] * (logits.ndim - 1))

    def _condition(self, latents: Sequence[Tensor], text: Tensor) -> list[Tensor]:
        if not self.way:
            return list(latents)
        levelled = [_level(h) for h in latents]
        t = text * self.dim**0.5
        if self.way == "film":
            drawn = self.film(t)[:, :, None, None].split([2 * h.shape[1] for h in latents], 1)
            return [(1 + d[:, ::2]) * h + d[:, 1::2] for d, h in zip(drawn, levelled, strict=True)]
        if self.way == "concat":
            wide = self.text(t)[:, :, None, None]
            return [torch.cat([h, wide.expand(-1, -1, *h.shape[2:])], 1) for h in levelled]
        gates = [
            torch.cosine_similarity(project(h), text[:, :, None, None], dim=1)[:, None]
            for project, h in zip(self.project, levelled, strict=True)
        ]
        return [gate * h for gate, h in zip(gates, levelled, strict=True)]
