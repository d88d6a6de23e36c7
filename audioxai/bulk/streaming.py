"""Recordings of any length, explained window by window from disk to disk, in memory that does not grow with them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from audioxai.bulk.mask_files import Fader, MaskWriter
from audioxai.classifiers.targets import TargetLike
from audioxai.errors import ConfigError
from audioxai.explainers.explanation import Explanation
from audioxai.sound.containers import count_samples, cut_short, open_audio
from audioxai.sound.dsp import resample
from audioxai.support.files import write_whole

if TYPE_CHECKING:
    from audioxai.explainers.base import Explainer

__all__ = ["LongExplanation", "Window", "check_windows", "explain_long", "target_scores"]

_MARGIN = 0.05  # seconds that resampling a window may look beyond it


@dataclass(frozen=True)
class Window:
    """One window of a long recording.

    Args:
        start: in s.
        end: in s.
        target: name of what is explained there.
        scores: its probability in the window, in what is kept and in what is removed; ``None`` if it is no one class.
    """

    start: float
    end: float
    target: str
    scores: tuple[float, float, float] | None


@dataclass(frozen=True)
class LongExplanation:
    """Where the sounds of a long recording are, and what was explained when.

    Args:
        waveform: WAV file (32-bit float, at the classifier's rate) of what is kept.
        removed: WAV file of what is removed.
        mask: ``.npz`` file of the mask of the whole recording, cross-faded as the sounds; see :func:`read_mask
            <audioxai.bulk.mask_files.read_mask>`.
        windows: in the order of time.
    """

    waveform: Path
    removed: Path
    mask: Path
    windows: tuple[Window, ...]


def explain_long(
    explainer: Explainer,
    path: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    target: TargetLike = None,
    *,
    seconds: float = 10.0,
    overlap: float = 1.0,
) -> LongExplanation:
    """Explain a recording window by window: ``explanation.wav``, ``removed.wav`` and ``mask.npz``, cross-faded.

    The weights of two windows add up to 1 where they overlap, so what is kept and removed adds up to what it does in
    each window. The target is asked in every window: with ``None``, each window explains its own predicted class.

    Args:
        explainer: fitted; any that gives sounds.
        path: of an audio file of any rate and length.
        folder: where the files go; each is written whole or not at all.
        target: one for all windows, see :mod:`audioxai.classifiers.targets`.
        seconds: of a window; the last one may be half as long again.
        overlap: of two windows in s, at most half of ``seconds``.

    Raises:
        ConfigError: lengths out of range.
        AudioFileError: no audio file, or one that is cut short.
        OutputError: a file could not be written.
    """
    check_windows(seconds, overlap)
    rate, folder = explainer.classifier.sample_rate, Path(folder)
    places = folder / "explanation.wav", folder / "removed.wav", folder / "mask.npz"
    windows: list[Window] = []

    def work(kept_file: BinaryIO, removed_file: BinaryIO, mask_file: BinaryIO) -> None:
        fader, mask_fader = Fader(), Fader()
        with _wav(kept_file, rate) as kept, _wav(removed_file, rate) as removed, MaskWriter(folder) as masks:
            for start, fade, waveform in _windows(Path(path), rate, seconds, overlap):
                explanation = explainer.explain(waveform, target)
                windows.append(_window(explanation, start / rate, rate))
                mask, place = explanation.mask[0].detach().cpu(), (start, start + explanation.input.shape[1], fade)
                masks.add(mask_fader.add(mask, *place, explanation.stft))
                sounds = torch.stack([explanation.waveform[0], explanation.removed[0]]).cpu()
                _write(fader.add(sounds, *place), kept, removed)
            _write(fader.tail, kept, removed)
            masks.add(mask_fader.tail)
            masks.save(mask_file)

    def open_all(paths: Sequence[Path], *files: BinaryIO) -> None:
        if paths:
            write_whole(paths[0], lambda file: open_all(paths[1:], *files, file))
        else:
            work(*files)

    open_all(places)
    return LongExplanation(*places, tuple(windows))


def check_windows(seconds: float, overlap: float) -> None:
    """Refuse windows that make no sense.

    Raises:
        ConfigError: they are not in 0 <= overlap <= seconds / 2.
    """
    if not (0 <= overlap <= seconds / 2 and seconds > 0):
        raise ConfigError(f"seconds={seconds}, overlap={overlap}: windows need 0 <= overlap <= seconds / 2")


def _windows(path: Path, rate: int, seconds: float, overlap: float) -> Iterator[tuple[int, tuple[int, int], Tensor]]:
    """Start in samples, overlaps with the windows before and after, and the waveform (T,), all at ``rate``."""
    with open_audio(path) as (file, announced):
        own, total = int(file.samplerate), count_samples(path)[0] if announced is None else announced
        grid = math.gcd(own, rate)  # moments that are whole samples at both rates, this many a second
        window = max(2, round(seconds * grid))
        shared = min(round(overlap * grid), window // 2)
        margin = 0 if own == rate else math.ceil(_MARGIN * grid)
        source = _Source(file, total, own // grid, path)
        places = _places(total / (own // grid), window, shared)
        for number, (start, end) in enumerate(places):
            before = min(start, margin)
            samples = source.read(start - before, None if end is None else end + margin)
            waveform = resample(samples, own, rate)[before * (rate // grid) :]
            if end is not None:
                waveform = waveform[: (end - start) * (rate // grid)]
            first, last = (shared if there else 0 for there in (number > 0, end is not None))
            yield start * (rate // grid), (first * (rate // grid), last * (rate // grid)), waveform


def _places(total: float, window: int, shared: int) -> list[tuple[int, int | None]]:
    """Starts and ends of windows over ``total`` units; the last has no end, and is at least half a window long."""
    hop = window - shared
    count = max(1, math.ceil((total - window / 2 - shared) / hop)) if total > 1.5 * window else 1
    starts = [hop * i for i in range(count)]
    return [(start, start + window) for start in starts[:-1]] + [(starts[-1], None)]


class _Source:
    """A file read once from start to end, in parts that may overlap; only the last part is held.

    Args:
        file: open.
        total: its samples.
        unit: frames of a unit of time.
        path: for messages.
    """

    def __init__(self, file: Any, total: int, unit: int, path: Path) -> None:
        self.file, self.total, self.unit, self.path = file, total, unit, path
        self.start = 0  # in frames, of what is held
        self.held = np.zeros(0, dtype=np.float32)

    def read(self, start: int, end: int | None) -> Tensor:
        """Samples (T,), the mean over channels, from ``start`` to ``end`` in units, or to the end of the file."""
        first = start * self.unit
        last = self.total if end is None else min(end * self.unit, self.total)
        self.held, self.start = self.held[first - self.start :], first
        missing = last - first - len(self.held)
        if missing > 0:
            block = self.file.read(missing, dtype="float32", always_2d=True)
            if len(block) < missing:
                raise cut_short(self.path, self.total, first + len(self.held) + len(block))
            self.held = np.concatenate([self.held, block.mean(1, dtype=np.float32)])
        return torch.from_numpy(self.held[: last - first].copy())


def _window(explanation: Explanation, start: float, rate: int) -> Window:
    end = start + explanation.input.shape[1] / rate
    return Window(start, end, explanation.target_names[0], target_scores(explanation))


def target_scores(explanation: Explanation) -> tuple[float, float, float] | None:
    """Probability of the first clip's target in the clip, in what is kept and in what is removed."""
    if explanation.target is None:
        return None
    k, scores = int(explanation.target[0]), explanation.scores
    return float(scores.input[0, k]), float(scores.kept[0, k]), float(scores.removed[0, k])


def _wav(file: BinaryIO, rate: int) -> Any:
    import soundfile

    return soundfile.SoundFile(file.fileno(), "w", rate, 1, "FLOAT", format="WAV", closefd=False)


def _write(sounds: Tensor, *files: Any) -> None:
    for sound, file in zip(sounds, files, strict=True):
        try:
            file.write(sound.numpy())
        except (AssertionError, RuntimeError) as error:  # how soundfile reports a full disk
            raise OSError(f"the sound could not be written ({str(error) or 'disk full?'})") from error
