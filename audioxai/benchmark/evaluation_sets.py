"""The test sets of a run: frozen manifests, their audio, and what is known of its parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audioxai.benchmark.protocol import BenchmarkData
from audioxai.benchmark.run_files import key_of
from audioxai.data import LabelledClips, Manifest, ManifestDataset

__all__ = ["TestSet", "make_set", "spread_out"]


@dataclass(frozen=True)
class TestSet:
    """A condition's manifest and audio, and which of its items are explained."""

    condition: str  # name of the contamination
    manifest: Manifest  # the frozen set
    data: ManifestDataset  # its audio
    items: list[int]  # places of those that are explained
    others: list[str | None]  # per item of the manifest, the class of the contamination, where it has one

    def batches(self, size: int) -> list[dict[str, Tensor]]:
        """Batches for ``evaluate``, with the clip's own part as ``"stem"`` where there is another."""
        clips = torch.stack([self.data[i][0] for i in self.items])
        if self.condition == "id":
            return [{"waveform": part} for part in torch.split(clips, size)]
        stems = torch.stack([self.data.stems(i)[0] for i in self.items])
        parts = zip(torch.split(clips, size), torch.split(stems, size), strict=True)
        return [{"waveform": waveform, "stem": stem} for waveform, stem in parts]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What decides the audio, as JSON types."""
        frozen = asdict(self.manifest) | {"name": None}
        return {"manifest": key_of(json.loads(json.dumps(frozen, default=dict))), "items": self.items}

    @property
    def same(self) -> list[bool]:
        """Per item of the manifest, whether the contamination is of the clip's own class."""
        return [other == item.label for other, item in zip(self.others, self.manifest.items, strict=True)]

    def absent(self, item: int) -> str | None:
        """The name of a class that is not heard in an item, another from item to item; ``None`` if all are."""
        heard = self.manifest.items[item].label, self.others[item]
        names = [name for name in self.data.labels if name not in heard]
        return names[item % len(names)] if names else None

    @property
    def sources(self) -> list[str]:
        """The clip behind each explained item; with several contaminations of it, more than once."""
        return [self.manifest.items[i].clip for i in self.items]

    def fewer(self, count: int) -> TestSet:
        """The items of at most ``count`` clips, spread evenly over the classes."""
        return replace(self, items=_items(self.manifest, self.data.classes, self.items, count))


def make_set(
    data: BenchmarkData,
    condition: str,
    per_clip: int,
    clips: int | None,
    frozen: Path | None,
    exclude_same_class: bool = False,
) -> TestSet:
    """Make a condition's test set, or read a frozen one and compare all its files with their hashes.

    Args:
        data: of the benchmark.
        condition: name.
        per_clip: contaminated items of each clip.
        clips: most clips that are explained.
        frozen: folder of manifests, or ``None``.
        exclude_same_class: no clip meets one of its own class; frozen manifests stay as they are.

    Raises:
        AudioFileError: recordings that are missing, or differ from the manifest's.
        ConfigError: fewer recordings than ``per_clip``.
        OutputError: no manifest in ``frozen``.
    """
    if frozen is None:
        manifest = data.manifest(condition, per_clip=per_clip, exclude_same_class=exclude_same_class)
    else:
        manifest = Manifest.load(frozen / f"{condition}.json")
    made = data.test_set(manifest, check=frozen is not None)
    noises = data.noises(condition)
    labels: dict[str, str] = {}
    if isinstance(noises, LabelledClips):
        labels = {name: noises.labels[k] for name, k in zip(noises.names, noises.classes, strict=True)}
    others = [None if item.noise is None else labels.get(item.noise) for item in manifest.items]
    items = _items(manifest, made.classes, range(len(manifest)), clips)
    return TestSet(condition, manifest, made, items, others)


def _items(manifest: Manifest, classes: Sequence[int], items: Sequence[int], count: int | None) -> list[int]:
    """All items of at most ``count`` of the clips behind ``items``."""
    first = {manifest.items[i].clip: i for i in reversed(items)}
    clips = [clip for clip in dict.fromkeys(manifest.items[i].clip for i in items)]
    kept = {clips[k] for k in spread_out([classes[first[clip]] for clip in clips], count)}
    return [i for i in items if manifest.items[i].clip in kept]


def spread_out(classes: Sequence[int], count: int | None) -> list[int]:
    """At most ``count`` places, spread evenly over the classes, in order."""
    if count is None or count >= len(classes):
        return list(range(len(classes)))
    order = sorted(range(len(classes)), key=lambda i: (classes[i], i))
    return sorted(order[k * len(order) // count] for k in range(count))
