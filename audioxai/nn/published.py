"""The decoders of the L-MAC publication: transposed convolutions from four maps to a mask."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.errors import ClassifierError, ConfigError
from audioxai.nn.decoder import _resize

__all__ = ["PublishedDecoder"]

# kernel (t, f), stride (t, f), padding (t, f) of t1 to t9, and the channels they give as shares of the width.
_STFT = (
    ((3, 3), (2, 4), (1, 1), 1.0),
    ((3, 3), (2, 4), (1, 1), 1.0),
    ((7, 4), (2, 4), (1, 1), 1.0),
    ((5, 4), (2, 4), (1, 1), 1.0),
    ((3, 5), (2, 2), (1, 1), 0.5),
    ((3, 3), (2, 4), (1, 1), 0.5),
    ((4, 3), (2, 2), (0, 5), 0.25),
    ((3, 4), (2, 2), (0, 2), 0.125),
    ((1, 5), (1, 4), (0, 0), 0.0),
)
_MEL = (
    ((3, 3), (2, 2), (1, 1), 1.0),
    ((3, 3), (2, 2), (1, 1), 1.0),
    ((7, 4), (2, 4), (1, 1), 1.0),
    ((5, 4), (2, 2), (1, 1), 1.0),
    ((3, 3), (2, 2), (1, 1), 1.0),
    ((3, 3), (2, 2), (1, 1), 1.0),
    ((4, 3), (2, 2), (0, 0), 1.0),
    ((3, 4), (2, 2), (0, 0), 0.0),
)


class PublishedDecoder(nn.Module):
    """Published wiring: relu(t1(h0)) + relu(t2(h1)), t3, + relu(t4(h2)), t5, + relu(t6(h3)), t7, t8 (and t9 for STFT).

    236 728 321 parameters for CNN14 and STFT masks, 287 873 025 for mel masks. The mask is resized to the input's grid,
    where the release crops the input to 425 frames; maps that other networks give in other sizes are resized to the
    deeper one's before a sum. Source: L-MAC recipe, ``listenable`` and not.

    Args:
        channels: of the four maps, shallowest first.
        space: ``"stft"`` or ``"mel"``.
        width: channels of the widest layers.

    Raises:
        ClassifierError: not four maps.
        ConfigError: another space.
    """

    def __init__(self, channels: Sequence[int], space: str = "stft", *, width: int = 2048) -> None:
        super().__init__()
        if len(channels) != 4:
            raise ClassifierError(
                f"the published decoder reads four maps; the classifier gives {len(channels)}: name four with layers="
            )
        if space not in ("stft", "mel"):
            raise ConfigError(f"the published decoders draw STFT and mel masks, not {space!r}")
        layers = _STFT if space == "stft" else _MEL
        gives = [max(1, round(width * share)) for *_, share in layers]
        h3, h2, h1, h0 = channels
        takes = [h0, h1, gives[1], h2, gives[3], h3, gives[5], *gives[6:-1]]
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(i, o, kernel, stride, padding)
            for i, o, (kernel, stride, padding, _) in zip(takes, gives, layers, strict=True)
        )

    def forward(self, latents: Sequence[Tensor], evidence: Sequence[Tensor] | None, values: Tensor) -> Tensor:
        """Logits (B, F, N) of the mask, from maps (B, C, F', N'), shallowest first; ``evidence`` is not read."""
        x = self._climb(latents)
        for last in self.layers[7:]:
            x = last(x)
        return _resize(x, values.shape[2], values.shape[1])[:, 0].transpose(1, 2)

    def _climb(self, latents: Sequence[Tensor]) -> Tensor:
        """What t7 gives, (B, C, time, frequency)."""
        h3, h2, h1, h0 = (latent.transpose(2, 3) for latent in latents)  # time first, as published
        t = self.layers
        x = F.relu(t[0](h0))
        x = x + _like(F.relu(t[1](h1)), x)
        x = F.relu(t[2](x))
        x = x + _like(F.relu(t[3](h2)), x)
        x = F.relu(t[4](x))
        x = x + _like(F.relu(t[5](h3)), x)
        return F.relu(t[6](x))


def _like(x: Tensor, other: Tensor) -> Tensor:
    return _resize(x, other.shape[2], other.shape[3])
