"""Explained data sets on disk: shards of clips as tar files, a record beside each, one index; and their reader.

A shard is a tar in WebDataset's layout: the files of a clip share a key and follow each other::

    00000012.json  00000012.kept.flac  00000012.mask.npz  00000012.removed.flac
"""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import torch
from torch import Tensor

from audioxai.bulk.mask_files import read_mask
from audioxai.bulk.streaming import Window
from audioxai.errors import OutputError
from audioxai.support.files import write_bytes

__all__ = [
    "INDEX",
    "RUN",
    "ExplainedClip",
    "ShardWriter",
    "key_of",
    "read_dataset",
    "shard_name",
    "write_flac",
    "write_index",
]

Samples: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"

INDEX, RUN = "index.csv", "run.json"
_COLUMNS = ("key", "name", "target", "input", "kept", "removed", "seconds", "shard", "error")
_BLOCK = 1 << 16


def key_of(index: int) -> str:
    """What the files of a clip share, from its place in the data set."""
    return f"{index:08d}"


def shard_name(number: int) -> str:
    """Of its files, without suffix."""
    return f"shard-{number:06d}"


class ShardWriter:
    """Writes the clips of a shard into a tar that depends on nothing but them.

    Args:
        file: open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 (see close)

    def close(self) -> None:
        """Write the end of the tar."""
        self._tar.close()

    def add(self, key: str, meta: dict[str, Any], files: Iterable[tuple[str, BinaryIO]]) -> None:
        """Add a clip.

        Args:
            key: of its files.
            meta: for its JSON.
            files: suffix and content of the others.
        """
        text = json.dumps(meta, indent=1).encode()
        for suffix, content in [("json", io.BytesIO(text)), *files]:
            entry = tarfile.TarInfo(f"{key}.{suffix}")  # no date, no owner
            entry.size = content.seek(0, io.SEEK_END)
            content.seek(0)
            self._tar.addfile(entry, content)


def write_flac(file: BinaryIO, sound: Samples | Path, sample_rate: int) -> float:
    """Write a 16-bit FLAC file, and return the level that it must be multiplied by; 1 unless the peak exceeds it.

    Args:
        file: open for writing.
        sound: samples (T,), or a file of them, which is read in parts.
        sample_rate: in Hz.

    Raises:
        OutputError: a full disk, or a rate that FLAC does not know.
    """
    import soundfile

    level = max([1.0, *(float(np.abs(block).max(initial=0)) for block in _blocks(sound))])
    try:
        with soundfile.SoundFile(file, "w", sample_rate, 1, "PCM_16", format="FLAC") as flac:
            for block in _blocks(sound):
                flac.write(block / level)
    except (AssertionError, RuntimeError) as error:  # how soundfile reports a full disk
        raise OutputError(f"a sound could not be written ({str(error) or 'disk full?'})") from error
    return level


def _blocks(sound: Samples | Path) -> Iterable[Samples]:
    import soundfile

    if isinstance(sound, Path):
        return soundfile.blocks(os.fsencode(sound), _BLOCK, dtype="float32")  # type: ignore[no-any-return]
    return [sound]


def write_index(folder: Path, records: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Write the index from the record of each shard, given with the shard's name."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for shard, record in records:
        for row in record["clips"]:
            table.writerow({**row, "shard": "" if "error" in row else f"{shard}.tar"})
    write_bytes(folder / INDEX, text.getvalue().encode())


@dataclass(frozen=True, repr=False)
class ExplainedClip:
    """A clip of an explained data set; sounds and mask are read when they are asked for.

    Attributes:
        key: of its files in the tar.
        name: its file, or what the data set calls it.
        target: what was explained; empty for a long recording whose windows had several targets.
        scores: probability of the target in the clip, in what is kept and in what is removed, or ``None`` if the target
            was no one class.
        seconds: length.
        sample_rate: in Hz.
        windows: the time line of a long recording; empty for clips that were explained in one piece.
        meta: all that is in its JSON.
    """

    key: str
    name: str
    target: str
    scores: tuple[float, float, float] | None
    seconds: float
    sample_rate: int
    windows: tuple[Window, ...]
    meta: dict[str, Any]
    _tar: Path
    _places: dict[str, tuple[int, int]]

    def __repr__(self) -> str:
        return f"ExplainedClip({self.name!r}, {self.target!r}, {self.seconds:g} s)"

    @property
    def kept(self) -> Tensor:
        """(T,), the sound of what the mask keeps."""
        return self._sound("kept")

    @property
    def removed(self) -> Tensor:
        """(T,), the sound of what the mask leaves out."""
        return self._sound("removed")

    @property
    def mask(self) -> Tensor:
        """(F, N), (M, N) or (T,) in [0, 1]."""
        return read_mask(io.BytesIO(self._read("mask.npz")))

    def _sound(self, which: str) -> Tensor:
        import soundfile

        samples, _ = soundfile.read(io.BytesIO(self._read(f"{which}.flac")), dtype="float32")
        return torch.from_numpy(samples) * float(self.meta["levels"][which])

    def _read(self, suffix: str) -> bytes:
        start, size = self._places[suffix]
        with self._tar.open("rb") as file:
            file.seek(start)
            return file.read(size)


def read_dataset(out: str | Path) -> Iterator[ExplainedClip]:
    """The clips that :func:`audioxai.explain_dataset` explained, in the order of the data set.

    Raises:
        OutputError: no finished run in this folder, or a shard cannot be read.
    """
    out = Path(out)
    if not (out / INDEX).is_file():
        state = "is not finished; run it again, it goes on" if (out / RUN).is_file() else "holds no explained data set"
        raise OutputError(f"{str(out)!r} {state}")
    tars = [path.with_suffix(".tar") for path in sorted(out.glob("shard-*.json"))]  # the tar may have been deleted
    return (clip for tar in tars for clip in _clips_of(tar))


def _clips_of(path: Path) -> Iterator[ExplainedClip]:
    try:
        with tarfile.open(path) as tar:
            places: dict[str, dict[str, tuple[int, int]]] = {}
            for member in tar:
                key, _, suffix = member.name.partition(".")
                places.setdefault(key, {})[suffix] = (member.offset_data, member.size)
        for key, files in places.items():
            with path.open("rb") as file:
                file.seek(files["json"][0])
                meta = json.loads(file.read(files["json"][1]))
            windows = tuple(
                Window(w["start"], w["end"], w["target"], _triple(w["probabilities"])) for w in meta["windows"]
            )
            yield ExplainedClip(
                key, meta["name"], meta["target"], _triple(meta["probabilities"]), meta["seconds"], meta["sample_rate"],
                windows, meta, path, files,
            )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, tarfile.TarError) as error:
        raise OutputError(
            f"{str(path)!r} cannot be read ({error}); delete it and run the same command again"
        ) from error


def _triple(probabilities: dict[str, float] | None) -> tuple[float, float, float] | None:
    return None if probabilities is None else (probabilities["input"], probabilities["kept"], probabilities["removed"])
