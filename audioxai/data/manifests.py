"""Frozen test sets: which clip meets which sound, from where on and how loud, and the hashes of all files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from audioxai.data.download import sha256_of
from audioxai.errors import AudioFileError, ConfigError, OutputError, nearest
from audioxai.support.files import PathLike, write_bytes

__all__ = ["Manifest", "ManifestItem", "shipped_manifest", "shipped_manifests"]

_FORMAT = 1
_SHOWN = 5  # files that an error names


@dataclass(frozen=True)
class ManifestItem:
    """One clip of a test set: ``clip_gain * clip + noise_gain * noise``."""

    clip: str  # file relative to the root of its data set
    label: str
    noise: str | None  # likewise; None where it is made, or absent
    offset: int  # first sample of the recording of noise, at the manifest's rate
    clip_gain: float
    noise_gain: float  # 0 without contamination
    noise_seed: int | None  # of noise that is made


@dataclass(frozen=True)
class Manifest:
    """A frozen test set: the audio of every item to float32, given the files.

    Args:
        name: of the set.
        condition: name of its contamination, see :data:`CONDITIONS`.
        snr_db: level of the clips over it in dB; ``None`` without one.
        seed: of all draws.
        sample_rate: in Hz.
        seconds: length of a clip.
        items: of the set, in order.
        files: every file in it, relative to its data set's root, with its SHA-256.
    """

    name: str
    condition: str
    snr_db: float | None
    seed: int
    sample_rate: int
    seconds: float
    items: tuple[ManifestItem, ...]
    files: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.items)

    def check(self, *roots: PathLike) -> None:
        """Compare every file with its hash.

        Args:
            roots: folders of the data sets; a file may lie in any.

        Raises:
            AudioFileError: some are missing or differ; it names the first few and tells how many there are.
        """
        if not roots:
            raise ConfigError("check() needs the folders of the data sets, such as clips.root, noises.root")
        wrong = []
        for name, expected in self.files.items():
            there = [path for root in roots if (path := Path(root) / name).is_file()]
            if not any(sha256_of(path) == expected for path in there):
                wrong.append(f"{name!r} ({'differs' if there else 'missing'})")
        if wrong:
            more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
            where = ", ".join(repr(str(root)) for root in roots)
            raise AudioFileError(
                f"{len(wrong)} of {len(self.files)} files of the manifest {self.name!r} are not as they were, in "
                f"{where}: {', '.join(wrong[:_SHOWN])}{more}. Other copies, such as WAV for Ogg, have other hashes: "
                f"make_manifest with seed={self.seed} gives the same pairs, offsets and seeds for yours"
            )

    def save(self, path: PathLike) -> None:
        """Write JSON with one line per item and per file, whole or not at all."""
        head = {field.name: getattr(self, field.name) for field in fields(self)[:-2]}
        lines = [f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in head.items()]
        items = ",\n".join(json.dumps(asdict(item), allow_nan=False) for item in self.items)
        files = ",\n".join(f"{json.dumps(name)}: {json.dumps(self.files[name])}" for name in sorted(self.files))
        lines += [f'"items": [\n{items}\n]', f'"files": {{\n{files}\n}}']
        text = ",\n".join([f'"format": {_FORMAT}', *lines])
        write_bytes(path, f"{{\n{text}\n}}\n".encode())

    @classmethod
    def load(cls, path: PathLike) -> Manifest:
        """Read a manifest.

        Raises:
            OutputError: no manifest, or a damaged one.
        """
        try:
            return _parse(Path(path).read_bytes(), str(path))
        except OSError as error:
            raise OutputError(f"the manifest {str(path)!r} cannot be read: {error.strerror or error}") from error


def _parse(data: bytes, source: str) -> Manifest:
    try:
        content: dict[str, Any] = json.loads(data)
        version = content.pop("format")
        if version != _FORMAT:
            raise OutputError(
                f"the manifest {source!r} has format {version!r}, this version reads {_FORMAT}; update it"
            )
        content["items"] = tuple(ManifestItem(**item) for item in content["items"])
        manifest = Manifest(**content)
        for item in manifest.items:
            named = (item.clip,) if item.noise is None else (item.clip, item.noise)
            if not (all(name in manifest.files for name in named) and _sound(item)):
                raise ValueError(f"its item {item!r} names no file of it or has a bad number")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise OutputError(
            f"{source!r} is no manifest or a damaged one ({error}); restore it or make it anew"
        ) from error
    return manifest


def _sound(item: ManifestItem) -> bool:
    return math.isfinite(item.clip_gain) and math.isfinite(item.noise_gain) and item.offset >= 0


def shipped_manifests() -> tuple[str, ...]:
    """Names of the manifests that come with the package."""
    files = resources.files("audioxai.data").joinpath("manifests_shipped").iterdir()
    return tuple(sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json")))


def shipped_manifest(name: str) -> Manifest:
    """A manifest that comes with the package: ``esc10-fold5-`` and id, mixtures, speech or white-noise.

    The clips are the 80 of ESC-10's fold 5, at 16 kHz and 5 s, one item each. Hashes are those of Ogg copies: with the
    published WAV files, :func:`make_manifest` and seed 0 give the same pairs, offsets and seeds.

    Raises:
        ConfigError: no such manifest.
    """
    known = shipped_manifests()
    if name not in known:
        raise ConfigError(f"no manifest {name!r} comes with the package; the nearest are {nearest(name, known)}")
    file = resources.files("audioxai.data").joinpath("manifests_shipped", f"{name}.json")
    return _parse(file.read_bytes(), name)
