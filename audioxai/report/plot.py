"""Pictures of explanations: spectrograms with the mask over them.

matplotlib is imported on use. Every function builds its own Figure, so no window, backend or global state is touched.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d

from audioxai.errors import InputError
from audioxai.sound.dsp import STFT, stft
from audioxai.sound.frontends import default_stft

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

__all__ = ["Explained", "Heard", "Probabilities", "figure_png", "overlay_png", "plot_clip", "plot_methods"]

_FLOOR_DB = -80.0  # relative to the loudest cell of the input
_COLUMNS = 1200  # a picture has no more columns than this; longer clips are averaged
_COMPACT_BYTES = 150_000
_ALPHA = 0.6  # of a mask over the grey spectrogram
# Left, bottom, width and height of the compact picture's panels: fixed, since a layout engine takes most of the time.
_BESIDE = ((0.037, 0.14, 0.27, 0.77), (0.362, 0.14, 0.27, 0.77), (0.715, 0.14, 0.27, 0.77))
_STACKED = ((0.12, 0.72, 0.75, 0.245), (0.12, 0.39, 0.75, 0.245), (0.12, 0.06, 0.75, 0.245))


class Probabilities(Protocol):
    """Class probabilities (B, K) of the input, of what the mask keeps and of what it removes."""

    @property
    def input(self) -> Tensor: ...
    @property
    def kept(self) -> Tensor: ...
    @property
    def removed(self) -> Tensor: ...


class Heard(Protocol):
    """What a listening test needs of an explanation of B clips; waveforms are (B, T)."""

    @property
    def input(self) -> Tensor: ...
    @property
    def waveform(self) -> Tensor: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def target_names(self) -> list[str]: ...
    @property
    def sample_rate(self) -> int: ...
    def __len__(self) -> int: ...


class Explained(Heard, Protocol):
    """What pictures and pages need of an explanation, besides.

    ``mask`` is (B, F, N) for ``space`` "stft", (B, M, N) for "mel", (B, T) for "waveform"; ``target`` (B,) holds class
    numbers or is ``None``. A mel explanation may also carry its filters as ``mel_bank`` (F, M);
    its mask is then drawn over the mel spectrogram, else alone.
    """

    @property
    def removed(self) -> Tensor: ...
    @property
    def mask(self) -> Tensor: ...
    @property
    def target(self) -> Tensor | None: ...
    @property
    def labels(self) -> tuple[str, ...] | None: ...
    @property
    def scores(self) -> Probabilities: ...
    @property
    def method(self) -> str: ...
    @property
    def space(self) -> str: ...
    @property
    def scale(self) -> str: ...
    @property
    def approximate(self) -> bool: ...
    @property
    def stft(self) -> STFT | None: ...


def plot_clip(explained: Explained, i: int = 0) -> Figure:
    """Three panels for one clip: the input's spectrogram, the mask over it, the spectrogram of what is kept.

    Levels are in dB relative to the input's loudest cell in both spectrograms. A waveform mask is drawn as a gain
    curve over the waveform.

    Args:
        explained: explanation of B clips.
        i: which clip.
    """
    from matplotlib.figure import Figure

    i = _index(explained, i)
    figure = Figure(figsize=(9, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    facts = f"target {explained.target_names[i]}, {explained.method}, {explained.space} space, scale {explained.scale}"
    title = f"{_short(explained.names[i], 80)}\n{_short(facts, 110)}"
    figure.suptitle(title, fontsize="large", parse_math=False)
    for axes, sound, name in ((top, explained.input, "input"), (bottom, explained.waveform, "kept")):
        image = _spectrogram(axes, explained, i, sound)
        figure.colorbar(image, ax=axes, label="dB", pad=0.01)
        axes.set(title=name, ylabel="frequency (kHz)")
    mask = _mask(middle, explained, i)
    middle.set_title(_mask_title(explained))
    middle.set_ylabel(_mask_axis(explained))
    if mask is not None:
        figure.colorbar(_opaque(mask), ax=middle, label="mask", pad=0.01)
    bottom.set_xlabel("time (s)")
    return figure


def plot_methods(explanations: Sequence[Explained], i: int = 0, *, columns: int = 4) -> Figure:
    """The masks of several explanations of the same clip side by side, after the clip's own spectrogram.

    Args:
        explanations: one per method or space, of the same B clips.
        i: which clip.
        columns: panels in a row.
    """
    from matplotlib.figure import Figure

    if not explanations:
        raise InputError("there is no explanation to draw; pass at least one")
    first = explanations[0]
    i = _index(first, i)
    rows = -(-(len(explanations) + 1) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.2 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    figure.suptitle(f"{_short(first.names[i], 80)}, target {_short(first.target_names[i], 40)}", parse_math=False)
    _spectrogram(panels[0], first, i, first.input)
    panels[0].set_title("input", fontsize=9)
    for axes, explained in zip(panels[1:], explanations, strict=False):
        _mask(axes, explained, _index(explained, i), 8.0)
        mean = float(explained.mask[i].mean())
        axes.set_title(_short(f"{explained.method}, {explained.space}, mean {mean:.2f}", 60), fontsize=9)
    for axes in panels[len(explanations) + 1 :]:
        axes.set_axis_off()
    for axes in panels:
        axes.tick_params(labelsize=7, length=2, pad=2)
    return figure


def overlay_png(explained: Explained, i: int = 0, *, stacked: bool = False) -> bytes:
    """A compact picture of one clip for a page: spectrogram, mask over it, what is kept.

    Args:
        explained: explanation of B clips.
        i: which clip.
        stacked: panels below each other, 420 x 720 pixels for a narrow screen, in place of 900 x 300.

    Returns:
        PNG bytes, at most 150 kB.
    """
    from matplotlib.figure import Figure

    i = _index(explained, i)
    font = 10.5 if stacked else 8.5
    figure = Figure(figsize=(4.2, 7.2) if stacked else (9.0, 3.0), dpi=100, facecolor="white")
    panels = [figure.add_axes(place) for place in (_STACKED if stacked else _BESIDE)]
    _spectrogram(panels[0], explained, i, explained.input)
    mask = _mask(panels[1], explained, i, font)
    _spectrogram(panels[2], explained, i, explained.waveform)
    labels = ("kHz", {"mel": "mel band", "waveform": ""}.get(explained.space, "kHz"), "kHz")
    for axes, title, label in zip(panels, ("input", _mask_title(explained), "kept"), labels, strict=True):
        axes.set_title(title, fontsize=font + 1)
        axes.set_ylabel(label, fontsize=font, labelpad=1)
        axes.tick_params(labelsize=font - 0.5, length=2, pad=2)
    for axes in panels[-1:] if stacked else panels:
        axes.set_xlabel("s", fontsize=font, labelpad=1)
    if mask is not None:
        bar = figure.colorbar(_opaque(mask), cax=panels[1].inset_axes((1.02, 0, 0.04, 1)), ticks=[0, 0.5, 1])
        bar.ax.tick_params(labelsize=font - 0.5, length=2, pad=2)
    return _compact(figure)


def figure_png(figure: Figure, dpi: float = 100.0) -> bytes:
    """A figure as PNG bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # names may hold signs that the font lacks; they are drawn as boxes
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _compact(figure: Figure) -> bytes:
    """PNG bytes, in as many colours as the limit allows."""
    from PIL import Image

    raw = io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=100)
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    full = Image.frombytes("RGBA", (width, height), raw.getvalue()).convert("RGB")
    data = b""
    for colours in (None, 256, 128, 64, 32, 16):
        picture = full if colours is None else full.quantize(colours, Image.Quantize.FASTOCTREE)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        data = buffer.getvalue()
        if len(data) <= _COMPACT_BYTES:
            break
    return data


def _spectrogram(axes: Axes, explained: Explained, i: int, sound: Tensor) -> AxesImage:
    """Draw sound (B, T) of clip i in dB, low frequencies at the bottom."""
    reference = float(_power(explained, explained.input[i]).amax())
    return _image(axes, explained, _decibel(_power(explained, sound[i]), reference), "magma", (_FLOOR_DB, 0.0))


def _mask(axes: Axes, explained: Explained, i: int, font: float = 10.0) -> AxesImage | None:
    """Draw the mask of clip i over the input; ``None`` when it is a curve and needs no colour bar."""
    mask = explained.mask[i].detach().float().cpu()
    if mask.ndim == 1:
        _gain_curve(axes, explained, i, mask, font)
        return None
    mel = explained.space == "mel"
    power: Tensor | None = _power(explained, explained.input[i])
    if mel:
        bank: Tensor | None = getattr(explained, "mel_bank", None)
        power = None if bank is None or power is None else bank.detach().cpu().T @ power
    if power is not None:
        _image(axes, explained, _decibel(power, float(power.amax())), "gray", (_FLOOR_DB, 0.0), mel)
    return _image(axes, explained, mask, "viridis", (0.0, 1.0), mel, alpha=None if power is None else _ALPHA)


def _image(
    axes: Axes,
    explained: Explained,
    values: Tensor,
    cmap: str,
    limits: tuple[float, float],
    mel: bool = False,
    alpha: float | None = None,
) -> AxesImage:
    """Draw values (F, N) on a time axis in s and a frequency axis in kHz, or in bands M."""
    rows, frames = values.shape
    seconds = explained.input.shape[-1] / explained.sample_rate
    nyquist = explained.sample_rate / 2000
    left, right = _edges(explained, frames, seconds)
    half = nyquist / max(rows - 1, 1) / 2
    lower, upper = (-0.5, rows - 0.5) if mel else (-half, nyquist + half)
    if frames > _COLUMNS:
        values = adaptive_avg_pool1d(values, _COLUMNS)
    image = axes.imshow(
        values.numpy(),
        origin="lower",
        aspect="auto",
        extent=(left, right, lower, upper),
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
        alpha=alpha,
    )
    axes.set(facecolor="black", xlim=(0, seconds), ylim=(-0.5, rows - 0.5) if mel else (0, nyquist))
    return image


def _edges(explained: Explained, frames: int, seconds: float) -> tuple[float, float]:
    """Time in s at which the first of the frames begins and the last one ends."""
    settings = explained.stft or default_stft(explained.sample_rate)
    if frames != settings.frames(explained.input.shape[-1]):
        return 0.0, seconds
    first = 0.0 if settings.center else settings.n_fft / 2
    begin = (first - settings.hop / 2) / explained.sample_rate
    return begin, begin + frames * settings.hop / explained.sample_rate


def _opaque(image: AxesImage) -> ScalarMappable:
    """The colours of an image for its colour bar, without its transparency."""
    from matplotlib.cm import ScalarMappable

    return ScalarMappable(image.norm, image.cmap)


def _gain_curve(axes: Axes, explained: Explained, i: int, gain: Tensor, font: float) -> None:
    """Draw the waveform of clip i as its envelope, and the gain (T,) of a waveform mask over it."""
    wave = explained.input[i].detach().float().cpu().nan_to_num()
    low, high, mean = _columns(wave).amin(1), _columns(wave).amax(1), _columns(gain).mean(1)
    step = len(wave) / explained.sample_rate / len(low)
    time = ((torch.arange(len(low)) + 0.5) * step).numpy()
    peak = max(float(wave.abs().amax()), 1e-6)
    axes.fill_between(time, low.numpy(), high.numpy(), color="0.65", linewidth=0.5)
    right = axes.twinx()
    right.plot(time, mean.numpy(), color="#3b2a8f", linewidth=1.2)
    right.set(ylim=(-0.1, 1.1), yticks=[0, 0.5, 1])
    right.set_ylabel("gain", fontsize=font, labelpad=1)
    right.tick_params(labelsize=font - 0.5, length=2, pad=2)
    axes.set(xlim=(0, len(wave) / explained.sample_rate), ylim=(-1.1 * peak, 1.1 * peak))


def _columns(samples: Tensor) -> Tensor:
    """(T,) samples as (columns, samples a column), the last ones repeated to fill up."""
    width = -(-len(samples) // _COLUMNS)
    missing = -len(samples) % width
    return torch.cat((samples, samples[-1:].expand(missing))).reshape(-1, width)


def _power(explained: Explained, sound: Tensor) -> Tensor:
    """Power spectrogram (F, N) of sound (T,)."""
    settings = explained.stft or default_stft(explained.sample_rate)
    return stft(sound.detach().float().cpu().nan_to_num(), settings).abs().square()


def _decibel(power: Tensor, reference: float) -> Tensor:
    reference = max(reference, 1e-10)
    return 10 * torch.log10(power.clamp(min=reference * 10 ** (_FLOOR_DB / 10)) / reference)


def _mask_axis(explained: Explained) -> str:
    return {"mel": "mel band", "waveform": "amplitude"}.get(explained.space, "frequency (kHz)")


def _mask_title(explained: Explained) -> str:
    if explained.space == "waveform":
        return "gain over the waveform"
    alone = explained.space == "mel" and getattr(explained, "mel_bank", None) is None
    return "mask" if alone else "mask over the input"


def _index(explained: Explained, i: int) -> int:
    if not -len(explained) <= i < len(explained):
        raise InputError(f"there is no clip {i}: the explanation holds {len(explained)}, numbered from 0")
    return i % len(explained)


def _short(text: str, limit: int) -> str:
    """One line of printable characters, with the middle left out where it is too long."""
    text = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "?", text)
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]} … {text[2 - limit // 2 :]}"
