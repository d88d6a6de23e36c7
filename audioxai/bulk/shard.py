"""The clips of a shard: read, explained in batches of equal length or window by window, and written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from audioxai.bulk.mask_files import MaskWriter
from audioxai.bulk.shard_storage import ShardWriter, key_of, write_flac
from audioxai.bulk.sources import Source
from audioxai.bulk.streaming import Window, explain_long, target_scores
from audioxai.classifiers.latents import PROBE_SECONDS
from audioxai.classifiers.targets import TargetLike
from audioxai.errors import (
    AudioFileError,
    AudioXAIError,
    ClassifierError,
    ConfigError,
    InputError,
    MissingDependencyError,
    OutputError,
)
from audioxai.sound.containers import count_samples
from audioxai.sound.inputs import as_waveform
from audioxai.support.files import write_bytes

if TYPE_CHECKING:
    from audioxai.explainers.base import Explainer
    from audioxai.explainers.explanation import Explanation

__all__ = ["Shard", "Work"]

_NO_MEMORY = (MemoryError, torch.OutOfMemoryError)
# While a clip is read, before any network: what is not the clip's own fault.
_NOT_READING = (*_NO_MEMORY, OutputError, ConfigError, MissingDependencyError)
_DIGITS = 6  # of probabilities


@dataclass(frozen=True)
class Work:
    """What is done with every clip."""

    explainer: Explainer  # fitted
    source: Source
    target: TargetLike  # one for all
    longest: float  # recordings of more seconds are explained window by window
    window: float  # in s
    overlap: float  # in s


@dataclass(frozen=True)
class _Clip:
    """A clip in memory: its place in the source, and its waveform (T,)."""

    index: int
    name: str
    waveform: Tensor


class Shard:
    """A shard in the making.

    Args:
        work: what is done.
        file: of the tar, open for writing.
        folder: for temporary files.
        tick: called after each clip.
    """

    def __init__(self, work: Work, file: BinaryIO, folder: Path, tick: Callable[[], object]) -> None:
        self._work, self._folder, self._tick = work, folder, tick
        self._tar = ShardWriter(file)
        self._rows: dict[int, dict[str, Any]] = {}
        self._waiting: list[_Clip] = []
        self._rate = work.explainer.classifier.sample_rate

    def write(self, indices: Iterable[int]) -> list[dict[str, Any]]:
        """Explain clips of the source and write them all; a row of the index for each, in order."""
        for index in indices:
            self._take(index)
        self._flush()
        self._tar.close()
        return [self._rows[index] for index in sorted(self._rows)]

    def _take(self, index: int) -> None:
        name = self._work.source.name_of(index)
        try:
            entry = self._work.source.read(index)
            name, held, rate = entry.name, self._at_hand(entry.sound), entry.sample_rate or None
            long = _seconds(held, rate) > self._work.longest
            waveform = None if long else as_waveform(held, self._rate, rate)[0]
        except _NOT_READING as error:
            error.add_note(_stopped(name))
            raise
        except Exception as error:  # whatever is wrong with one clip must not lose the others
            self._fail(index, name, error)
            return
        if waveform is None:
            self._flush()
            try:
                self._explain_long(index, name, held if isinstance(held, Path) else self._as_file(held, rate))
            except Exception as error:
                self._blame(index, name, error)
            return
        clip = _Clip(index, name, waveform)
        if self._waiting and not self._fits(clip):
            self._flush()
        self._waiting.append(clip)

    def _fits(self, clip: _Clip) -> bool:
        """Whether a clip can share a batch with those that wait: of one length, and together no longer than a clip."""
        count = len(self._waiting) + 1
        return (
            len(clip.waveform) == len(self._waiting[0].waveform)
            and count <= self._work.explainer.max_batch
            and count * len(clip.waveform) <= self._work.longest * self._rate
        )

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch and not self._explain(batch) and len(batch) > 1:
            for clip in batch:
                self._explain([clip])

    def _explain(self, batch: list[_Clip]) -> bool:
        """Explain and write clips of one length; whether it worked. A clip that fails alone is noted."""
        waveforms, names = torch.stack([clip.waveform for clip in batch]), [clip.name for clip in batch]
        try:
            explanation = self._work.explainer.explain(waveforms, self._work.target, names=names)
            packed = [self._pack(clip, explanation[i]) for i, clip in enumerate(batch)]
        except Exception as error:
            if len(batch) == 1 or isinstance(error, _NO_MEMORY):
                self._blame(batch[0].index, batch[0].name, error)
            return False
        for clip, (meta, files) in zip(batch, packed, strict=True):
            self._add(clip.index, meta, files)
        return True

    def _pack(self, clip: _Clip, explanation: Explanation) -> tuple[dict[str, Any], dict[str, BinaryIO]]:
        """The JSON and the files of a clip that was explained in one piece."""
        files: dict[str, BinaryIO] = {"kept.flac": io.BytesIO(), "mask.npz": io.BytesIO(), "removed.flac": io.BytesIO()}
        levels = {}
        for which, sound in (("kept", explanation.waveform), ("removed", explanation.removed)):
            levels[which] = write_flac(files[f"{which}.flac"], sound[0].detach().cpu().numpy(), self._rate)
        with MaskWriter() as mask:
            mask.add(explanation.mask[0])
            mask.save(files["mask.npz"])
        scores, samples = target_scores(explanation), len(clip.waveform)
        return self._meta(clip.name, explanation.target_names[0], scores, samples, levels, ()), files

    def _explain_long(self, index: int, name: str, path: Path) -> None:
        work = self._work
        found = explain_long(work.explainer, path, self._folder, work.target, seconds=work.window, overlap=work.overlap)
        with ExitStack() as opened:
            files: dict[str, BinaryIO] = {}
            levels = {}
            for which, sound in (("kept", found.waveform), ("removed", found.removed)):
                files[f"{which}.flac"] = file = opened.enter_context((self._folder / f"{which}.flac").open("w+b"))
                levels[which] = write_flac(file, sound, self._rate)
            files["mask.npz"] = opened.enter_context(found.mask.open("rb"))
            targets = {window.target for window in found.windows}
            each = [window.scores for window in found.windows if window.scores is not None]
            scores = None
            if len(targets) == 1 and each:
                scores = tuple(np.mean(each, 0).tolist())
            target = targets.pop() if len(targets) == 1 else ""
            samples = count_samples(found.waveform)[0]
            self._add(index, self._meta(name, target, scores, samples, levels, found.windows), files)

    def _meta(
        self,
        name: str,
        target: str,
        scores: tuple[float, ...] | None,
        samples: int,
        levels: dict[str, float],
        windows: tuple[Window, ...],
    ) -> dict[str, Any]:
        explainer = self._work.explainer
        stft = getattr(explainer.space, "stft", None)
        return {
            "name": name,
            "target": target,
            "probabilities": _probabilities(scores),
            "seconds": samples / self._rate,
            "sample_rate": self._rate,
            "method": explainer.name,
            "space": explainer.space.name,
            "scale": explainer.space.scale,
            "stft": None if stft is None else stft.to_dict(),
            "levels": levels,
            "windows": [
                {"start": w.start, "end": w.end, "target": w.target, "probabilities": _probabilities(w.scores)}
                for w in windows
            ],
        }

    def _add(self, index: int, meta: dict[str, Any], files: dict[str, BinaryIO]) -> None:
        self._tar.add(key_of(index), meta, sorted(files.items()))
        plain = {name: meta[name] for name in ("name", "target", "seconds")}
        self._rows[index] = {"key": key_of(index), **plain, **(meta["probabilities"] or {})}
        self._tick()

    def _blame(self, index: int, name: str, error: Exception) -> None:
        """Note a clip that could not be explained, or stop the run if the fault is not the clip's."""
        own = isinstance(error, InputError | AudioFileError) or (isinstance(error, ClassifierError) and self._works())
        if not own:
            error.add_note(_stopped(name))
            raise error
        self._fail(index, name, error)

    def _works(self) -> bool:
        """Whether noise of some usual length can still be explained, so that a network failed at one clip alone."""
        for seconds in PROBE_SECONDS:
            noise = 0.1 * torch.randn(round(seconds * self._rate), generator=torch.Generator().manual_seed(0))
            with suppress(Exception):
                self._work.explainer.explain(noise, self._work.target)
                return True
        return False

    def _fail(self, index: int, name: str, error: Exception) -> None:
        reason = str(error) if isinstance(error, AudioXAIError) else f"{type(error).__name__}: {error}"
        reason = reason.replace(str(self._content), name)
        self._rows[index] = {"key": key_of(index), "name": name, "error": reason}
        self._tick()

    @property
    def _content(self) -> Path:
        """Where sounds go that are in no file of their own; one at a time."""
        return self._folder / "content"

    def _at_hand(self, sound: Path | bytes | Tensor) -> Path | Tensor:
        """A file, or samples (T,)."""
        if isinstance(sound, bytes):
            write_bytes(self._content, sound)
            return self._content
        if isinstance(sound, Tensor) and sound.ndim == 2:
            return sound.mean(int(np.argmin(sound.shape)))  # channels are the shorter side
        return sound

    def _as_file(self, samples: Tensor, rate: int | None) -> Path:
        import soundfile

        encoded = io.BytesIO()
        soundfile.write(encoded, samples.numpy(), rate or self._rate, "FLOAT", format="WAV")
        write_bytes(self._content, encoded.getvalue())
        return self._content


def _stopped(name: str) -> str:
    """What an error that stops the run also tells."""
    return f"at the clip {name!r}, whose shard is left unfinished; the same command goes on there"


def _seconds(held: Path | Tensor, rate: int | None) -> float:
    """Length of a sound; 0 for a file that cannot be read."""
    if isinstance(held, Tensor):
        return len(held) / rate if rate else 0.0
    try:
        samples, own = count_samples(held)
    except AudioFileError:  # what is wrong is told when it is read
        return 0.0
    return samples / own


def _probabilities(scores: Iterable[float] | None) -> dict[str, float] | None:
    if scores is None:
        return None
    return dict(zip(("input", "kept", "removed"), (round(float(score), _DIGITS) for score in scores), strict=True))
