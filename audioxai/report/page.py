"""One self-contained HTML page with players, pictures and scores: no network, no second file, safe for any name."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from audioxai.errors import InputError
from audioxai.report.parts import audio_address, data_address, page_text, templates
from audioxai.report.plot import Explained, overlay_png
from audioxai.support.files import write_bytes

__all__ = ["render", "write_page"]

_TOP = 5  # classes listed for each clip, the target besides
_LOADED = 8  # clips whose players load with the page; the others load when they come near the window
_MISSING = "–"


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
    places = [(explained, i) for explained in explanations for i in range(len(explained))]
    clips = [_clip(explained, i, number) for number, (explained, i) in enumerate(places, start=1)]
    mixed = len({(clip["method"], clip["space"]) for clip in clips}) > 1
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
    write_bytes(path, render(explanations, **parts).encode())


def _clip(explained: Explained, i: int, number: int) -> dict[str, Any]:
    """All that the page says about one clip."""
    name, target, method = (page_text(t) for t in (explained.names[i], explained.target_names[i], explained.method))
    classes, target_values = _score_table(explained, i)
    sounds, quieter = _sounds(explained, i)
    seconds = explained.input.shape[-1] / explained.sample_rate
    facts = {
        "Target": target,
        "Method": method,
        "Space": explained.space,
        "Scale": explained.scale,
        "Mask mean": f"{float(explained.mask[i].detach().float().mean()):.2f}",
        "Length": f"{seconds:.2f} s at {explained.sample_rate / 1000:g} kHz",
    }
    return {
        "number": number, "name": name, "target": target, "facts": list(facts.items()), "method": method,
        "space": explained.space, "approximate": explained.approximate, "quieter": quieter, "sounds": sounds,
        "wide": data_address("image/png", overlay_png(explained, i)),
        "stacked": data_address("image/png", overlay_png(explained, i, stacked=True)),
        "alt": f"{name}: spectrogram of the input, the mask for {target}, and spectrogram of what the mask keeps",
        "classes": classes, "target_values": target_values, "preload": "auto" if number <= _LOADED else "none",
    }  # fmt: skip


def _sounds(explained: Explained, i: int) -> tuple[list[dict[str, str]], str]:
    """The three players of a clip, and by how many dB all three were turned down so that none clips ("" if not)."""
    parts = (explained.input, explained.waveform, explained.removed)
    waves = [part[i].detach().float().cpu().nan_to_num() for part in parts]
    peak = max(float(wave.abs().amax()) for wave in waves)
    gain = 1.0 / peak if peak > 1.0 else 1.0
    decibel = -20 * math.log10(gain)
    sources = [audio_address(wave * gain, explained.sample_rate) for wave in waves]
    labels = ("Input", "Explanation", "Remainder")
    meanings = ("the clip", "what the mask keeps", "what it removes")
    words = zip("123", labels, meanings, sources, strict=True)
    sounds = [
        {"key": key, "label": label, "meaning": meaning, "source": source} for key, label, meaning, source in words
    ]
    return sounds, f"{decibel:.1f}" if decibel >= 0.05 else ""


def _score_table(explained: Explained, i: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows for the input's most probable classes and the target, and the target's own values."""
    scores = explained.scores
    table = torch.stack([part[i].detach().float().cpu() for part in (scores.input, scores.kept, scores.removed)])
    order = table[0].nan_to_num(nan=-1.0).argsort(descending=True, stable=True).tolist()
    target = None if explained.target is None else int(explained.target[i])
    shown = order[:_TOP] if target is None or target in order[:_TOP] else [*order[:_TOP], target]
    rows = []
    for k in shown:
        label = explained.labels[k] if explained.labels else f"class {k}"
        probabilities = [_value(p) for p in table[:, k].tolist()]
        rows.append({"name": page_text(label), "is_target": k == target, "probabilities": probabilities})
    own = [_value(math.nan)] * 3 if target is None else [_value(p) for p in table[:, target].tolist()]
    return rows, own


def _value(probability: float) -> dict[str, str]:
    """A probability as text, and as a bar's width in percent."""
    if not math.isfinite(probability):
        return {"text": _MISSING, "width": "0"}
    text = "<0.001" if 0 < probability < 0.0005 else f"{probability:.3f}"
    return {"text": text, "width": f"{100 * min(max(probability, 0.0), 1.0):.1f}"}
