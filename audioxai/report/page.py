"""One self-contained HTML page with players, pictures and scores: no network, no second file, safe for any name."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from audioxai.audio import write_whole
from audioxai.errors import InputError
from audioxai.plot import Explained, overlay_png

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["render", "write_page"]

_TOP = 5  # classes listed for each clip, the target besides
_LOADED = 8  # clips whose players load with the page; the others load when they come near the window
_WAV_SECONDS = 30.0  # longer clips are embedded as FLAC
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
    tables: Sequence[tuple[str, Sequence[Mapping[str, str]]]] = (),
    pictures: Sequence[tuple[str, bytes]] = (),
) -> str:
    """The page as text.

    Args:
        explanations: explanations of any number of clips each; all clips appear in this order.
        title: heading of the page.
        tables: captions and rows, column to cell, shown below the clips.
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
    page = _environment().get_template("page.html")
    return page.render(
        title=_text(title),
        clips=clips,
        mixed=mixed,
        log1p=log1p,
        top=_TOP,
        tables=[(_text(caption), list(rows)) for caption, rows in tables],
        pictures=[(_text(caption), _data_address("image/png", png)) for caption, png in pictures],
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


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("audioxai.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["csp_hash"] = _csp_hash
    return environment


def _csp_hash(code: str) -> str:
    """The source expression that lets exactly this script or style run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def _clip(explained: Explained, i: int, number: int) -> _Clip:
    name, target = _text(explained.names[i]), _text(explained.target_names[i])
    classes, target_values = _score_table(explained, i)
    sounds, quieter = _sounds(explained, i)
    mask = explained.mask[i].detach().float()
    seconds = explained.input.shape[-1] / explained.sample_rate
    facts = [
        ("Target", target),
        ("Method", _text(explained.method)),
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
        method=_text(explained.method),
        space=explained.space,
        approximate=explained.approximate,
        quieter=quieter,
        sounds=sounds,
        wide=_data_address("image/png", overlay_png(explained, i)),
        stacked=_data_address("image/png", overlay_png(explained, i, stacked=True)),
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
    sources = [_audio_address(wave * gain, explained.sample_rate) for wave in waves]
    labels = ("Input", "Explanation", "Remainder")
    meanings = ("the clip", "what the mask keeps", "what it removes")
    sounds = [_Sound(*words) for words in zip("123", labels, meanings, sources, strict=True)]
    return sounds, f"{decibel:.1f}" if decibel >= 0.05 else ""


def _audio_address(wave: Tensor, sample_rate: int) -> str:
    """A waveform (T,) within ±1 as 16-bit WAV, or as FLAC when it is long."""
    import soundfile

    kind = "FLAC" if len(wave) / sample_rate > _WAV_SECONDS else "WAV"
    buffer = io.BytesIO()
    soundfile.write(buffer, wave.numpy(), sample_rate, "PCM_16", format=kind)
    return _data_address(f"audio/{kind.lower()}", buffer.getvalue())


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
        rows.append(_Class(_text(label), k == target, [_value(p) for p in table[:, k].tolist()]))
    own = [_value(math.nan)] * 3 if target is None else [_value(p) for p in table[:, target].tolist()]
    return rows, own


def _value(probability: float) -> _Value:
    if not math.isfinite(probability):
        return _Value(_MISSING, "0")
    text = "<0.001" if 0 < probability < 0.0005 else f"{probability:.3f}"
    return _Value(text, f"{100 * min(max(probability, 0.0), 1.0):.1f}")


def _data_address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _text(value: str) -> str:
    """A name as valid Unicode: file names that are no UTF-8 come with lone surrogates, which no page can hold."""
    return value.encode("utf-8", "replace").decode()
