"""One self-contained HTML page with players, pictures and scores: no network, no second file, safe for any name."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch

from audioxai.errors import InputError
from audioxai.report.parts import audio_address, data_address, page_text, templates
from audioxai.report.plot import Explained, overlay_png
from audioxai.support.files import write_whole

__all__ = ["render", "write_page"]

_TOP = 5  # classes listed for each clip, the target besides
_LOADED = 8  # clips whose players load with the page; the others load when they come near the window
_MISSING = "–"


@dataclass(frozen=True)
class _Sound:
    """A player: its key, its label, what it plays, and the sound as a data address."""

    key: str
    label: str
    meaning: str
    source: str


@dataclass(frozen=True)
class _Value:
    """A probability as text, and as a bar's width in percent."""

    text: str
    width: str


@dataclass(frozen=True)
class _Class:
    """One row of a score table: probabilities for input, kept and removed."""

    name: str
    is_target: bool
    values: list[_Value]


@dataclass(frozen=True)
class _Clip:
    """All that the page says about one clip."""

    number: int
    name: str
    target: str
    facts: list[tuple[str, str]]
    method: str
    space: str
    approximate: bool
    quieter: str
    sounds: list[_Sound]
    wide: str
    stacked: str
    alt: str
    classes: list[_Class]
    target_values: list[_Value]
    preload: str


def render(
    explanations: Sequence[Explained],
    *,
    title: str = "audioxai",
    tables: Sequence[tuple[str, Sequence[Mapping[str, str]], Sequence[str]]] = (),
    pictures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """The page as text.

    Args:
        explanations: explanations of any number of clips each; all clips appear in this order.
        title: heading of the page.
        tables: captions, rows, column to cell, and notes, shown below the clips.
        pictures: captions and PNGs, shown after the tables.

    Raises:
        InputError: there is no clip to show.
    """
    total = sum(map(len, explanations))
    if total == 0:
        raise InputError("there is no clip to show; give at least one explanation that holds a clip")
    clips: list[_Clip] = []
    for explained in explanations:
        for i in range(len(explained)):
            clips.append(_clip(explained, i, len(clips) + 1))
    mixed = len({(clip.method, clip.space) for clip in clips}) > 1
    log1p = any(explained.scale == "log1p" for explained in explanations)
    page = templates().get_template("page.html")
    return page.render(
        title=page_text(title),
        clips=clips,
        mixed=mixed,
        log1p=log1p,
        top=_TOP,
        tables=[
            (page_text(caption), list(rows), [page_text(note) for note in notes]) for caption, rows, notes in tables
        ],
        pictures=[(page_text(caption), data_address("image/png", png)) for caption, png in pictures],
    )


def write_page(explanations: Sequence[Explained], path: str | os.PathLike[str], **parts: Any) -> None:
    """Write the page to ``path``, whole or not at all.

    Args:
        explanations: see :func:`render`.
        path: the HTML file; its folder is created.
        **parts: ``title``, ``tables`` and ``pictures`` of :func:`render`.

    Raises:
        InputError: there is no clip to show.
        OutputError: the file could not be written.
    """
    page = render(explanations, **parts).encode()

    def write(file: BinaryIO) -> None:
        file.write(page)

    write_whole(path, write)


def _clip(explained: Explained, i: int, number: int) -> _Clip:
    name, target = page_text(explained.names[i]), page_text(explained.target_names[i])
    classes, target_values = _score_table(explained, i)
    sounds, quieter = _sounds(explained, i)
    mask = explained.mask[i].detach().float()
    seconds = explained.input.shape[-1] / explained.sample_rate
    facts = [
        ("Target", target),
        ("Method", page_text(explained.method)),
        ("Space", explained.space),
        ("Scale", explained.scale),
        ("Mask mean", f"{float(mask.mean()):.2f}"),
        ("Length", f"{seconds:.2f} s at {explained.sample_rate / 1000:g} kHz"),
    ]
    return _Clip(
        number=number,
        name=name,
        target=target,
        facts=facts,
        method=page_text(explained.method),
        space=explained.space,
        approximate=explained.approximate,
        quieter=quieter,
        sounds=sounds,
        wide=data_address("image/png", overlay_png(explained, i)),
        stacked=data_address("image/png", overlay_png(explained, i, stacked=True)),
        alt=f"{name}: spectrogram of the input, the mask for {target}, and spectrogram of what the mask keeps",
        classes=classes,
        target_values=target_values,
        preload="auto" if number <= _LOADED else "none",
    )


def _sounds(explained: Explained, i: int) -> tuple[list[_Sound], str]:
    """The three players of a clip, and by how many dB all three were turned down so that none clips ("" if not)."""
    parts = (explained.input, explained.waveform, explained.removed)
    waves = [part[i].detach().float().cpu().nan_to_num() for part in parts]
    peak = max(float(wave.abs().amax()) for wave in waves)
    gain = 1.0 / peak if peak > 1.0 else 1.0
    decibel = -20 * math.log10(gain)
    sources = [audio_address(wave * gain, explained.sample_rate) for wave in waves]
    labels = ("Input", "Explanation", "Remainder")
    meanings = ("the clip", "what the mask keeps", "what it removes")
    sounds = [_Sound(*words) for words in zip("123", labels, meanings, sources, strict=True)]
    return sounds, f"{decibel:.1f}" if decibel >= 0.05 else ""


def _score_table(explained: Explained, i: int) -> tuple[list[_Class], list[_Value]]:
    """Rows for the input's most probable classes and the target, and the target's own values."""
    scores = explained.scores
    table = torch.stack([part[i].detach().float().cpu() for part in (scores.input, scores.kept, scores.removed)])
    order = table[0].nan_to_num(nan=-1.0).argsort(descending=True, stable=True).tolist()
    target = None if explained.target is None else int(explained.target[i])
    shown = order[:_TOP] if target is None or target in order[:_TOP] else [*order[:_TOP], target]
    rows = []
    for k in shown:
        label = explained.labels[k] if explained.labels else f"class {k}"
        rows.append(_Class(page_text(label), k == target, [_value(p) for p in table[:, k].tolist()]))
    own = [_value(math.nan)] * 3 if target is None else [_value(p) for p in table[:, target].tolist()]
    return rows, own


def _value(probability: float) -> _Value:
    if not math.isfinite(probability):
        return _Value(_MISSING, "0")
    text = "<0.001" if 0 < probability < 0.0005 else f"{probability:.3f}"
    return _Value(text, f"{100 * min(max(probability, 0.0), 1.0):.1f}")
