"""Pictures of explanations: what they show, which way up, how big they are."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import AxesImage
from PIL import Image
from report.fakes import RATE, SETTINGS, Fake

from audioxai.errors import InputError
from audioxai.explainers.explanation import Scores
from audioxai.report.plot import figure_png, overlay_png, plot_clip
from audioxai.sound.dsp import istft, melscale_fbanks, stft


def make(samples: int = RATE) -> Fake:
    """Two clips with tones of 1 and 6 kHz; the mask keeps what lies below 3 kHz."""
    time = torch.arange(samples) / RATE
    tones = (0.3 * (6.2832 * 1000 * time).sin() + 0.3 * (6.2832 * 6000 * time).sin()).repeat(2, 1)
    spectrum = stft(tones, SETTINGS)
    mask = torch.zeros(spectrum.shape)
    mask[:, : round(3000 / RATE * 512)] = 1.0
    kept = istft(mask * spectrum, SETTINGS, samples)
    return Fake(tones, kept, tones - kept, mask, Scores(*[torch.full((2, 3), 1 / 3)] * 3))


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
def test_plot_clip_has_three_panels(space: str) -> None:
    figure = plot_clip(in_space(make(), space), 1)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[0] == "input" and titles[2] == "kept" and len(titles) == 3
    heading = figure.get_suptitle()
    for word in ("b.wav", "cat", "LowPass", space, "magnitude"):
        assert word in heading


def in_space(explained: Fake, space: str) -> Fake:
    if space == "mel":
        bank = melscale_fbanks(257, 0.0, RATE / 2, 40, RATE)
        return replace(explained, space="mel", mask=torch.rand(2, 40, explained.mask.shape[-1]), mel_bank=bank)
    if space == "waveform":
        gain = torch.linspace(0, 1, explained.input.shape[-1]).repeat(2, 1)
        return replace(explained, space="waveform", mask=gain, stft=None)
    return explained


def test_low_frequencies_are_at_the_bottom() -> None:
    figure = plot_clip(make())
    top, middle, bottom = (axes for axes in figure.axes if axes.get_title())
    assert top.get_ylim() == (0, RATE / 2000)
    spectrogram, mask = top.images[0], middle.images[-1]
    for image in (spectrogram, mask):
        assert image.origin == "lower" and image.get_extent()[2] < image.get_extent()[3]
    assert peaks_in_khz(spectrogram) == pytest.approx([1, 6], abs=0.05)
    assert peaks_in_khz(bottom.images[0]) == pytest.approx([1], abs=0.05)
    assert data(mask)[:90].min() == 1 and data(mask)[100:].max() == 0
    # The same on the drawn pixels: the bright line of what is kept lies in the lower half of its panel.
    png = np.asarray(Image.open(io.BytesIO(overlay_png(make()))).convert("RGB")).astype(int).sum(2)
    kept = png[40:250, 700:850].sum(1)
    assert kept[105:].max() > 1.5 * kept[:100].max()


def data(image: AxesImage) -> np.ndarray:
    array = image.get_array()
    assert array is not None
    return np.asarray(array)


def peaks_in_khz(image: AxesImage) -> list[float]:
    level = data(image).mean(1)
    low, high = image.get_extent()[2:]
    tops = [r for r in range(1, len(level) - 1) if level[r] > -30 and level[r] == level[r - 1 : r + 2].max()]
    return [low + (r + 0.5) * (high - low) / len(level) for r in tops]


def test_frames_are_drawn_at_their_time() -> None:
    left, right, _, _ = plot_clip(make()).axes[0].images[0].get_extent()
    assert left == pytest.approx(-128 / RATE) and right == pytest.approx((62.5 * 256) / RATE)


def test_a_mel_mask_without_its_filters_is_drawn_alone() -> None:
    explained = replace(in_space(make(), "mel"), mel_bank=None)
    middle = next(axes for axes in plot_clip(explained).axes if axes.get_title() == "mask")
    assert len(middle.images) == 1 and middle.get_ylabel() == "mel band" and middle.images[0].get_alpha() is None


def test_a_mask_lies_over_the_grey_spectrogram() -> None:
    middle = next(axes for axes in plot_clip(make()).axes if axes.get_title() == "mask over the input")
    under, over = middle.images
    alpha = over.get_alpha()
    assert under.get_cmap().name == "gray" and over.get_clim() == (0, 1)
    assert isinstance(alpha, float) and 0 < alpha < 1


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("stacked", [False, True])
def test_overlay_is_compact(space: str, stacked: bool) -> None:
    explained = in_space(make(), space)
    explained = replace(explained, input=torch.randn(2, RATE), waveform=torch.randn(2, RATE))  # noise packs worst
    explained.mask = torch.rand(explained.mask.shape)
    png = overlay_png(explained, stacked=stacked)
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert picture.size == ((420, 720) if stacked else (900, 300))
    assert len(png) <= 150_000


@pytest.mark.parametrize("samples", [1, 100, 511])
@pytest.mark.parametrize("space", ["stft", "waveform"])
def test_silence_and_very_short_clips(samples: int, space: str) -> None:
    explained = in_space(make(samples), space)
    explained.input = explained.waveform = torch.zeros(2, samples)
    assert overlay_png(explained).startswith(b"\x89PNG")


def test_not_a_number_does_not_stop_a_picture() -> None:
    explained = make()
    explained.input[0, 5] = torch.nan
    explained.mask[0, 0, 0] = torch.nan
    assert figure_png(plot_clip(explained)).startswith(b"\x89PNG")


def test_long_clips_are_averaged() -> None:
    image = plot_clip(in_space(make(60 * RATE), "stft")).axes[0].images[0]
    assert data(image).shape[1] <= 1200


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$x^{$", "犬\n.wav", "\udcff.wav", "a" * 300, "{}%s\\", ""])
def test_any_name_can_be_a_title(name: str) -> None:
    assert figure_png(plot_clip(replace(make(), names=[name, name]))).startswith(b"\x89PNG")


def test_a_clip_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no clip 2: the explanation holds 2"):
        plot_clip(make(), 2)
    assert "b.wav" in plot_clip(make(), -1).get_suptitle()


def test_matplotlib_is_imported_on_use_and_pyplot_never() -> None:
    here, path = os.path.dirname(__file__), os.pathsep.join(filter(None, sys.path))
    code = "import sys, audioxai.report.plot, audioxai.report; assert not {'matplotlib', 'jinja2'} & set(sys.modules)"
    code += "; import test_plot as t; t.overlay_png(t.make()); assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=here, env={**os.environ, "PYTHONPATH": path})
