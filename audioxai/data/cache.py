"""Decoded clips in one memory-mapped file, so that a data set is decoded and resampled once."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import AudioXAIError
from audioxai.support.files import PathLike, write_whole

__all__ = ["ClipCache"]

_MAGIC = b"AXCLIPS1"  # change it when clips are decoded differently: old files are then made anew
_TAIL = struct.Struct("<QI8s")  # of the file: length and CRC of the table before it, and the magic


class ClipCache:
    """n clips of T samples as float32 in one file ``clips-KEY.f32``, made on first use.

    KEY is a hash of the names, sizes and modification times of the clips' files, the rate and T, so a changed file
    makes a new cache; delete the folder to be rid of old ones. The file is written whole or not at all, so several
    processes may make it at once. One that is truncated is made anew, and so is one in which a clip, checked when it
    is first read, has changed.

    Args:
        folder: of the cache; it is created.
        files: of the n clips.
        names: one per file, independent of where the data set lies.
        decode: file to clip (T,).
        sample_rate: in Hz.
        samples: T.

    Attributes:
        path: of the cache's file.
        bad: row to reason, of clips that could not be decoded; their rows are zeros. They are tried again whenever
            the cache is opened.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
    """

    def __init__(
        self,
        folder: PathLike,
        files: Sequence[Path],
        names: Sequence[str],
        decode: Callable[[Path], Tensor],
        *,
        sample_rate: int,
        samples: int,
    ) -> None:
        self._files, self._decode, self._shape = list(files), decode, (len(files), samples)
        stats = [file.stat() for file in files]
        stamps = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in zip(names, stats, strict=True)]
        self._key = hashlib.sha256(json.dumps([sample_rate, samples, stamps]).encode()).hexdigest()
        self.path = Path(folder) / f"clips-{self._key[:16]}.f32"
        self.bad: dict[int, str] = {}
        self._sums: list[int] = []
        self._map: np.memmap[Any, np.dtype[np.float32]] | None = None
        if not self._open() or any(self._decodes(row) for row in self.bad):
            self._make()

    def __len__(self) -> int:
        return self._shape[0]

    def __getitem__(self, row: int) -> Tensor:
        """Clip (T,), a copy."""
        clip = np.array(self._rows()[row])
        if not self._checked[row]:
            if zlib.crc32(clip.tobytes()) != self._sums[row]:
                self._make()
                clip = np.array(self._rows()[row])
            self._checked[row] = 1
        return torch.from_numpy(clip)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_map": None}  # a map would be pickled as the array that it maps

    def _rows(self) -> np.memmap[Any, np.dtype[np.float32]]:
        if self._map is None:
            self._map = np.memmap(self.path, dtype="<f4", mode="r", shape=self._shape)
        return self._map

    def _open(self) -> bool:
        """Read the table at the end of the file; False for a file that is missing, cut off or not of these clips."""
        try:
            with self.path.open("rb") as file:
                file.seek(4 * self._shape[0] * self._shape[1])
                rest = file.read()
            length, crc, magic = _TAIL.unpack(rest[-_TAIL.size :])
            table = rest[: -_TAIL.size]
            if magic != _MAGIC or length != len(table) or crc != zlib.crc32(table):
                return False
            content = json.loads(table)
        except (OSError, struct.error, ValueError):
            return False
        if content["key"] != self._key:
            return False
        self.bad, self._sums = {int(row): reason for row, reason in content["bad"].items()}, content["sums"]
        self._checked = bytearray(len(self))
        return True

    def _make(self) -> None:
        from tqdm import tqdm

        bad: dict[int, str] = {}
        sums = []

        def write(file: BinaryIO) -> None:
            for row, source in enumerate(tqdm(self._files, desc="decoding clips", disable=None)):
                try:
                    clip = self._decode(source).numpy()
                except AudioXAIError as error:
                    bad[row] = str(error)
                    clip = np.zeros(self._shape[1], dtype=np.float32)
                data = clip.astype("<f4").tobytes()
                sums.append(zlib.crc32(data))
                file.write(data)
            table = json.dumps({"key": self._key, "bad": bad, "sums": sums}).encode()
            file.write(table + _TAIL.pack(len(table), zlib.crc32(table), _MAGIC))

        write_whole(self.path, write)
        self._map = None
        self.bad, self._sums, self._checked = bad, sums, bytearray(len(self))

    def _decodes(self, row: int) -> bool:
        try:
            self._decode(self._files[row])
        except AudioXAIError:
            return False
        return True
