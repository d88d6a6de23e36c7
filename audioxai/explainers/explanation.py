"""Explanation: what an explainer returns; it iterates as (mask, waveform), and can play, plot, save and show itself."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from audioxai.errors import InputError, OutputError
from audioxai.sound.dsp import STFT
from audioxai.sound.files import save as save_audio
from audioxai.support.files import folder_names, write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Explanation", "Scores"]

_FORMAT = 1
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)


class Scores(NamedTuple):
    """Probabilities (B, K) of the input, of what the mask keeps and of what it removes."""

    input: Tensor
    kept: Tensor
    removed: Tensor


@dataclass(frozen=True, repr=False, eq=False)  # compared and hashed as objects: tensors have no one truth
class Explanation:
    """Masks and sounds for B clips.

    Attributes:
        mask: (B, F, N), (B, M, N) or (B, T) in [0, 1].
        waveform: (B, T), the sound of what the mask keeps.
        input: (B, T), the clip.
        target: (B,) explained class per clip, or ``None`` when the target was no single class.
        target_names: one name per clip.
        labels: the classifier's labels, or ``None``.
        method: name of the explainer.
        space: ``"stft"``, ``"mel"`` or ``"waveform"``.
        scale: what the mask multiplies, ``"log1p"`` or ``"magnitude"``.
        normalise: how the attribution became a mask; ``"none"`` when the method yields masks.
        sample_rate: in Hz.
        approximate: the sound only approximates the mask (mel space).
        stft: the transform behind the mask, or ``None``.
        attribution: signed map shaped like the mask, or ``None`` when the method yields masks.
        multilabel: the scores are sigmoids, one a class, not shares of one.
        synthesised: scores are those of the sounds: the method made them itself, and the mask only describes what is
            kept; or it was asked for with ``heard=True``.
        names: one name per clip, such as its file.

    :attr:`removed` and :attr:`scores` are computed when first asked for; the classifier's weights must be unchanged
    until then, while a zero-shot classifier may take other prompts.
    """

    mask: Tensor
    waveform: Tensor
    input: Tensor
    target: Tensor | None
    target_names: list[str]
    labels: tuple[str, ...] | None
    method: str
    space: str
    scale: str
    normalise: str
    sample_rate: int
    approximate: bool = False
    stft: STFT | None = None
    attribution: Tensor | None = None
    multilabel: bool = False
    synthesised: bool = False
    names: list[str] = field(default_factory=list)
    _removed: Callable[[], Tensor] | None = None
    _scores: Callable[[], Scores] | None = None
    _cache: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            object.__setattr__(self, "names", [f"clip {i}" for i in range(len(self.mask))])

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copies: all is computed, and the classifier is left behind."""
        cache = {"removed": self.removed, "scores": self.scores}
        return {**self.__dict__, "_removed": None, "_scores": None, "_cache": cache}

    @property
    def removed(self) -> Tensor:
        """(B, T), the sound of what the mask leaves out."""
        if "removed" not in self._cache:
            assert self._removed is not None
            self._cache["removed"] = self._removed()
            object.__setattr__(self, "_removed", None)  # and with it what it was made from
        removed: Tensor = self._cache["removed"]
        return removed

    @property
    def scores(self) -> Scores:
        """Probabilities for input, kept and removed, each (B, K), as the classifier sees them through the mask."""
        if "scores" not in self._cache:
            assert self._scores is not None
            self._cache["scores"] = self._scores()
            object.__setattr__(self, "_scores", None)
        scores: Scores = self._cache["scores"]
        return scores

    def __iter__(self) -> Iterator[Tensor]:
        """``mask, waveform = explanation``."""
        return iter((self.mask, self.waveform))

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, index: int) -> Explanation:
        """The explanation of one clip, still with B = 1."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        at = slice(index % len(self), index % len(self) + 1)
        values: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            per_clip = isinstance(value, Tensor) or entry.name in ("target_names", "names")
            values[entry.name] = value[at] if per_clip else value
        cache = {"removed": self.removed[at], "scores": Scores(*(s[at] for s in self.scores))}
        return Explanation(**{**values, "_removed": None, "_scores": None, "_cache": cache})

    def __repr__(self) -> str:
        clips = ", ".join(f"{n}: {t}" for n, t in list(zip(self.names, self.target_names, strict=True))[:3])
        more = ", ..." if len(self) > 3 else ""
        return f"Explanation({self.method}, {self.space}, {self.scale}, mask {tuple(self.mask.shape)}, {clips}{more})"

    def _repr_html_(self) -> str:
        from audioxai.report import render

        page = render([self])
        quoted = page.replace("&", "&amp;").replace('"', "&quot;")
        height = 740 * len(self) + 320
        return f'<iframe srcdoc="{quoted}" style="width:100%;height:{height}px;border:0"></iframe>'

    def _repr_png_(self) -> bytes:
        """The first clip's picture, for notebooks that are shown where no frame is."""
        from audioxai.report.plot import overlay_png

        return overlay_png(self)

    def plot(self, index: int = 0) -> Figure:
        """A picture of one clip: the input, the mask over it, what is kept."""
        from audioxai.report.plot import plot_clip

        return plot_clip(self, index)

    def to_html(self, path: str | os.PathLike[str], *, title: str = "audioxai") -> Path:
        """Write one self-contained page with players, pictures and scores; returns its path."""
        from audioxai.report import write_page

        write_page([self], path, title=title)
        return Path(path)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write, per clip, ``mask.npz`` (all arrays), ``input.wav``, ``explanation.wav``, ``removed.wav``,
        ``picture.png`` and ``explanation.json`` in a folder named after it.

        Args:
            folder: created if needed; a clip that was saved there before is replaced, file by file.

        Returns:
            The folder.

        Raises:
            OutputError: a file could not be written; none is left half-written.
        """
        from audioxai.report.plot import figure_png

        folder = Path(folder)
        for i, place in enumerate(folder_names(self.names)):
            one, here = self[i], folder / place
            arrays = {
                "mask": one.mask,
                "waveform": one.waveform,
                "input": one.input,
                "removed": one.removed,
                **{f"scores_{name}": value for name, value in one.scores._asdict().items()},
            }
            if one.attribution is not None:
                arrays["attribution"] = one.attribution
            if one.target is not None:
                arrays["target"] = one.target
            plain = {name: value[0].detach().cpu().numpy() for name, value in arrays.items()}
            for name in ("input", "waveform", "removed"):
                file = "explanation" if name == "waveform" else name
                save_audio(here / f"{file}.wav", arrays[name][0], self.sample_rate)
            packed = io.BytesIO()
            np.savez_compressed(packed, **plain)
            write_bytes(here / "mask.npz", packed.getvalue())
            write_bytes(here / "picture.png", figure_png(one.plot()))
            meta = {**one._meta(), "position": i, "target": None if one.target is None else int(one.target[0])}
            classes = one.labels or [f"class {k}" for k in range(one.scores.input.shape[1])]
            meta["probabilities"] = {
                name: dict(zip(classes, value[0].tolist(), strict=True)) for name, value in one.scores._asdict().items()
            }
            write_bytes(here / "explanation.json", json.dumps(meta, indent=2).encode())
        return folder

    def _meta(self) -> dict[str, Any]:
        plain = (
            "target_names",
            "labels",
            "method",
            "space",
            "scale",
            "normalise",
            "sample_rate",
            "approximate",
            "multilabel",
            "synthesised",
            "names",
        )
        meta = {name: getattr(self, name) for name in plain}
        return {"format": _FORMAT, **meta, "stft": None if self.stft is None else self.stft.to_dict()}

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Explanation:
        """Read what :meth:`save` wrote: one clip's folder, or a folder of clips of equal size, in their saved order.

        Raises:
            OutputError: nothing was saved there, or it cannot be read.
            InputError: the clips differ in size or settings; load them one by one.
        """
        folder = Path(folder)
        places = (
            [folder]
            if (folder / "explanation.json").is_file()
            else sorted(p.parent for p in folder.glob("*/explanation.json"))
        )
        if not places:
            raise OutputError(f"no saved explanation in {str(folder)!r}: expected explanation.json there or one below")
        loaded = sorted((cls._load_one(place) for place in places), key=lambda pair: pair[0])
        clips = [clip for _, clip in loaded]
        if len(clips) == 1:
            return clips[0]
        first = clips[0]
        settings = [
            {k: v for k, v in c._meta().items() if k not in ("names", "target_names")}
            | {name: getattr(c, name) is None for name in ("target", "attribution")}
            for c in clips
        ]
        if any(c.mask.shape != first.mask.shape or s != settings[0] for c, s in zip(clips, settings, strict=True)):
            raise InputError(f"the clips in {str(folder)!r} differ in size or settings; load each clip's own folder")

        def join(name: str) -> Tensor | None:
            values = [getattr(c, name) for c in clips]
            return None if values[0] is None else torch.cat(values)

        values = {f.name: getattr(first, f.name) for f in fields(cls)}
        values |= {name: join(name) for name in ("mask", "waveform", "input", "target", "attribution")}
        values |= {name: [getattr(c, name)[0] for c in clips] for name in ("names", "target_names")}
        scores = Scores(*(torch.cat(parts) for parts in zip(*(c.scores for c in clips), strict=True)))
        return cls(**{**values, "_cache": {"removed": join("removed"), "scores": scores}})

    @classmethod
    def _load_one(cls, folder: Path) -> tuple[int, Explanation]:
        """A clip and its position in the batch that was saved."""
        try:
            meta = json.loads((folder / "explanation.json").read_text())
            with np.load(folder / "mask.npz", allow_pickle=False) as stored:
                arrays = {name: torch.from_numpy(stored[name])[None] for name in stored.files}
            if meta.pop("format") != _FORMAT:
                raise OutputError(f"{str(folder)!r} was saved by another version; save it again with this one")
            position = int(meta.pop("position", 0))
            for told in ("target", "probabilities"):  # for people; the arrays have them too
                meta.pop(told, None)
            scores = Scores(arrays["scores_input"], arrays["scores_kept"], arrays["scores_removed"])
            meta["labels"] = None if meta["labels"] is None else tuple(meta["labels"])
            meta["stft"] = None if meta["stft"] is None else STFT(**meta["stft"])
            values = {name: arrays[name] for name in ("mask", "waveform", "input")} | meta
            values |= {name: arrays.get(name) for name in ("target", "attribution")}
            return position, cls(**values, _cache={"removed": arrays["removed"], "scores": scores})
        except _UNREADABLE as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"the explanation saved in {str(folder)!r} cannot be read: {error}") from error
