"""Encoder and decoder of a separator: from a waveform to coefficients that a mask weighs, and back.

Frames overlap by half. Frame n is centred on sample n * stride, so L = 1 + ceil(T / stride) frames cover every
sample of a clip of any length twice. The way back is linear: what a mask keeps and what it removes add up to the
decoded coefficients.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.errors import ConfigError, nearest

__all__ = [
    "Filterbank",
    "FourierFilterbank",
    "LearnedFilterbank",
    "default_filterbank",
    "make_filterbank",
]


class Filterbank(nn.Module, ABC):
    """Base of the encoder/decoder pairs.

    Args:
        sample_rate: rate in Hz that the pair is made for.
        kernel: samples of a frame, even.

    Raises:
        ConfigError: an odd kernel.
    """

    kind: ClassVar[str]
    #: Decoding what was encoded gives the input back, whatever the weights.
    exact: ClassVar[bool] = False

    def __init__(self, sample_rate: int, kernel: int) -> None:
        super().__init__()
        if kernel < 2 or kernel % 2:
            raise ConfigError(f"kernel={kernel!r} must be an even number of samples, so that frames overlap by half")
        self.sample_rate, self.kernel = sample_rate, kernel

    @property
    def stride(self) -> int:
        """Samples between frames."""
        return self.kernel // 2

    @property
    @abstractmethod
    def rows(self) -> int:
        """Rows of a mask."""

    @property
    @abstractmethod
    def frequencies(self) -> Tensor:
        """What each row of a mask is about, in Hz, (rows,); for learned filters, where they start."""

    @abstractmethod
    def _analyse(self, padded: Tensor) -> Tensor:
        """(B, T') to coefficients (B, C, L)."""

    @abstractmethod
    def _synthesise(self, coefficients: Tensor) -> Tensor:
        """Coefficients (B, C, L) to (B, T'), linearly."""

    def encode(self, waveform: Tensor) -> Tensor:
        """(B, T) of any T to coefficients (B, C, L)."""
        samples = waveform.shape[-1]
        right = self.frames(samples) * self.stride - samples
        return self._analyse(F.pad(waveform, (self.stride, right)))

    def decode(self, coefficients: Tensor, samples: int) -> Tensor:
        """Coefficients (B, C, L) to a waveform (B, T) of T = ``samples``."""
        return self._synthesise(coefficients)[:, self.stride : self.stride + samples]

    def levels(self, coefficients: Tensor) -> Tensor:
        """How loud each cell of a mask is: coefficients (B, C, L) to (B, rows, L), at least 0."""
        return coefficients

    def weigh(self, mask: Tensor, coefficients: Tensor) -> Tensor:
        """Coefficients under a mask (B, rows, L)."""
        return mask * coefficients

    def frames(self, samples: int) -> int:
        """L for a clip of T = ``samples``."""
        return 1 + math.ceil(samples / self.stride)

    def config(self) -> dict[str, Any]:
        """What :func:`make_filterbank` builds an equal one from, as JSON types."""
        return {"kind": self.kind, "sample_rate": self.sample_rate, "kernel": self.kernel}


class LearnedFilterbank(Filterbank):
    """Learned filters, rectified: W = ReLU(conv(x)), and a transposed convolution back; both without bias.

    They start as windowed cosines and sines of both signs, in as many phases as there are filters for. As a rectified
    signal and that of the other sign add up to the signal, two filters a sample of the kernel reconstruct perfectly; so
    do more, of which the decoder at first ignores a rest. With fewer, or once they are trained, only training makes
    decoding the inverse of encoding, see :func:`audioxai.training.filterbank.fit_filterbank`. Source: Luo & Mesgarani
    2019 (Conv-TasNet), section II-B; signs and phases as in Ditter & Gerkmann 2020.

    Args:
        sample_rate: see :class:`Filterbank`.
        kernel: see :class:`Filterbank`.
        filters: C.
    """

    kind = "learned"

    def __init__(self, sample_rate: int, kernel: int, filters: int) -> None:
        super().__init__(sample_rate, kernel)
        self.filters = filters
        self.encoder = nn.Conv1d(1, filters, kernel, self.stride, bias=False)
        self.decoder = nn.ConvTranspose1d(filters, 1, kernel, self.stride, bias=False)
        phases = max(1, filters // (2 * kernel))
        signs = [(i / phases, sign) for i in range(phases + 1) for sign in (1, -1)]
        window = _root_hann(kernel) / phases**0.5
        start = torch.cat([sign * _fourier_basis(kernel, phase) for phase, sign in signs])[:filters]
        with torch.no_grad():
            for conv in (self.encoder, self.decoder):
                conv.weight[:, 0] = start * window
            if filters > 2 * kernel:
                self.decoder.weight[2 * kernel * phases :] = 0

    @property
    def rows(self) -> int:
        return self.filters

    @property
    def frequencies(self) -> Tensor:
        harmonic = (torch.arange(self.filters) % self.kernel + 1) // 2
        return harmonic * self.sample_rate / self.kernel

    def config(self) -> dict[str, Any]:
        return super().config() | {"filters": self.filters}

    def _analyse(self, padded: Tensor) -> Tensor:
        return torch.relu(self.encoder(padded[:, None]))

    def _synthesise(self, coefficients: Tensor) -> Tensor:
        waveform: Tensor = self.decoder(coefficients)[:, 0]
        return waveform


class FourierFilterbank(Filterbank):
    """A windowed Fourier pair with perfect reconstruction: decode(encode(x)) = x, so kept + removed = x.

    The square root of a Hann window on both ways makes it a tight frame. Real and imaginary parts are channels and
    share one mask row, which keeps the phase of each cell. Nothing is learnt.

    Args:
        sample_rate: see :class:`Filterbank`.
        kernel: see :class:`Filterbank`.
    """

    kind = "fourier"
    exact = True
    window: Tensor

    def __init__(self, sample_rate: int, kernel: int) -> None:
        super().__init__(sample_rate, kernel)
        self.register_buffer("window", _root_hann(kernel), persistent=False)

    @property
    def rows(self) -> int:
        return self.kernel // 2 + 1

    @property
    def frequencies(self) -> Tensor:
        return torch.arange(self.rows) * self.sample_rate / self.kernel

    def levels(self, coefficients: Tensor) -> Tensor:
        real, imaginary = coefficients.chunk(2, dim=1)
        return (real.square() + imaginary.square() + 1e-14).sqrt()

    def weigh(self, mask: Tensor, coefficients: Tensor) -> Tensor:
        return torch.cat([mask, mask], 1) * coefficients

    def _analyse(self, padded: Tensor) -> Tensor:
        frames = padded.unfold(1, self.kernel, self.stride)
        spectrum = torch.fft.rfft(frames * self.window, norm="ortho").transpose(1, 2)
        return torch.cat([spectrum.real, spectrum.imag], 1)

    def _synthesise(self, coefficients: Tensor) -> Tensor:
        real, imaginary = coefficients.chunk(2, dim=1)
        spectrum = torch.complex(real, imaginary).transpose(1, 2)
        frames = torch.fft.irfft(spectrum, n=self.kernel, norm="ortho") * self.window
        total = self.kernel + self.stride * (frames.shape[1] - 1)
        folded = F.fold(frames.transpose(1, 2), (1, total), (1, self.kernel), stride=(1, self.stride))
        return folded[:, 0, 0]


def _root_hann(kernel: int) -> Tensor:
    """The root of a Hann window (kernel,); its squares, half of it apart, add up to 1."""
    return torch.hann_window(kernel).sqrt()


def _fourier_basis(size: int, phase: float) -> Tensor:
    """Cosines and sines, lowest first, orthonormal: (size, size), size even; ``phase`` turns pairs, in quarters."""
    n, rows = torch.arange(size, dtype=torch.float64), [torch.full((size,), size**-0.5, dtype=torch.float64)]
    for k in range(1, size // 2):
        angle = 2 * math.pi * k * n / size + math.pi / 2 * phase
        rows += [angle.cos() * (2 / size) ** 0.5, angle.sin() * (2 / size) ** 0.5]
    rows.append((1 - 2 * (n % 2)) * size**-0.5)
    return torch.stack(rows).float()


_KINDS: dict[str, type[Filterbank]] = {bank.kind: bank for bank in (LearnedFilterbank, FourierFilterbank)}


def make_filterbank(config: Mapping[str, Any]) -> Filterbank:
    """A filter bank of the settings that :meth:`Filterbank.config` gave; learned weights are fresh.

    Raises:
        ConfigError: an unknown kind, or settings that it does not have.
    """
    settings = dict(config)
    kind = settings.pop("kind", None)
    if kind not in _KINDS:
        raise ConfigError(f"filter bank {kind!r} is not known; nearest: {nearest(str(kind), _KINDS)}")
    try:
        return _KINDS[kind](**settings)
    except TypeError as error:
        raise ConfigError(f"a {kind} filter bank does not take {settings}: {error}") from error


def default_filterbank(kind: str, sample_rate: int) -> Filterbank:
    """A filter bank that a laptop can train a separator on: Fourier frames of 64 ms, or learned ones of 4 ms.

    Args:
        kind: ``"fourier"`` or ``"learned"``.
        sample_rate: in Hz.
    """
    kernel = 2 * max(1, round(sample_rate * (0.032 if kind == FourierFilterbank.kind else 0.002)))
    sizes: dict[str, Any] = {"kind": kind, "sample_rate": sample_rate, "kernel": kernel}
    return make_filterbank(sizes | ({"filters": 2 * kernel} if kind == LearnedFilterbank.kind else {}))
