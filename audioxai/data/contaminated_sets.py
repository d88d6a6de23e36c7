"""Test sets from manifests: make one from clips and sounds, and give its audio and the parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from audioxai.data.clips import ClipSet, LabelledClips
from audioxai.data.contamination import Condition, Samples, draw, find_condition, mixing_gains, scaled
from audioxai.data.download import sha256_of
from audioxai.data.manifests import Manifest, ManifestItem
from audioxai.errors import AudioFileError, ConfigError

__all__ = ["ManifestDataset", "make_manifest"]


def make_manifest(
    clips: LabelledClips,
    condition: str | Condition,
    noises: ClipSet | None = None,
    *,
    per_clip: int = 1,
    seed: int = 0,
    exclude_same_class: bool = False,
    name: str | None = None,
) -> Manifest:
    """Freeze a test set: every clip, alone or contaminated.

    What a clip meets depends on the seed and the names of the clip and the sounds without their suffixes: not on
    order, on where the data lie, or on other clips. A recording longer than a clip gives an excerpt from a drawn
    offset on, a shorter one is zero-padded, before levels are measured.

    Args:
        clips: with classes; the label of an item is that of its clip.
        condition: a name of :data:`CONDITIONS`, or a condition.
        noises: recordings to contaminate with, of the same rate and length and with no file in common with ``clips``.
        per_clip: items of each clip, with as many different recordings.
        seed: of all draws.
        exclude_same_class: no contamination with the clip's own class; ``noises`` then need labels.
        name: of the manifest; default the condition's.

    Raises:
        ConfigError: an unknown condition, missing or superfluous ``noises``, or too few of them.
        AudioFileError: files that cannot be read.
    """
    kind = find_condition(condition)
    _check_noises(clips, kind, noises, exclude_same_class)
    if per_clip < 1 or (per_clip > 1 and kind.source is None):
        raise ConfigError(f"per_clip={per_clip!r} must be 1 or more, and 1 for clips alone")
    if not isinstance(seed, int):
        raise ConfigError(f"seed={seed!r} must be an int")
    items = []
    for i, clip in enumerate(clips.names):
        label = clips.labels[clips.classes[i]]
        meets = [_Sound()]
        if noises is not None:
            meets = _recorded(clip, label if exclude_same_class else None, noises, per_clip, seed)
        elif callable(kind.source):
            seeds = [draw(seed, "made", _stem(clip), k) for k in range(per_clip)]
            meets = [_Sound(_made(kind, clips.samples, number), seed=number) for number in seeds]
        waveform = clips.clip(i)
        for sound in meets:
            gains = _gains(waveform, sound.samples, kind)
            items.append(ManifestItem(clip, label, sound.name, sound.offset, *gains, sound.seed))
    files = _hashes(clips, {item.clip for item in items})
    if noises is not None:
        more = _hashes(noises, {item.noise for item in items if item.noise is not None})
        if clash := [file for file in more if files.get(file, more[file]) != more[file]]:
            raise ConfigError(f"clips and noises both have a file {clash[0]!r}; rename one, or pass a folder above it")
        files |= more
    return Manifest(
        name or kind.name, kind.name, kind.snr_db, seed, clips.sample_rate, clips.seconds, tuple(items), files
    )


@dataclass(frozen=True)
class _Sound:
    """What a clip meets: samples (T,) and where they are from."""

    samples: Tensor | Samples | None = None
    name: str | None = None
    offset: int = 0
    seed: int | None = None


def _recorded(clip: str, avoid: str | None, noises: ClipSet, count: int, seed: int) -> list[_Sound]:
    """Drawn excerpts of ``count`` different recordings that are not of the class ``avoid``."""
    places: Sequence[int] = range(len(noises))
    if avoid is not None and isinstance(noises, LabelledClips):
        places = [i for i in places if noises.labels[noises.classes[i]] != avoid]
    if len(places) < count:
        raise ConfigError(f"per_clip={count} needs as many recordings for {clip!r}; noises offer {len(places)}")
    sounds = []
    # The recordings that draw the lowest numbers: leaving one out changes no other item.
    for place in nsmallest(count, places, key=lambda i: draw(seed, "noise", _stem(clip), _stem(noises.names[i]))):
        name, whole = noises.names[place], noises.whole(place)
        starts = max(len(whole) - noises.samples, 0) + 1
        offset = draw(seed, "offset", _stem(clip), _stem(name)) * starts >> 63
        sounds.append(_Sound(noises.fit(whole, offset), name, offset))
    return sounds


class ManifestDataset(Dataset[tuple[Tensor, int]]):
    """The audio of a manifest; an item is (waveform (T,), class), the same to the bit in any order and batch.

    Args:
        manifest: the test set.
        clips: the data set of its clips, which may hold more; its labels number the classes.
        noises: that of its recordings of contamination, if it has any.
        check: compare all files with their hashes first. Without it, copies of other formats are found by their stems.
        condition: the condition, where it is not one of :data:`CONDITIONS` and makes its noise.

    Attributes:
        labels: class names.
        classes: of the items.

    Raises:
        AudioFileError: files that differ from the manifest's, or that the data sets do not hold.
        ConfigError: data sets of another rate, length or classes.
    """

    def __init__(
        self,
        manifest: Manifest,
        clips: LabelledClips,
        noises: ClipSet | None = None,
        *,
        check: bool = True,
        condition: Condition | None = None,
    ) -> None:
        _check_same_audio(f"the manifest {manifest.name!r}", manifest.sample_rate, manifest.seconds, "clips", clips)
        self.manifest, self.labels, self._clips, self._noises = manifest, clips.labels, clips, noises
        if unknown := {item.label for item in manifest.items} - set(clips.labels):
            raise ConfigError(f"the manifest {manifest.name!r} has classes that clips lack: {sorted(unknown)}")
        self.classes = [clips.labels.index(item.label) for item in manifest.items]
        self._clip_of = _find(manifest, {item.clip for item in manifest.items}, clips, "clips")
        recorded = {item.noise for item in manifest.items if item.noise is not None}
        self._noise_of: dict[str, int] = {}
        if recorded:
            if noises is None:
                raise ConfigError(f"the manifest {manifest.name!r} needs noises: {len(recorded)} recordings are in it")
            _check_same_audio(
                f"the manifest {manifest.name!r}", manifest.sample_rate, manifest.seconds, "noises", noises
            )
            self._noise_of = _find(manifest, recorded, noises, "noises")
        self._condition: Condition | None = None
        if any(item.noise_seed is not None for item in manifest.items):
            self._condition = condition or find_condition(manifest.condition)
        self._excerpts: dict[tuple[int, int], Tensor] = {}
        if check:
            manifest.check(clips.root, *([noises.root] if noises is not None else []))

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        clip, noise = self._parts(index)
        return _float32(clip + noise), self.classes[index]

    def tensors(self) -> tuple[Tensor, Tensor]:
        """All waveforms (B, T) and classes (B,)."""
        waveforms = [self[i][0] for i in range(len(self))]
        return _stack(waveforms, self._clips.samples), torch.tensor(self.classes, dtype=torch.long)

    def stems(self, index: int | None = None) -> tuple[Tensor, Tensor]:
        """Clip part and contamination part, of which the waveform is the sum to float32 rounding.

        Args:
            index: of an item; default all.

        Returns:
            Two of (T,) for one item, of (B, T) for all.
        """
        if index is None:
            parts = [self.stems(i) for i in range(len(self))]
            first, second = ([part[k] for part in parts] for k in (0, 1))
            return _stack(first, self._clips.samples), _stack(second, self._clips.samples)
        clip, noise = self._parts(index)
        return _float32(clip), _float32(noise)

    def _parts(self, index: int) -> tuple[Samples, Samples]:
        item = self.manifest.items[index]
        clip = scaled(self._clips.clip(self._clip_of[item.clip]), item.clip_gain)
        noise = self._noise(item)
        return clip, np.zeros_like(clip) if noise is None else scaled(noise, item.noise_gain)

    def _noise(self, item: ManifestItem) -> Tensor | Samples | None:
        if item.noise is not None and self._noises is not None:
            number = self._noise_of[item.noise]
            if item.offset == 0:
                return self._noises.clip(number)
            if (number, item.offset) not in self._excerpts:
                self._excerpts[number, item.offset] = self._noises.fit(self._noises.whole(number), item.offset)
            return self._excerpts[number, item.offset]
        if item.noise_seed is not None and self._condition is not None:
            return _made(self._condition, self._clips.samples, item.noise_seed)
        return None


def _check_noises(clips: LabelledClips, kind: Condition, noises: ClipSet | None, exclude_same_class: bool) -> None:
    if (kind.source == "recordings") != (noises is not None):
        fix = "pass noises=" if noises is None else "leave noises out"
        raise ConfigError(f"condition {kind.name!r} {'needs' if noises is None else 'takes no'} recordings; {fix}")
    if noises is not None:
        _check_same_audio("clips", clips.sample_rate, clips.seconds, "noises", noises)
        if shared := {file.resolve() for file in clips.files} & {file.resolve() for file in noises.files}:
            raise ConfigError(
                f"clips and noises share {len(shared)} file(s), such as {str(min(shared))!r}; "
                "take noises of another fold"
            )
    if exclude_same_class and not isinstance(noises, LabelledClips):
        raise ConfigError("exclude_same_class=True needs noises with labels, such as ESC50")


def _check_same_audio(one: str, rate: int, seconds: float, other: str, data: ClipSet) -> None:
    if (rate, round(rate * seconds)) != (data.sample_rate, data.samples):
        raise ConfigError(
            f"{one} and {other} differ in rate or length: {rate} Hz, {seconds} s and {data.sample_rate} Hz, "
            f"{data.seconds} s; make the data set with sample_rate={rate}, seconds={seconds}"
        )


def _gains(clip: Tensor, sound: Tensor | Samples | None, kind: Condition) -> tuple[float, float]:
    if sound is not None and kind.snr_db is not None:
        return mixing_gains(clip, sound, kind.snr_db, kind.peak)
    return mixing_gains(clip, torch.zeros_like(clip), 0.0, kind.peak)[0], 0.0


def _made(kind: Condition, samples: int, seed: int) -> Samples:
    if not callable(kind.source):
        raise ConfigError(
            f"condition {kind.name!r} makes no noise; pass the condition that this manifest was made with"
        )
    sound = np.asarray(kind.source(samples, seed), dtype=np.float64)
    if sound.shape != (samples,) or not np.isfinite(sound).all():
        raise ConfigError(f"condition {kind.name!r} must make {samples} finite samples (T,); got shape {sound.shape}")
    return sound


def _hashes(data: ClipSet, used: set[str]) -> dict[str, str]:
    return {name: sha256_of(file) for name, file in zip(data.names, data.files, strict=True) if name in used}


def _find(manifest: Manifest, names: set[str], data: ClipSet, what: str) -> dict[str, int]:
    """Place in a data set of each name, or else of its stem."""
    exact = {name: i for i, name in enumerate(data.names)}
    stems = {_stem(name): i for i, name in reversed(list(enumerate(data.names)))}
    places = {name: exact.get(name, stems.get(_stem(name), -1)) for name in names}
    if lost := sorted(name for name, place in places.items() if place < 0):
        raise AudioFileError(
            f"{len(lost)} of {len(names)} {what} of the manifest {manifest.name!r} are not in the data set, such as "
            f"{lost[0]!r}; check its folder and folds"
        )
    return places


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _float32(samples: Samples) -> Tensor:
    return torch.from_numpy(samples.astype(np.float32))


def _stack(waveforms: Sequence[Tensor], samples: int) -> Tensor:
    return torch.stack(list(waveforms)) if waveforms else torch.zeros(0, samples)
