"""Where the clips of a data set come from: a folder, a list of files, or a Hugging Face data set."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch

from audioxai.errors import AudioFileError, ConfigError
from audioxai.sound.files import find_audio
from audioxai.support.files import PathLike
from audioxai.support.optional import optional_import

__all__ = ["Entry", "Rows", "Source", "SourceLike", "open_source"]


class Rows(Protocol):
    """What is asked of a data set: the interface of ``datasets.Dataset``."""

    column_names: Any

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]: ...


SourceLike: TypeAlias = "PathLike | Sequence[PathLike] | Rows"


@dataclass(frozen=True)
class Entry:
    """One clip of a source."""

    name: str  # for people: a file's path below the folder, or what the data set calls it
    sound: Path | bytes | torch.Tensor  # a file, its content, or decoded samples (T,) or (C, T)
    sample_rate: int = 0  # in Hz, of samples


@dataclass(frozen=True)
class Source:
    """A data set as a numbered list."""

    size: int
    fingerprint: str  # of names, sizes and times of change of files, or the data set's own
    name_of: Callable[[int], str]  # a name for a clip that cannot be read
    read: Callable[[int], Entry]


def open_source(given: SourceLike, without: Path) -> Source:
    """Find the clips of a folder with all below it, of a list of files, or of a data set with an ``"audio"`` column.

    A folder that ``Dataset.save_to_disk`` wrote is such a data set.

    Args:
        given: the source.
        without: the folder of results, which may be inside it.

    Raises:
        AudioFileError: the folder is missing or holds no audio.
        ConfigError: neither of the three, or no clips.
        MissingDependencyError: a saved data set without the package datasets.
    """
    if isinstance(given, str | os.PathLike):
        folder = Path(given)
        if not folder.is_dir():
            raise AudioFileError(f"{str(folder)!r} is {'no folder' if folder.exists() else 'missing'}; check the path")
        if (folder / "dataset_dict.json").is_file():
            raise ConfigError(
                f"{str(folder)!r} holds several splits; give one of them, such as {str(folder / 'test')!r}"
            )
        if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
            return _rows(optional_import("datasets", "load_from_disk", extra="datasets")(str(folder)))
        results = without.resolve()
        files = [file for file in find_audio([folder]) if results not in file.resolve().parents]
        if not files:
            raise AudioFileError(f"no audio file below {str(folder)!r} besides the results in {str(without)!r}")
        return _files(files, [file.relative_to(folder).as_posix() for file in files])
    if hasattr(given, "column_names"):
        return _rows(given)
    if isinstance(given, Sequence) and all(isinstance(path, str | os.PathLike) for path in given) and len(given):
        return _files([Path(path) for path in given], [Path(path).as_posix() for path in given])
    raise ConfigError(
        f"a source is a folder, a list of paths or a data set with an 'audio' column; got {type(given).__name__}"
        + (" without any clip" if isinstance(given, Sequence) else "")
    )


def _files(files: list[Path], names: list[str]) -> Source:
    digest = hashlib.sha256()
    for file, name in zip(files, names, strict=True):
        # Size and time of change, as make and rsync tell files apart: hashing them would read all in every process.
        found = (file.stat().st_size, file.stat().st_mtime_ns) if file.is_file() else None
        digest.update(f"{name}\0{found}\n".encode(errors="surrogateescape"))
    names = [name.encode(errors="backslashreplace").decode() for name in names]  # files need no valid names

    def read(index: int) -> Entry:
        return Entry(names[index], files[index])

    return Source(len(files), digest.hexdigest(), names.__getitem__, read)


def _rows(data: Any) -> Source:
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise ConfigError(f"{type(data).__name__} gives no row by its number; load the data set with streaming=False")
    if "audio" not in (data.column_names or ()):
        raise ConfigError(f"the data set needs a column 'audio'; it has {data.column_names}. Rename yours")
    size = len(data)
    if not size:
        raise ConfigError("the data set holds no rows")
    known = getattr(data, "_fingerprint", None)
    digest = hashlib.sha256(repr((size, sorted(data.column_names), known)).encode())
    if hasattr(data, "cast_column"):  # the files as they are, so that no decoder of the library is needed
        data = data.cast_column("audio", optional_import("datasets", "Audio", extra="datasets")(decode=False))

    def name_of(index: int) -> str:
        return f"row {index}"

    def read(index: int) -> Entry:
        audio = data[index]["audio"]
        return Entry(os.path.basename(audio.get("path") or "") or name_of(index), *_sound(audio))

    return Source(size, digest.hexdigest(), name_of, read)


def _sound(audio: Mapping[str, Any]) -> tuple[Path | bytes | torch.Tensor, int]:
    if audio.get("array") is not None:
        return torch.as_tensor(np.asarray(audio["array"], dtype=np.float32)), int(audio["sampling_rate"])
    if audio.get("bytes") is not None:
        return bytes(audio["bytes"]), 0
    if audio.get("path"):
        return Path(audio["path"]), 0
    raise AudioFileError(f"an entry of the column 'audio' has neither bytes, path nor array; it has {sorted(audio)}")
