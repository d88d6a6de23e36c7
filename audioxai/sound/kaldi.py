"""Kaldi's log-mel filter bank energies: what AST and its kin eat, as a differentiable function and a front end."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from audioxai.errors import ConfigError, InputError
from audioxai.sound.dsp import hz_to_mel

__all__ = ["KaldiFbank", "kaldi_fbank"]

_FLOOR = torch.finfo(torch.float32).eps  # of an energy before its logarithm


def kaldi_fbank(
    waveform: Tensor,
    *,
    sample_frequency: float = 16000.0,
    frame_length: float = 25.0,
    frame_shift: float = 10.0,
    num_mel_bins: int = 23,
    low_freq: float = 20.0,
    high_freq: float = 0.0,
    preemphasis_coefficient: float = 0.97,
    remove_dc_offset: bool = True,
    window_type: str = "povey",
) -> Tensor:
    """Log-mel filter bank energies of ``torchaudio.compliance.kaldi.fbank``, whose names and defaults these are.

    Without dither and energy; frames lie wholly within the clip, and their FFT has the next power of two. torchaudio's
    takes one clip at a time. This one works in float64 where the device has it: float32's rounding shows in bands 70 dB
    below the loudest.

    Args:
        waveform: (B, T) float.
        sample_frequency: rate in Hz.
        frame_length: in milliseconds.
        frame_shift: in milliseconds.
        num_mel_bins: bands M.
        low_freq: lower edge of the lowest band in Hz.
        high_freq: upper edge of the highest band in Hz; 0 or less is counted from half the rate.
        preemphasis_coefficient: c of x[t] - c x[t - 1], within each frame.
        remove_dc_offset: subtract each frame's mean.
        window_type: ``"povey"`` (Hann to the power 0.85), ``"hanning"``, ``"hamming"`` or ``"rectangular"``, symmetric.

    Returns:
        (B, N, M), natural logarithms of energies of at least 1.2e-7; N = 1 + (T - frame) // shift.

    Raises:
        InputError: the clip is shorter than one frame.
        ConfigError: an option out of range.
    """
    length, shift = int(sample_frequency * frame_length * 0.001), int(sample_frequency * frame_shift * 0.001)
    if length < 2 or shift < 1:
        raise ConfigError(
            f"frames of {frame_length} ms every {frame_shift} ms hold no samples at {sample_frequency} Hz"
        )
    if waveform.shape[-1] < length:
        raise InputError(f"a clip of {waveform.shape[-1]} samples has no frame of {length}; pad the clip with zeros")
    exact = waveform if waveform.device.type == "mps" else waveform.double()
    window = _window(window_type, length).to(exact)
    n_fft = 1 << (length - 1).bit_length()
    bank = _bank(n_fft, sample_frequency, num_mel_bins, low_freq, high_freq).to(exact)
    frames = exact.unfold(-1, length, shift)
    if remove_dc_offset:
        frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    frames = (frames - preemphasis_coefficient * before) * window
    power = torch.view_as_real(torch.fft.rfft(frames, n=n_fft)).square().sum(-1)
    return (power @ bank).clamp(min=_FLOOR).log().to(waveform.dtype)


def _window(name: str, length: int) -> Tensor:
    hann = torch.hann_window(length, periodic=False, dtype=torch.float64)
    known = {
        "povey": hann**0.85,
        "hanning": hann,
        "hamming": torch.hamming_window(length, periodic=False, dtype=torch.float64),
        "rectangular": torch.ones(length, dtype=torch.float64),
    }
    if name not in known:
        raise ConfigError(f"window_type={name!r} is not known; choose one of {', '.join(map(repr, known))}")
    return known[name]


def _bank(n_fft: int, rate: float, bins: int, low: float, high: float) -> Tensor:
    """(F, M) filters that are triangles on the mel scale, where Slaney's and HTK's are triangles in Hz."""
    high = high if high > 0 else high + rate / 2
    if bins < 1 or not 0 <= low < high <= rate / 2:
        raise ConfigError(f"num_mel_bins={bins} from {low} to {high} Hz do not fit below half of {rate} Hz")
    mel = hz_to_mel(torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64))
    ends = hz_to_mel(torch.tensor([low, high], dtype=torch.float64))
    width = (ends[1] - ends[0]) / (bins + 1)
    centres = ends[0] + width * torch.arange(1, bins + 1, dtype=torch.float64)
    bank = (1 - (mel[:, None] - centres).abs() / width).clamp(min=0)
    bank[-1] = 0  # Kaldi leaves the bin at half the rate out
    return bank


class KaldiFbank(nn.Module):
    """Front end (B, T) to (B, N, M): :func:`kaldi_fbank`, less ``mean``, over ``std``.

    Args:
        sample_rate: in Hz.
        num_mel_bins: bands M.
        mean: subtracted from the logarithms.
        std: divides what remains. AST's extractor divides by twice its own ``std``.
        **options: other options of :func:`kaldi_fbank`.
    """

    def __init__(
        self, sample_rate: int, num_mel_bins: int = 128, *, mean: float = 0.0, std: float = 1.0, **options: Any
    ) -> None:
        super().__init__()
        if not std > 0:
            raise ConfigError(f"std={std!r} must be positive")
        self.sample_rate = sample_rate
        self.mean = mean
        self.std = std
        self.options = {"num_mel_bins": num_mel_bins, **options}
        try:
            kaldi_fbank(torch.zeros(1, sample_rate), sample_frequency=sample_rate, **self.options)
        except TypeError as error:
            raise ConfigError(
                f"KaldiFbank: {error}; the options are those of audioxai.sound.kaldi.kaldi_fbank"
            ) from error

    @property
    def time_first(self) -> bool:
        """Frames come before bands."""
        return True

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{self.sample_rate}{options}, mean={self.mean!r}, std={self.std!r}"

    def forward(self, waveform: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            bands = kaldi_fbank(waveform.float(), sample_frequency=self.sample_rate, **self.options)
            return (bands - self.mean) / self.std
