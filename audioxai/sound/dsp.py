"""Signal processing as pure, differentiable functions on tensors.

Argument names and defaults follow torchaudio where it has the same function. Waveforms are
(..., T) float tensors, spectra (..., F, N) with F frequency bins and N frames.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from audioxai.errors import ConfigError, InputError
from audioxai.sound.resampling import resample

__all__ = [
    "STFT",
    "amplitude_to_db",
    "hz_to_mel",
    "istft",
    "magnitude",
    "mel_to_hz",
    "melscale_fbanks",
    "mix_at_snr",
    "resample",
    "stft",
]

MelScale = Literal["htk", "slaney"]


@dataclass(frozen=True)
class STFT:
    """Settings of a short-time Fourier transform, shared by front ends and spaces.

    Args:
        n_fft: length of the transform in samples; F = n_fft // 2 + 1 bins.
        win_length: length of the window in samples, zero-padded in the middle of ``n_fft``; default ``n_fft``.
        hop_length: samples between frames; default ``win_length // 2``.
        window: ``"hann"``, ``"hamming"`` or ``"rect"``, all periodic.
        center: frame n is centred on sample n * hop_length; N = 1 + T // hop_length for an even ``n_fft``.
        pad_mode: how the ends are padded when centred: ``"constant"``, ``"reflect"`` or ``"replicate"``.
    """

    n_fft: int = 1024
    win_length: int | None = None
    hop_length: int | None = None
    window: str = "hann"
    center: bool = True
    pad_mode: str = "constant"

    def __post_init__(self) -> None:
        if self.window not in _WINDOWS:
            raise ConfigError(f"window={self.window!r} is not known; choose one of {', '.join(map(repr, _WINDOWS))}")
        if self.pad_mode not in ("constant", "reflect", "replicate"):
            raise ConfigError(f"pad_mode={self.pad_mode!r} is not known; choose 'constant', 'reflect' or 'replicate'")
        if not 0 < self.hop <= self.win <= self.n_fft:
            raise ConfigError(
                f"an STFT needs 0 < hop_length <= win_length <= n_fft; got {self.hop}, {self.win}, {self.n_fft}"
            )

    @property
    def win(self) -> int:
        return self.n_fft if self.win_length is None else self.win_length

    @property
    def hop(self) -> int:
        return self.win // 2 if self.hop_length is None else self.hop_length

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    def frames(self, samples: int) -> int:
        """Frames N of a clip of ``samples`` samples."""
        padding = 2 * (self.n_fft // 2) if self.center else 0
        return 1 + (samples + padding - self.n_fft) // self.hop

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


_WINDOWS: dict[str, Callable[..., Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "rect": torch.ones,
}


_FADED = 0.005  # least sum of squared windows that is divided by


@functools.lru_cache(maxsize=32)
def _window(name: str, length: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        return _WINDOWS[name](length, device=device, dtype=dtype)


def stft(waveform: Tensor, settings: STFT) -> Tensor:
    """Complex spectrum of a waveform.

    Args:
        waveform: (..., T) float.
        settings: transform settings.

    Returns:
        (..., F, N) complex.

    Raises:
        InputError: the clip is too short for the padding or, uncentred, for one frame.
    """
    samples, half = waveform.shape[-1], settings.n_fft // 2
    if settings.center and settings.pad_mode == "reflect" and samples <= half:
        raise InputError(
            f"a clip of {samples} samples is too short for reflect padding of {half}; "
            f"pad it to at least {half + 1} samples or use pad_mode='constant'"
        )
    if samples < (1 if settings.center else settings.n_fft):
        raise InputError(f"a clip of {samples} samples has no frame of {settings.n_fft}; pad the clip with zeros")
    flat = waveform.reshape(-1, samples)
    spectrum = torch.stft(
        flat,
        settings.n_fft,
        settings.hop,
        settings.win,
        _window(settings.window, settings.win, flat.device, flat.dtype),
        center=settings.center,
        pad_mode=settings.pad_mode,
        return_complex=True,
    )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, settings: STFT, length: int) -> Tensor:
    """Waveform of a complex spectrum; the exact inverse of :func:`stft` to 1e-5 of the clip's peak.

    That is for up to 256 windows over a sample, beyond which float32's rounding grows with their number. Up to
    hop_length - 1 last samples lie in the fading half of the last frame only. Where its square is less than 0.005 (Hann
    with a hop of half its length: up to 86 of 512 samples) they are faded out: dividing by the window, as torch.istft
    does, turns what a mask leaves there into a click a thousand times louder than the clip.

    Args:
        spectrum: (..., F, N) complex.
        settings: the settings of the forward transform.
        length: samples T of the result; beyond the last frame it is silent.

    Returns:
        (..., T) float.

    Raises:
        InputError: another F than the settings'.
        ConfigError: the squared windows add up to less than 0.005 between frames, so no inverse is exact.
    """
    bins, frames = spectrum.shape[-2:]
    if bins != settings.bins:
        raise InputError(f"a spectrum of {bins} bins does not fit n_fft={settings.n_fft}, which has {settings.bins}")
    if (least := _least_overlap(settings)) < _FADED:
        fix = f"hop_length={settings.win // 2} or another smaller one" if settings.center else "center=True"
        raise ConfigError(
            f"n_fft={settings.n_fft}, win_length={settings.win}, hop_length={settings.hop}, "
            f"window={settings.window!r}, center={settings.center} has no exact inverse: the squared windows add up to "
            f"{least:.2g} in places, and must to {_FADED}; use {fix}"
        )
    pieces = torch.fft.irfft(spectrum.reshape(-1, bins, frames), n=settings.n_fft, dim=1)
    window = _window(settings.window, settings.win, pieces.device, pieces.dtype)
    left = (settings.n_fft - settings.win) // 2
    pieces = pieces[:, left : left + settings.win] * window[:, None]
    energy = _overlap_add(window.square()[None, :, None].expand(1, -1, frames), settings.hop)[0]
    start = settings.n_fft // 2 - left if settings.center else 0
    waveform = (_overlap_add(pieces, settings.hop) / energy.clamp(min=_FADED))[:, start : start + length]
    waveform = torch.nn.functional.pad(waveform, (0, length - waveform.shape[-1]))
    return waveform.reshape(*spectrum.shape[:-2], length)


@functools.lru_cache(maxsize=32)
def _least_overlap(settings: STFT) -> float:
    """Least sum of squared windows: between the centres of frames or, uncentred, where the first frame is alone."""
    energy = _window(settings.window, settings.win, torch.device("cpu"), torch.float64).square()
    if not settings.center:
        return float(energy[: settings.hop].min()) if settings.n_fft - settings.win < 2 else 0.0  # zeros come first
    whole = torch.nn.functional.pad(energy, (0, -settings.win % settings.hop))
    return float(whole.reshape(-1, settings.hop).sum(0).min())


def _overlap_add(pieces: Tensor, hop: int) -> Tensor:
    """(B, W, N) pieces, ``hop`` samples apart, to their sum (B, W + hop * (N - 1))."""
    width, frames = pieces.shape[1:]
    total = width + hop * (frames - 1)
    return torch.nn.functional.fold(pieces, (1, total), (1, width), stride=(1, hop))[:, 0, 0]


def magnitude(spectrum: Tensor, eps: float = 1e-14) -> Tensor:
    """sqrt(re² + im² + eps), whose gradient is finite on silence. (..., F, N) complex to float."""
    power = torch.view_as_real(spectrum).square().sum(-1)
    return (power + eps).sqrt()


def hz_to_mel(hz: Tensor, mel_scale: MelScale = "htk") -> Tensor:
    """Frequencies in Hz to mel: HTK 2595 log10(1 + f / 700), or Slaney's linear-then-logarithmic scale."""
    if mel_scale == "htk":
        return 2595.0 * torch.log10(1.0 + hz / 700.0)
    if mel_scale == "slaney":
        return torch.where(hz < 1000.0, hz * (3.0 / 200.0), 15.0 + torch.log(hz.clamp(min=1.0) / 1000.0) / _SLANEY_STEP)
    raise ConfigError(f"mel_scale={mel_scale!r} is not known; choose 'htk' or 'slaney'")


def mel_to_hz(mel: Tensor, mel_scale: MelScale = "htk") -> Tensor:
    """Inverse of :func:`hz_to_mel`."""
    if mel_scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    if mel_scale == "slaney":
        return torch.where(mel < 15.0, mel * (200.0 / 3.0), 1000.0 * torch.exp(_SLANEY_STEP * (mel - 15.0)))
    raise ConfigError(f"mel_scale={mel_scale!r} is not known; choose 'htk' or 'slaney'")


_SLANEY_STEP = math.log(6.4) / 27.0


def melscale_fbanks(
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: Literal["slaney"] | None = None,
    mel_scale: MelScale = "htk",
    triangles: Literal["standard", "reference"] = "standard",
) -> Tensor:
    """Triangular mel filters.

    Args:
        n_freqs: frequency bins F, equally spaced from 0 to sample_rate / 2 Hz.
        f_min: lower edge of the first filter in Hz.
        f_max: upper edge of the last filter in Hz.
        n_mels: number of filters M.
        sample_rate: in Hz.
        norm: ``"slaney"`` divides each filter by half its width in Hz (unit area); ``None`` leaves peaks at 1.
        mel_scale: ``"htk"`` or ``"slaney"``.
        triangles: ``"standard"`` runs from the left to the right neighbour's centre; ``"reference"`` gives both sides
            the left half-width, as the L-MAC recipe does, which its published weights need.

    Returns:
        (F, M) float32.
    """
    # torchaudio's filters are off by 1e-5, as it works in float32, and by 3e-3 at odd rates, whose half it rounds.
    if n_mels < 1:
        raise ConfigError(f"n_mels={n_mels} must be at least 1")
    if not 0 <= f_min < f_max:
        raise ConfigError(f"mel filters need 0 <= f_min < f_max; got f_min={f_min}, f_max={f_max}")
    freqs = torch.linspace(0, sample_rate / 2, n_freqs, dtype=torch.float64)
    edges = hz_to_mel(torch.tensor([f_min, f_max], dtype=torch.float64), mel_scale)
    points = mel_to_hz(torch.linspace(float(edges[0]), float(edges[1]), n_mels + 2, dtype=torch.float64), mel_scale)
    left, centre, right = points[:-2], points[1:-1], points[2:]
    if triangles == "reference":
        right = 2 * centre - left
    elif triangles != "standard":
        raise ConfigError(f"triangles={triangles!r} is not known; choose 'standard' or 'reference'")
    rising = (freqs[:, None] - left) / (centre - left)
    falling = (right - freqs[:, None]) / (right - centre)
    bank = torch.minimum(rising, falling).clamp(min=0.0)
    if norm == "slaney":
        bank = bank * (2.0 / (right - left))
    elif norm is not None:
        raise ConfigError(f"norm={norm!r} is not known; choose 'slaney' or None")
    return bank.float()


def amplitude_to_db(
    values: Tensor, multiplier: float = 10.0, amin: float = 1e-10, top_db: float | None = None
) -> Tensor:
    """Decibels relative to 1: multiplier * log10(max(values, amin)).

    Args:
        values: (B, ..., M, N), or one clip's (M, N): power (multiplier 10) or magnitude (multiplier 20).
        multiplier: 10 for power, 20 for magnitude.
        amin: floor before the logarithm.
        top_db: if given, each clip is clipped to at most this many dB below its own maximum.
    """
    db = multiplier * torch.log10(values.clamp(min=amin))
    if top_db is not None:
        peak = db.flatten(1).amax(1).reshape(-1, *[1] * (db.ndim - 1)) if db.ndim > 2 else db.amax()
        db = torch.maximum(db, peak - top_db)
    return db


def mix_at_snr(signal: Tensor, noise: Tensor, snr: float | Tensor, eps: float = 1e-8) -> Tensor:
    """``signal`` plus ``noise`` scaled so that their energies differ by ``snr`` dB.

    Args:
        signal: (..., T).
        noise: (..., T).
        snr: signal-to-noise ratio in dB, a number or one value per clip, shape (...).
        eps: floor of the norms, so that silence stays finite.

    Returns:
        (..., T); the signal keeps its level.
    """
    ratio = torch.as_tensor(snr, dtype=signal.dtype, device=signal.device)[..., None]
    norm_signal = signal.norm(dim=-1, keepdim=True).clamp(min=eps)
    norm_noise = noise.norm(dim=-1, keepdim=True).clamp(min=eps)
    mixture: Tensor = signal + noise * (norm_signal / norm_noise) * 10 ** (-ratio / 20)
    return mixture
