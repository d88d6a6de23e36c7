"""What a benchmark is measured on: which clips train, which are explained, and what contaminates them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioxai.data import ClipSet, LabelledClips, Manifest, ManifestDataset, SoundFolder
from audioxai.data import make_manifest as freeze
from audioxai.data.registry import DATA_SETS as DATA
from audioxai.errors import AudioFileError, ConfigError, nearest

__all__ = ["DATA", "DEFAULT_CONDITIONS", "BenchmarkData", "load_data"]

DEFAULT_CONDITIONS = ("id", "mixtures", "white-noise")
_SPEECH = ("speech", "LJSpeech-1.1")
_NOISE = ("wham_noise", "noise")


@dataclass(frozen=True)
class BenchmarkData:
    """Clips and sounds of one benchmark.

    Args:
        name: of the data set.
        train: clips that networks and explainers learn from.
        test: clips that are explained; no network has seen them.
        others: clips that contaminate the mixtures, not in ``test``.
        speech: recordings of the condition ``"speech"``.
        noise: recordings of the condition ``"noise"``.
        folds: how the clips are divided, in words.
        published: the data set's name in published tables, if there are any.
    """

    name: str
    train: LabelledClips
    test: LabelledClips
    others: LabelledClips
    speech: ClipSet | None = None
    noise: ClipSet | None = None
    folds: str = ""
    published: str | None = None

    def noises(self, condition: str) -> ClipSet | None:
        """The recordings of a condition, if it takes any.

        Raises:
            AudioFileError: the condition needs a folder that was not given.
        """
        if condition == "mixtures":
            return self.others
        if condition in ("speech", "noise"):
            found: ClipSet | None = getattr(self, condition)
            if found is None:
                raise AudioFileError(
                    f"condition {condition!r} needs recordings of {condition}; pass --{condition} FOLDER, or put a "
                    f"folder {_SPEECH[0] if condition == 'speech' else _NOISE[0]!r} beside or in the data"
                )
            return found
        return None

    def manifest(
        self, condition: str, *, per_clip: int = 1, seed: int = 0, exclude_same_class: bool = False
    ) -> Manifest:
        """The frozen test set of a condition; clips of classes meet none of their own if that is asked for."""
        noises = self.noises(condition)
        return freeze(
            self.test, condition, noises, per_clip=1 if condition == "id" else per_clip, seed=seed,
            exclude_same_class=exclude_same_class and isinstance(noises, LabelledClips),
            name=f"{self.name}-{condition}",
        )  # fmt: skip

    def test_set(self, manifest: Manifest, *, check: bool = False) -> ManifestDataset:
        """The audio of a manifest; ``check`` compares all files with its hashes."""
        return ManifestDataset(manifest, self.test, self.noises(manifest.condition), check=check)


def load_data(
    name: str,
    root: Path,
    *,
    speech: Path | None = None,
    noise: Path | None = None,
    labels: Path | None = None,
    conditions: Sequence[str] = DEFAULT_CONDITIONS,
    sample_rate: int = 16000,
    seconds: float = 5.0,
    cache: Path | None = None,
    skip_bad: bool = False,
) -> BenchmarkData:
    """Read the data of a benchmark.

    How a data set is divided stands with its reader, and above every table.

    Args:
        name: one of :data:`audioxai.data.registry.DATA_SETS`.
        root: folder of the data set.
        speech: folder of speech; default a folder ``speech`` or ``LJSpeech-1.1`` in ``root`` or beside it.
        noise: folder of noise recordings; default likewise ``wham_noise`` or ``noise``.
        labels: for a folder, CSV with the columns ``file`` and ``label``; default one subfolder per class.
        conditions: which will be asked for; only their recordings are read.
        sample_rate: in Hz.
        seconds: length of a clip.
        cache: folder for decoded clips.
        skip_bad: leave out clips that cannot be read.

    Raises:
        AudioFileError: no data set there, or bad clips.
        ConfigError: an unknown name.
    """
    if name not in DATA:
        raise ConfigError(f"data set {name!r} is not known; the nearest are {nearest(name, DATA)}")
    read = DATA[name]
    where: dict[str, Any] = {"sample_rate": sample_rate, "seconds": seconds, "cache": cache, "skip_bad": skip_bad}
    if labels is not None and "labels" not in inspect.signature(read).parameters:
        raise ConfigError(f"--labels is for clips without labels, such as a 'folder'; {name!r} has its own")
    split = read(root, **where, **({} if labels is None else {"labels": labels}))
    sounds = {}
    for condition, given, usual in (("speech", speech, _SPEECH), ("noise", noise, _NOISE)):
        place = given or _beside(root, usual)
        if condition in conditions and place is not None:
            sounds[condition] = _sounds(place, where)
    return BenchmarkData(
        name, split.train, split.test, split.others, sounds.get("speech"), sounds.get("noise"), split.folds,
        split.published,
    )  # fmt: skip


def _sounds(place: Path, where: dict[str, Any]) -> SoundFolder:
    """Recordings of a folder; of LJSpeech and WHAM! the part that the published tables take."""
    if (place / "wavs").is_dir():
        return SoundFolder.ljspeech(place, **where)
    return SoundFolder.wham(place, **where) if (place / "tr").is_dir() else SoundFolder(place, **where)


def _beside(root: Path, names: Sequence[str]) -> Path | None:
    places = (folder / name for folder in (root, root.parent) for name in names)
    return next((place for place in places if place.is_dir()), None)
