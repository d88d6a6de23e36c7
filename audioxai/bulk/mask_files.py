"""Masks on disk, written time by time, so that a long one is never whole in memory."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self

import numpy as np
import torch
from torch import Tensor

from audioxai.sound.dsp import STFT

__all__ = ["Fader", "MaskWriter", "read_mask"]


class MaskWriter:
    """Collects a mask part by part and writes it as the array ``mask`` of a compressed ``.npz``.

    Values become 16-bit floats, which are exact to 0.00025 in [0, 1]. Equal masks give equal bytes.

    Args:
        folder: of a temporary file, for masks that do not fit the memory; default none.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._raw: IO[bytes] = tempfile.TemporaryFile(dir=folder) if folder else io.BytesIO()  # noqa: SIM115 (see exit)
        self._rows: tuple[int, ...] = ()
        self._frames = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._raw.close()

    def add(self, part: Tensor) -> None:
        """The next part in the order of time, (F, n), (M, n) or (n,)."""
        self._rows, self._frames = tuple(part.shape[:-1]), self._frames + part.shape[-1]
        self._raw.write(part.detach().cpu().movedim(-1, 0).contiguous().numpy().astype("<f2").tobytes())

    def save(self, file: BinaryIO) -> None:
        """Write all parts to ``file``."""
        # The array is stored frame after frame, which NumPy calls Fortran order.
        header = {"descr": "<f2", "fortran_order": True, "shape": (*self._rows, self._frames)}
        entry = zipfile.ZipInfo("mask.npy")  # dated 1980, always
        entry.compress_type = zipfile.ZIP_DEFLATED
        self._raw.seek(0)
        with zipfile.ZipFile(file, "w") as archive, archive.open(entry, "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            while block := self._raw.read(1 << 20):
                member.write(block)


def read_mask(file: BinaryIO | Path) -> Tensor:
    """What :class:`MaskWriter` saved, as float32."""
    with np.load(file, allow_pickle=False) as stored:
        return torch.from_numpy(stored["mask"].astype(np.float32, order="C"))


class Fader:
    """Joins the sounds or the masks of a recording's windows by cross-fading each with the one before.

    Frame n of what is joined stands at sample n * hop of the recording and takes the nearest frame of each window
    there, so a joined mask has the frames of the recording in one piece; a sound has a frame for each sample.
    """

    def __init__(self) -> None:
        self.next = 0  # the first frame that is not final
        self.tail = torch.zeros(0)  # what is known from there on

    def add(self, values: Tensor, start: int, end: int, fade: tuple[int, int], stft: STFT | None = None) -> Tensor:
        """What no later window changes, (..., n).

        Args:
            values: of the window, (..., frames).
            start: of the window, in samples.
            end: of the window, in samples.
            fade: samples that it shares with the window before and with the one after.
            stft: of whose frames it is made; default of samples.
        """
        hop, frames = (1, end) if stft is None else (stft.hop, stft.frames(end))
        first, last = fade
        places = torch.arange(self.next, frames) * hop - start
        joined = values[..., ((places + hop // 2) // hop).clamp(0, values.shape[-1] - 1)]
        if first:
            shared = min(self.tail.shape[-1], len(places))
            rising = ((places[:shared] + 0.5) / first).clamp(0, 1)
            joined[..., :shared] = self.tail[..., :shared] * (1 - rising) + joined[..., :shared] * rising
        final = min(-(-(end - last) // hop) - self.next, len(places))
        self.next += final
        self.tail = joined[..., final:]
        return joined[..., :final]
