"""From waveform to what a network eats: differentiable front ends.

A front end is split where masks are applied: waveform → magnitude → (mel →) features. Spaces enter after the
magnitude or after the mel bands, so a masked spectrogram reaches the network without resynthesis.
Under autocast the front ends stay in float32: bfloat16 keeps three digits, which logarithms would spend.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError
from audioxai.sound.dsp import STFT, MelScale, amplitude_to_db, magnitude, melscale_fbanks, stft

__all__ = ["LogMel", "LogSTFT", "SpectralFrontend"]

Log = Literal["log1p", "log", "log10", "db", "none"]

# 23.22 ms windows every 11.61 ms: 1024 and 512 samples at 44.1 kHz, 372 and 186 at 16 kHz (L-MAC recipe).
_WINDOW_SECONDS, _HOP_SECONDS = 0.0232199, 0.0116099


def default_stft(sample_rate: int) -> STFT:
    """The L-MAC recipe's transform at any rate: at 16 kHz a Hamming window of 372, hop 186, n_fft 1024."""
    win = round(_WINDOW_SECONDS * sample_rate)
    n_fft = max(1024, 1 << (win - 1).bit_length())
    return STFT(n_fft, win, round(_HOP_SECONDS * sample_rate), window="hamming")


class SpectralFrontend(nn.Module):
    """Base of front ends that start from an STFT magnitude.

    Args:
        sample_rate: in Hz.
        stft: transform settings; default :func:`default_stft`.
        power: exponent of the magnitude, 1 or 2.
        log: ``"log1p"``, ``"log"``, ``"log10"``, ``"db"`` or ``"none"``.
        floor: values are clamped to this before ``log``, ``log10`` and ``db``.
        layout: axes of the output. B batch, 1 a channel axis, N frames, M mel bands or F bins:
            ``"BNM"``, ``"BMN"``, ``"B1NM"``, ``"B1MN"``; with F in place of M for :class:`LogSTFT`.
    """

    #: Whether :meth:`from_magnitude` of the clip's own magnitude gives what :meth:`forward` does; where it does not,
    #: as when clips are tiled first, masked spectrograms reach the network as sound.
    direct: ClassVar[bool] = True

    def __init__(
        self,
        sample_rate: int,
        *,
        stft: STFT | None = None,
        power: int = 1,
        log: Log = "log1p",
        floor: float = 1e-10,
        layout: str = "BNM",
    ) -> None:
        super().__init__()
        if power not in (1, 2):
            raise ConfigError(f"power={power!r} must be 1 (magnitude) or 2 (power)")
        if log not in ("log1p", "log", "log10", "db", "none"):
            raise ConfigError(f"log={log!r} is not known; choose 'log1p', 'log', 'log10', 'db' or 'none'")
        if floor <= 0 and log in ("log", "log10", "db"):
            raise ConfigError(f"floor={floor!r} must be positive for log={log!r}: silence would become -inf")
        if layout.replace("F", "M") not in ("BNM", "BMN", "B1NM", "B1MN"):
            raise ConfigError(f"layout={layout!r} is not known; choose 'BNM', 'BMN', 'B1NM' or 'B1MN'")
        self.sample_rate = sample_rate
        self.stft = stft if stft is not None else default_stft(sample_rate)
        self.power = power
        self.log = log
        self.floor = floor
        self.layout = layout

    @property
    def time_first(self) -> bool:
        """Whether frames come before frequency in the features."""
        return not self.layout.endswith("N")

    def config(self) -> dict[str, Any]:
        """The settings as JSON types; part of a classifier's fingerprint."""
        names = ("power", "log", "floor", "layout")
        plain = {"type": type(self).__name__, "sample_rate": self.sample_rate, "stft": self.stft.to_dict()}
        return plain | {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items() if name != "type")

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, T) waveform to features in the chosen layout."""
        with torch.autocast(waveform.device.type, enabled=False):
            return self.from_magnitude(magnitude(stft(waveform.float(), self.stft)))

    def from_magnitude(self, magnitude: Tensor) -> Tensor:
        """(B, F, N) STFT magnitude to features."""
        raise NotImplementedError

    def _finish(self, bands: Tensor) -> Tensor:
        if self.log == "log1p":
            bands = torch.log1p(bands)
        elif self.log == "db":
            bands = amplitude_to_db(bands, multiplier=20.0 / self.power, amin=self.floor)
        elif self.log != "none":
            bands = getattr(torch, self.log)(bands.clamp(min=self.floor))
        if self.time_first:
            bands = bands.transpose(1, 2)
        return bands[:, None] if "1" in self.layout else bands


class LogSTFT(SpectralFrontend):
    """Logarithm of the STFT magnitude or power; (B, T) to (B, N, F) by default."""

    def from_magnitude(self, magnitude: Tensor) -> Tensor:
        with torch.autocast(magnitude.device.type, enabled=False):
            return self._finish(magnitude.float() ** self.power)


class LogMel(SpectralFrontend):
    """Logarithmic mel spectrogram; (B, T) to (B, N, M) by default.

    The defaults are the L-MAC recipe's: magnitude, 80 HTK bands, log1p.

    Args:
        sample_rate: in Hz.
        n_mels: mel bands M.
        f_min: lower edge in Hz.
        f_max: upper edge in Hz; default half the rate.
        mel_scale: ``"htk"`` or ``"slaney"``.
        norm: ``"slaney"`` for filters of unit area, or ``None``.
        triangles: ``"reference"`` for weights trained by the L-MAC recipe, see :func:`melscale_fbanks`.
        **spectral: options of :class:`SpectralFrontend`.
    """

    bank: Tensor

    def __init__(
        self,
        sample_rate: int,
        n_mels: int = 80,
        *,
        f_min: float = 0.0,
        f_max: float | None = None,
        mel_scale: MelScale = "htk",
        norm: Literal["slaney"] | None = None,
        triangles: Literal["standard", "reference"] = "standard",
        **spectral: Any,
    ) -> None:
        super().__init__(sample_rate, **spectral)
        self.n_mels = n_mels
        f_max = sample_rate / 2 if f_max is None else f_max
        self._mel_config = {
            "n_mels": n_mels,
            "f_min": f_min,
            "f_max": f_max,
            "mel_scale": mel_scale,
            "norm": norm,
            "triangles": triangles,
        }
        bank = melscale_fbanks(self.stft.bins, f_min, f_max, n_mels, sample_rate, norm, mel_scale, triangles)
        self.register_buffer("bank", bank, persistent=False)

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self._mel_config}

    def to_mel(self, magnitude: Tensor) -> Tensor:
        """(B, F, N) magnitude to (B, M, N) mel bands of magnitude ** power."""
        with torch.autocast(magnitude.device.type, enabled=False):
            return torch.einsum("fm,bfn->bmn", self.bank, magnitude.float() ** self.power)

    def from_mel(self, mel: Tensor) -> Tensor:
        """(B, M, N) mel bands to features."""
        with torch.autocast(mel.device.type, enabled=False):
            return self._finish(mel.float())

    def from_magnitude(self, magnitude: Tensor) -> Tensor:
        return self.from_mel(self.to_mel(magnitude))
