"""Where a mask lives: STFT, mel or waveform; the only place that knows the way back to sound.

A space turns a waveform into the values that a mask multiplies, asks the classifier about masked values, and makes
them audible. ``scale`` says what those values are:

* ``"log1p"``: log(1 + magnitude), the L-MAC protocol; masked magnitude = (1 + m) ** mask - 1.
* ``"magnitude"``: the magnitude itself; what is kept and what is removed add up to the input.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from audioxai.classifiers.base import AudioClassifier
from audioxai.errors import ConfigError, nearest
from audioxai.sound.dsp import STFT, hz_to_mel, istft, magnitude, stft
from audioxai.sound.frontends import LogMel, SpectralFrontend, default_stft
from audioxai.support.identity import digest_of, options_of

__all__ = ["Analysis", "MelSpace", "Resize", "STFTSpace", "Scale", "Space", "WaveformSpace", "make_space"]

Scale = Literal["log1p", "magnitude"]
Resize = Literal["bilinear", "nearest"]


@dataclass(frozen=True)
class Analysis:
    """A batch of clips as a space sees it.

    Args:
        waveform: (B, T).
        values: what a mask multiplies: (B, F, N), (B, M, N) or (B, T), on the space's scale.
        spectrum: complex STFT (B, F, N), the carrier of the phase; ``None`` in waveform space.
    """

    waveform: Tensor
    values: Tensor
    spectrum: Tensor | None = None

    def rows(self, index: slice | Tensor) -> Analysis:
        """Some of the clips, or clips repeated."""
        spectrum = None if self.spectrum is None else self.spectrum[index]
        return Analysis(self.waveform[index], self.values[index], spectrum)

    def repeat(self, times: int) -> Analysis:
        """All clips ``times`` times, one batch after the other."""
        if times == 1:
            return self
        return self.rows(torch.arange(len(self.values), device=self.values.device).repeat(times))


class Space(ABC):
    """Base of the spaces.

    Args:
        classifier: whose front end and sample rate the space follows.
        scale: ``"log1p"`` or ``"magnitude"``.
    """

    name: ClassVar[str]
    approximate: ClassVar[bool] = False  # sound is only an approximation of what the mask says

    def __init__(self, classifier: AudioClassifier, scale: Scale = "log1p") -> None:
        if scale not in ("log1p", "magnitude"):
            raise ConfigError(f"scale={scale!r} is not known; choose 'log1p' or 'magnitude'")
        self.classifier = classifier
        self.scale: Scale = scale

    def bind(self, classifier: AudioClassifier) -> Self:
        """This space for a view of its classifier, see :meth:`AudioClassifier.for_targets`."""
        space = copy.copy(self)
        space.classifier = classifier
        return space

    @abstractmethod
    def analyse(self, waveform: Tensor) -> Analysis:
        """(B, T) waveform to what a mask multiplies."""

    @abstractmethod
    def features(self, values: Tensor, analysis: Analysis) -> Tensor:
        """(Masked) values to the network's input, differentiably."""

    @abstractmethod
    def resynthesise(self, values: Tensor, analysis: Analysis) -> Tensor:
        """(Masked) values to a waveform (B, T), differentiably."""

    def magnitude(self, analysis: Analysis) -> Tensor:
        """What a mask multiplies as an amplitude, whatever the scale: (B, F, N), (B, M, N) or (B, T)."""
        return self._amplitude(self._from_scale(analysis.values).abs())

    def gain(self, mask: Tensor, analysis: Analysis) -> Tensor:
        """What a mask does to each cell's amplitude; on the ``"log1p"`` scale less than the mask, and by level."""
        whole = self.magnitude(analysis)
        kept = self._amplitude(self._from_scale(mask * analysis.values).abs())
        return torch.where(whole > 1e-7, kept / whole.clamp(min=1e-7), mask)

    def _amplitude(self, linear: Tensor) -> Tensor:
        return linear

    @property
    def rows(self) -> int:
        """Frequency rows of the values; 1 in waveform space."""
        return 1

    @property
    def grid(self) -> Tensor | None:
        """Weights (G, F) from the rows of a network's maps to the rows of the values, where the two scales differ.

        Maps of a log-mel network have rows equally spaced in mel, those of an STFT in Hz.
        """
        return None

    @property
    def pitch(self) -> Tensor:
        """Where each row lies between 0 and the highest frequency, (F,) in [0, 1), evenly as people hear it: in mel."""
        return torch.arange(self.rows) / self.rows

    def from_grid(self, maps: Tensor, values: Tensor, resize: Resize = "bilinear") -> Tensor:
        """Resize maps (B, C, F', N') of a network to the grid of ``values``: (B, C, ...).

        ``"nearest"`` repeats cells over equally many rows, as the published tables do, whatever the rows mean.
        """
        grid = self.grid if resize == "bilinear" else None
        size = (self.rows if grid is None else len(grid), values.shape[-1])
        if resize == "nearest":
            resized = F.interpolate(maps, size=size, mode="nearest")
        else:  # antialiased, since a shallow layer may have many more steps than the mask
            resized = F.interpolate(maps, size=size, mode="bilinear", align_corners=False, antialias=True)
        if grid is not None:
            with torch.autocast(maps.device.type, enabled=False):
                resized = torch.einsum("gf,bcgn->bcfn", grid, resized)
        return resized[:, :, 0] if values.ndim == 2 else resized

    def predict(self, values: Tensor, analysis: Analysis, rows: Tensor | None = None) -> Tensor:
        """The classifier's logits (R, K) for (masked) values (R, ...); row r belongs to clip ``rows[r]`` if given."""
        if rows is not None and self._through_sound:
            analysis = analysis.rows(rows)
        return self.classifier.classify(self.features(values, analysis))

    @property
    def _through_sound(self) -> bool:
        """Whether features need more of a clip than its values, such as the phase."""
        return False

    def _to_scale(self, linear: Tensor) -> Tensor:
        return torch.log1p(linear) if self.scale == "log1p" else linear

    def _from_scale(self, values: Tensor) -> Tensor:
        return torch.expm1(values) if self.scale == "log1p" else values

    def identity(self) -> dict[str, Any]:
        """What tells it from others, as JSON types: name, scale, transform, and a digest of all its options."""
        stft = getattr(self, "stft", None)
        return {
            "name": self.name,
            "scale": self.scale,
            "stft": None if stft is None else stft.to_dict(),
            "settings": digest_of([type(self).__name__, options_of(self)]),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(scale={self.scale!r})"


class STFTSpace(Space):
    """Masks over STFT magnitude, (B, F, N). Sound keeps the phase of the input.

    A network on a spectrogram is reached through its own front end without resynthesis; a network that eats
    waveforms, or a front end that the space cannot enter, through the resynthesised waveform.

    Args:
        classifier: see :class:`Space`.
        scale: see :class:`Space`.
        stft: transform; default the front end's own, or the L-MAC recipe's at this rate.
    """

    name = "stft"

    def __init__(self, classifier: AudioClassifier, scale: Scale = "log1p", *, stft: STFT | None = None) -> None:
        super().__init__(classifier, scale)
        frontend = classifier.frontend
        own = frontend.stft if isinstance(frontend, SpectralFrontend) else None
        self.stft = stft or own or default_stft(classifier.sample_rate)
        enters = self.stft == own and getattr(frontend, "direct", False)
        self._frontend = frontend if enters and isinstance(frontend, SpectralFrontend) else None
        self._grid = _stft_grid(classifier, self.stft)

    @property
    def rows(self) -> int:
        return self.stft.bins

    @property
    def grid(self) -> Tensor | None:
        if self._grid is not None and self._grid.device != self.classifier.device:
            self._grid = self._grid.to(self.classifier.device)
        return self._grid

    @property
    def pitch(self) -> Tensor:
        top = self.classifier.sample_rate / 2
        mel = hz_to_mel(torch.linspace(0, top, self.rows))
        return mel / (mel[-1] * (1 + 1e-6))

    def analyse(self, waveform: Tensor) -> Analysis:
        spectrum = stft(waveform, self.stft)
        return Analysis(waveform, self._to_scale(magnitude(spectrum)), spectrum)

    @property
    def _through_sound(self) -> bool:
        return self._frontend is None

    def features(self, values: Tensor, analysis: Analysis) -> Tensor:
        if self._frontend is not None:
            return self._frontend.from_magnitude(self._from_scale(values))
        return self.classifier.features(self.resynthesise(values, analysis))

    def resynthesise(self, values: Tensor, analysis: Analysis) -> Tensor:
        assert analysis.spectrum is not None
        gain = self._from_scale(values) / magnitude(analysis.spectrum)
        return istft(gain * analysis.spectrum, self.stft, analysis.waveform.shape[-1])


class MelSpace(Space):
    """Masks over mel bands, (B, M, N).

    A log-mel network receives the masked bands exactly. Sound, and networks on anything else, receive each STFT bin
    scaled by the average gain of the bands that cover it, weighted by their filters: an approximation, marked as such.

    Args:
        classifier: see :class:`Space`.
        scale: see :class:`Space`.
        mel: mel analysis to use; default the classifier's :class:`LogMel`, or 80 bands at its rate.
    """

    name = "mel"
    approximate = True

    def __init__(self, classifier: AudioClassifier, scale: Scale = "log1p", *, mel: LogMel | None = None) -> None:
        super().__init__(classifier, scale)
        frontend = classifier.frontend
        self._exact = isinstance(frontend, LogMel) and frontend.direct and mel in (None, frontend)
        if mel is None:
            own = frontend if isinstance(frontend, LogMel) else None
            given = frontend.stft if isinstance(frontend, SpectralFrontend) else None
            mel = own if own is not None else LogMel(classifier.sample_rate, stft=given).to(classifier.device)
        self.mel = mel

    @property
    def rows(self) -> int:
        return self.mel.n_mels

    @property
    def grid(self) -> Tensor | None:
        """Averages over the bins of each band, for a network whose maps have rows equally spaced in Hz."""
        frontend = self.classifier.frontend
        if not isinstance(frontend, SpectralFrontend) or isinstance(frontend, LogMel):
            return None
        bank = self.mel.bank
        return bank / bank.sum(0).clamp(min=1e-6)

    @property
    def stft(self) -> STFT:
        return self.mel.stft

    def _amplitude(self, linear: Tensor) -> Tensor:
        # Empty bands are exactly 0, where a root has no finite slope.
        return linear if self.mel.power == 1 else linear.clamp(min=1e-14) ** (1 / self.mel.power)

    def analyse(self, waveform: Tensor) -> Analysis:
        spectrum = stft(waveform, self.stft)
        bands = self.mel.to_mel(magnitude(spectrum))
        return Analysis(waveform, self._to_scale(bands), spectrum)

    @property
    def _through_sound(self) -> bool:
        return not self._exact

    def features(self, values: Tensor, analysis: Analysis) -> Tensor:
        if self._exact:
            return self.mel.from_mel(self._from_scale(values))
        return self.classifier.features(self.resynthesise(values, analysis))

    def resynthesise(self, values: Tensor, analysis: Analysis) -> Tensor:
        assert analysis.spectrum is not None
        bands = self.mel.to_mel(magnitude(analysis.spectrum))
        gains = (self._from_scale(values) / bands.clamp(min=1e-10)) ** (1 / self.mel.power)
        with torch.autocast(gains.device.type, enabled=False):  # sound keeps float32, like the front ends
            spread = torch.einsum("mf,bmn->bfn", band_to_bin(self.mel.bank), gains.float())
        return istft(spread * analysis.spectrum, self.stft, analysis.waveform.shape[-1])


class WaveformSpace(Space):
    """Masks over samples, (B, T): a gain per sample. What is kept and removed always add up to the input."""

    name = "waveform"

    def __init__(self, classifier: AudioClassifier, scale: Scale = "magnitude") -> None:
        super().__init__(classifier, "magnitude")

    def analyse(self, waveform: Tensor) -> Analysis:
        return Analysis(waveform, waveform)

    def features(self, values: Tensor, analysis: Analysis) -> Tensor:
        return self.classifier.features(values)

    def resynthesise(self, values: Tensor, analysis: Analysis) -> Tensor:
        return values


_SPACES: dict[str, Callable[..., Space]] = {"stft": STFTSpace, "mel": MelSpace, "waveform": WaveformSpace}


def make_space(space: str | Space, classifier: AudioClassifier, scale: Scale = "log1p") -> Space:
    """A space by name, or the given one, checked to belong to ``classifier``."""
    if isinstance(space, Space):
        if space.classifier is not classifier:
            raise ConfigError("the space was made for another classifier; build it with this one")
        return space
    if space not in _SPACES:
        raise ConfigError(f"space={space!r} is not known; nearest: {nearest(str(space), _SPACES)}")
    return _SPACES[space](classifier, scale)


def _stft_grid(classifier: AudioClassifier, stft: STFT) -> Tensor | None:
    """Rows of the network's maps to STFT bins; bands of a mel bank unless the network sees an STFT itself."""
    frontend = classifier.frontend
    if isinstance(frontend, SpectralFrontend) and not isinstance(frontend, LogMel):
        return None
    mel = frontend if isinstance(frontend, LogMel) and frontend.stft.bins == stft.bins else None
    return band_to_bin((mel or LogMel(classifier.sample_rate, stft=stft)).bank)


def band_to_bin(bank: Tensor) -> Tensor:
    """Weights (M, F) that average band values at each bin; bins under no filter take the nearest band's value.

    Args:
        bank: mel filters (F, M).
    """
    centres = bank.argmax(0)  # the peak bin of each band
    bins = torch.arange(len(bank), device=bank.device)
    nearest_band = (bins[:, None] - centres).abs().argmin(1)
    lonely = torch.nn.functional.one_hot(nearest_band, bank.shape[1]).to(bank)
    total = bank.sum(1, keepdim=True)
    return torch.where(total > 1e-6, bank / total.clamp(min=1e-6), lonely).T
