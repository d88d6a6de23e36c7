"""What a benchmark is measured on: which clips train, which are explained, and what contaminates them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audioxai.data import ESC50, ClipSet, LabelledClips, Manifest, ManifestDataset, SoundFolder, UrbanSound8K
from audioxai.data import make_manifest as freeze
from audioxai.data.folder import named_files
from audioxai.errors import AudioFileError, ConfigError, nearest

__all__ = ["DATA", "DEFAULT_CONDITIONS", "BenchmarkData", "load_data"]

#: Data sets by name on the command line.
DATA = ("esc50", "esc10", "us8k", "folder")
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
    """

    name: str
    train: LabelledClips
    test: LabelledClips
    others: LabelledClips
    speech: ClipSet | None = None
    noise: ClipSet | None = None
    folds: str = ""

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

    ESC-50 and ESC-10: folds 1 to 3 train, fold 5 is explained, fold 4 contaminates it and is for choosing settings.
    UrbanSound8K: folds 1 to 8, 10 and 9. A folder of your own: about a quarter of each class, drawn by file name, is
    explained; the others train, and contaminate.

    Args:
        name: one of :data:`DATA`.
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
    where: dict[str, Any] = {"sample_rate": sample_rate, "seconds": seconds, "cache": cache, "skip_bad": skip_bad}
    make: dict[str, Callable[[], tuple[LabelledClips, LabelledClips, LabelledClips, str]]] = {
        "esc50": lambda: _folds(lambda folds: ESC50(root, folds=folds, **where), (1, 2, 3), (5,), (4,)),
        "esc10": lambda: _folds(lambda folds: ESC50(root, folds=folds, esc10=True, **where), (1, 2, 3), (5,), (4,)),
        "us8k": lambda: _folds(lambda folds: UrbanSound8K(root, folds=folds, **where), range(1, 9), (10,), (9,)),
        "folder": lambda: _own_folder(root, labels, where),
    }
    if name not in make:
        raise ConfigError(f"data set {name!r} is not known; the nearest are {nearest(name, DATA)}")
    if labels is not None and name != "folder":
        raise ConfigError(f"--labels is for the data set 'folder'; {name!r} has its own")
    train, test, others, folds = make[name]()
    sounds = {}
    for condition, given, usual in (("speech", speech, _SPEECH), ("noise", noise, _NOISE)):
        place = given or _beside(root, usual)
        if condition in conditions and place is not None:
            sounds[condition] = _sounds(place, where)
    return BenchmarkData(name, train, test, others, sounds.get("speech"), sounds.get("noise"), folds)


def _folds(
    read: Callable[[Sequence[int]], LabelledClips], train: Sequence[int], test: Sequence[int], others: Sequence[int]
) -> tuple[LabelledClips, LabelledClips, LabelledClips, str]:
    words = f"trained on folds {train[0]} to {train[-1]}, explained fold {test[0]}, contaminated by fold {others[0]}"
    return read(train), read(test), read(others), words


def _own_folder(
    root: Path, labels: Path | None, where: dict[str, Any]
) -> tuple[LabelledClips, LabelledClips, LabelledClips, str]:
    named = sorted((_below(root, file), label) for file, label in named_files(root, labels))
    classes = sorted({label for _, label in named})
    if len(classes) < 2:
        raise ConfigError(f"a benchmark needs at least two classes; {str(labels or root)!r} gives {classes or 'none'}")
    train, test = [], []
    for label in classes:
        files = [file for file, given in named if given == label]
        if len(files) < 2:
            raise ConfigError(f"class {label!r} has one clip; a benchmark needs one to train on and one to explain")
        files.sort(key=lambda file: hashlib.sha256(_name(root, file).encode()).digest())
        held_out = max(1, round(len(files) / 4))
        test += [(file, classes.index(label)) for file in files[:held_out]]
        train += [(file, classes.index(label)) for file in files[held_out:]]
    sets = [
        LabelledClips(root, [file for file, _ in part], [k for _, k in part], classes, **where)
        for part in (train, test)
    ]
    return (
        sets[0],
        sets[1],
        sets[0],
        "about a quarter of each class, drawn by file name, is explained; the others train",
    )


def _below(root: Path, file: Path) -> Path:
    """A file of a table, which may be named by its whole path, as one below ``root``; others as they are."""
    relative = Path(os.path.relpath(file, root))
    return file if ".." in relative.parts else root / relative


def _name(root: Path, file: Path) -> str:
    return Path(os.path.relpath(file, root)).with_suffix("").as_posix()


def _sounds(place: Path, where: dict[str, Any]) -> SoundFolder:
    """Recordings of a folder; of LJSpeech and WHAM! the part that the published tables take."""
    if (place / "wavs").is_dir():
        return SoundFolder.ljspeech(place, **where)
    return SoundFolder.wham(place, **where) if (place / "tr").is_dir() else SoundFolder(place, **where)


def _beside(root: Path, names: Sequence[str]) -> Path | None:
    places = (folder / name for folder in (root, root.parent) for name in names)
    return next((place for place in places if place.is_dir()), None)
