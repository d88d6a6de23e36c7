"""Models that hear windows of one length: how a clip of any length fills them, and how their maps get back to it."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from audioxai.adapters.tokens import ShownBlocks
from audioxai.classifiers.latents import name_of
from audioxai.errors import ConfigError
from audioxai.sound.dsp import STFT, amplitude_to_db, stft
from audioxai.sound.frontends import LogMel

__all__ = ["WindowedLogMel", "WindowedTower", "Windows"]

Fill = Literal["repeatpad", "repeat", "pad"]


@dataclass(frozen=True)
class Windows:
    """Short clips are repeated or padded to one window; longer ones get several, evenly spaced and overlapping.

    Args:
        size: samples in a window.
        fill: ``"repeatpad"``, as many whole copies as fit, then zeros; ``"repeat"``, copies until the window is full;
            ``"pad"``, one copy, then zeros.
    """

    size: int
    fill: Fill = "repeatpad"

    def __post_init__(self) -> None:
        if self.size < 1 or self.fill not in ("repeatpad", "repeat", "pad"):
            raise ConfigError(
                f"windows need a size of at least 1 and fill 'repeatpad', 'repeat' or 'pad'; got {self.size!r}, "
                f"{self.fill!r}"
            )

    def starts(self, samples: int) -> list[int]:
        """First sample of each of the W windows of a clip."""
        count = max(1, math.ceil(samples / self.size))
        return [round(i * (samples - self.size) / (count - 1)) for i in range(count)] if count > 1 else [0]

    def cut(self, waveform: Tensor) -> Tensor:
        """(B, T) to (B, W, size)."""
        samples = waveform.shape[-1]
        if samples >= self.size:
            return torch.stack([waveform[:, start : start + self.size] for start in self.starts(samples)], 1)
        copies = {"pad": 1, "repeatpad": self.size // samples, "repeat": math.ceil(self.size / samples)}[self.fill]
        filled = waveform.repeat(1, copies)[:, : self.size]
        return F.pad(filled, (0, self.size - filled.shape[1]))[:, None]

    def heard(self, samples: int, steps: int) -> Tensor | None:
        """Which part of the clip each step of a network's map is about.

        Args:
            samples: T of the clip.
            steps: N of the map of one window.

        Returns:
            (W * N, n) of 0 and 1, at most one 1 in a row: n steps over the clip, as long as the map's. ``None`` where a
            clip fills one window, so that nothing changes.
        """
        if samples == self.size:
            return None
        places, count = _places(self, samples, steps)
        return F.one_hot(places.clamp(min=0), count).float() * (places >= 0)[:, None]


@functools.lru_cache(maxsize=64)
def _places(windows: Windows, samples: int, steps: int) -> tuple[Tensor, int]:
    """For each of W * N steps its place among the n steps over the clip, -1 where it hears none of it; and n."""
    within = (torch.arange(steps, dtype=torch.float64) + 0.5) * windows.size / steps  # the middle of each step
    if samples < windows.size:
        copies = {"pad": 1.0, "repeatpad": windows.size // samples, "repeat": math.inf}[windows.fill]
        time = torch.where(within < copies * samples, within % samples, -1.0)
        time[0] = within[0] % samples  # the first step is about the clip, however short
    else:
        time = torch.cat([within + start for start in windows.starts(samples)])
    own = max(1, samples * steps // windows.size)
    place = (time / samples * own + 1e-9).long().clamp(0, own - 1)
    return torch.where(time >= 0, place, -1), own


class WindowedLogMel(LogMel):
    """Log-mel of every window; (B, T) to (B, W, N + 1, M), whose last row holds T, the clip's samples, for the tower.

    Power, 10 log10 with a floor of 1e-10, no more. Masked spectrograms reach the network as sound, which is then
    repeated, so that one mask holds for every copy of a clip and what is heard is what is judged.

    Args:
        sample_rate: in Hz.
        windows: length of a window and how it is filled.
        stft: transform settings.
        bank: mel filters (F, M), such as a checkpoint's own; default those of ``mel``.
        **mel: ``n_mels``, ``f_min``, ``f_max``, ``mel_scale`` and ``norm`` of :class:`LogMel`.
    """

    direct: ClassVar[bool] = False

    def __init__(
        self, sample_rate: int, *, windows: Windows, stft: STFT, bank: Tensor | None = None, **mel: Any
    ) -> None:
        super().__init__(sample_rate, **mel, stft=stft, power=2, log="db", floor=1e-10)
        self.windows = windows
        if bank is not None:
            if bank.shape != self.bank.shape:
                raise ConfigError(
                    f"mel filters of shape {tuple(bank.shape)} do not fit; (F, M) is {tuple(self.bank.shape)}"
                )
            self.bank = bank.to(self.bank)

    def config(self) -> dict[str, Any]:
        bank = hashlib.sha256(self.bank.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        return {**super().config(), "windows": asdict(self.windows), "bank": bank}

    def forward(self, waveform: Tensor) -> Tensor:
        cut = self.windows.cut(waveform)
        bands = self.log_mel(cut.flatten(0, 1))
        return self.signed(bands.reshape(*cut.shape[:2], *bands.shape[1:]), waveform.shape[-1])

    def log_mel(self, waveform: Tensor) -> Tensor:
        """(R, T) to (R, N, M) in dB, exact down to the floor.

        The transform is float64 where the device has it: float32 spends its digits on the loudest bin of a frame, and
        faint ones would be off by up to 0.001 dB.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            exact = waveform.float() if waveform.device.type == "mps" else waveform.double()
            power = torch.view_as_real(stft(exact, self.stft)).square().sum(-1)
            bands = torch.einsum("fm,bfn->bnm", self.bank, power.to(self.bank))
            return amplitude_to_db(bands, amin=self.floor)

    @staticmethod
    def signed(bands: Tensor, samples: int) -> Tensor:
        """(B, W, N, M) with one more row, which tells the clip's samples."""
        return F.pad(bands, (0, 0, 0, 1), value=float(samples))


class WindowedTower(ShownBlocks):
    """Base of audio towers over windows: embeddings of a clip's windows averaged, maps laid back on the clip.

    The maps (B, C, F, n) lie over the clip. Steps that hear the same moment, in copies of a short clip or in
    overlapping windows, are averaged; what is put in the place of a map changes all of them alike.

    Args:
        blocks: modules whose outputs (or the first of them) become maps.
        windows: those of the front end.
    """

    def __init__(self, blocks: Sequence[nn.Module], windows: Windows) -> None:
        super().__init__(blocks)
        self.windows = windows

    def extra_repr(self) -> str:  # part of a classifier's fingerprint
        return f"blocks={[name_of(self, block) for block in self._blocks]}"

    def embed(self, bands: Tensor) -> Tensor:
        """(R, N, M) windows to embeddings (R, D)."""
        raise NotImplementedError

    def to_map(self, output: Tensor) -> Tensor:
        """A block's output to maps (R, C, F, N)."""
        raise NotImplementedError

    def from_map(self, maps: Tensor, output: Tensor) -> Tensor:
        """Inverse of :meth:`to_map`, to the shape of ``output``."""
        raise NotImplementedError

    def heard(self, samples: int, steps: int) -> Tensor | None:
        """See :meth:`Windows.heard`."""
        return self.windows.heard(samples, steps)

    def forward(self, features: Tensor) -> Tensor:
        """Features of :class:`WindowedLogMel` to embeddings (B, D)."""
        clips, count = features.shape[:2]
        with self.shown(clips, int(features[0, 0, -1, 0])):
            rows = self.embed(features[:, :, :-1].flatten(0, 1))
        return rows if count == 1 else F.normalize(rows, dim=1).reshape(clips, count, -1).mean(1)

    def shown(self, clips: int, samples: int) -> AbstractContextManager[None]:
        """Inside, the blocks show their maps for so many clips of so many samples."""
        return self.through(lambda place, output: self._through(place, output, clips, samples))

    def _through(self, place: nn.Module, output: Tensor, clips: int, samples: int) -> Tensor:
        maps = self.to_map(output)
        count, steps = len(maps) // clips, maps.shape[-1]
        heard = self.heard(samples, steps)
        if heard is None:
            shown = place(maps)
            return output if shown is maps else self.from_map(shown, output)
        heard = heard.to(maps)
        channels, rows = maps.shape[1:3]
        along = maps.reshape(clips, count, channels, rows, steps).permute(0, 2, 3, 1, 4).flatten(3)  # (B, C, F, W * N)
        mean = heard / heard.sum(0).clamp(min=1)
        own = along @ mean
        shown = place(own)
        if shown is own:
            return output
        # 0 unless something else was put in place. Computed anew, so that what was shown keeps its own gradient.
        change = ((shown - along @ mean) @ heard.T).reshape(clips, channels, rows, count, steps)
        return self.from_map(maps + change.permute(0, 3, 1, 2, 4).flatten(0, 1), output)
