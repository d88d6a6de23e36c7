"""Tiles, occlusion and LIME: Captum and scikit-learn as second witnesses."""

import sys
from types import SimpleNamespace

import networks
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.explainers.perturbation import ridge_regression, tile_of
from audioxai.support import progress


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
def test_tiles_are_even_in_time_and_mel(space):
    made = ax.Occlusion(networks.log_mel_cnn(), space=space).space
    values = made.analyse(networks.clips(1, 8000)).values
    tile = tile_of(made, values, (4, 5))
    count = 5 if space == "waveform" else 20
    assert tile.unique().tolist() == list(range(count))
    widths = torch.bincount(tile.flatten()[: tile.shape[-1]] if space == "waveform" else tile[0])
    assert widths.max() - widths.min() <= 1
    if space == "stft":
        edges = [int((tile[:, 0] // 5 == band).nonzero()[-1]) for band in range(4)]
        hertz = torch.tensor(edges) * networks.RATE / 1024
        mel = 2595 * torch.log10(1 + hertz / 700)
        np.testing.assert_allclose(mel / mel[-1], [0.25, 0.5, 0.75, 1.0], atol=0.02)


@given(st.integers(1, 200), st.integers(1, 12), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_no_tile_is_empty(frames, bands, stretches):
    space = ax.Occlusion(networks.log_mel_cnn()).space
    tile = tile_of(space, torch.zeros(1, 513, frames), (bands, stretches))
    assert tile.shape == (513, frames)
    assert tile.unique().tolist() == list(range(int(tile.max()) + 1))


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("baseline", ["silence", 0.3])
def test_occlusion_is_captums_ablation_of_tiles(space, baseline):
    from captum.attr import FeatureAblation

    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    explainer = ax.Occlusion(classifier, space=space, tiles=(3, 4), baseline=baseline)
    analysis = explainer.space.analyse(clips)

    def forward(values):
        return explainer.space.predict(values, analysis)

    tile = tile_of(explainer.space, analysis.values, (3, 4))
    expected = FeatureAblation(forward).attribute(
        analysis.values, 0.0 if baseline == "silence" else baseline, target=2, feature_mask=tile[None]
    )
    torch.testing.assert_close(explainer.attribute(clips, 2), expected.detach(), rtol=1e-4, atol=1e-5)


@given(st.integers(0, 1000), st.floats(0.01, 10.0))
@settings(max_examples=30, deadline=None)
def test_ridge_regression_is_scikit_learns(seed, ridge):
    from sklearn.linear_model import Ridge

    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(2, (40, 6), generator=generator).double()
    y = torch.randn(40, generator=generator).double()
    weight = torch.rand(40, generator=generator).double() + 0.01
    share = weight / weight.sum()  # scikit-learn's penalty is relative to the sum of the weights
    expected = Ridge(alpha=ridge / 40).fit(x, y, sample_weight=share).coef_
    np.testing.assert_allclose(ridge_regression(x, y, weight, ridge), expected, rtol=1e-6, atol=1e-9)


def test_lime_recovers_a_score_that_is_linear_in_the_tiles():

    classifier, clips = networks.linear(), networks.clips(1, 4000)
    explainer = ax.LIME(classifier, scale="magnitude", tiles=(3, 4), n_samples=400, ridge=1e-6)
    found = explainer.attribute(clips, 1)
    occluded = ax.Occlusion(classifier, scale="magnitude", tiles=(3, 4)).attribute(clips, 1)
    torch.testing.assert_close(found, occluded, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", [ax.LIME, ax.KernelSHAP, ax.Occlusion])
@pytest.mark.parametrize(
    ("tiles", "words"),
    [((0, 4), "bands of tiles=0"), ((4, 0), "stretches of tiles=0"), (4, "tiles=4"), ((1, 2, 3), r"tiles=\(1, 2, 3\)")],
)
def test_bad_tiles(method, tiles, words):
    with pytest.raises(ConfigError, match=words):
        method(networks.log_mel_cnn(), tiles=tiles)


@pytest.mark.parametrize(
    ("shell", "wanted", "disabled"),
    [(None, True, None), ("", True, None), ("kernel", True, False), ("kernel", False, True), (None, False, True)],
)
def test_a_bar_is_shown_on_a_terminal_and_in_a_notebook(monkeypatch, shell, wanted, disabled):
    """``shell``: none, a plain IPython or one with a kernel. That a package is imported says nothing."""
    asked = SimpleNamespace(**({shell: object()} if shell else {})) if shell is not None else None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: asked))
    assert progress.disable(wanted) is disabled


def test_the_bar_shows_every_pass(monkeypatch):
    """On a terminal; what is announced is what is run."""
    import shap  # noqa: F401, before the patch, since it takes tqdm for itself
    import tqdm.auto

    bars = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, *args, **options):
            assert options["disable"] is None
            bars.append(self)
            super().__init__(*args, **{**options, "disable": False})

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    for method in (
        ax.Occlusion(classifier, tiles=(2, 3)),
        ax.LIME(classifier, tiles=(2, 3), n_samples=9),
        ax.KernelSHAP(classifier, tiles=(4, 4), n_samples=40),
        ax.ScoreCAM(classifier),
        ax.GScoreCAM(classifier, k=3),
    ):
        method.explain(clips, 0)
        assert bars[-1].n == bars[-1].total > 0, method.name
    assert ax.Occlusion(classifier, progress=False).progress is False
