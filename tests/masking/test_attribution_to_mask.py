"""From attribution to mask, against the formulas."""

import networks
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import audioxai as ax
from audioxai.errors import ConfigError
from audioxai.masking.attribution_to_mask import to_mask

maps = st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=40)


@given(maps)
def test_max_and_relu_max_by_the_book(values):
    found = to_mask(torch.tensor([values]), "max")[0]
    peak = max(abs(v) for v in values)
    np.testing.assert_allclose(found, [abs(v) / peak if peak else 0 for v in values], rtol=1e-6, atol=1e-37)
    found = to_mask(torch.tensor([values]), "relu_max")[0]
    peak = max(0, *values)
    np.testing.assert_allclose(found, [max(0, v) / peak if peak else 0 for v in values], rtol=1e-6, atol=1e-37)


@given(maps, st.sampled_from(["max", "relu_max", "percentile", "relu_percentile"]))
def test_any_map_becomes_gains(values, normalise):
    mask = to_mask(torch.tensor([values]), normalise)
    assert ((mask >= 0) & (mask <= 1)).all()
    assert mask.shape == (1, len(values))


def test_percentile_ignores_a_few_outliers():
    attribution = torch.arange(1.0, 1001)[None]
    attribution[0, -1] = -1e9
    mask = to_mask(attribution, "percentile")[0]
    np.testing.assert_allclose(mask[:900], np.arange(1, 901) / 995, rtol=1e-6)
    assert mask[994:].tolist() == [1] * 6


def test_the_default_keeps_what_speaks_for_the_target_whatever_the_outliers():
    attribution = torch.arange(-500.0, 501)[None]
    attribution[0, -1] = 1e9
    mask = to_mask(attribution)[0]
    assert mask[:501].eq(0).all()
    np.testing.assert_allclose(mask[501:995], np.arange(1, 495) / 495, rtol=1e-6)
    assert mask[995:].eq(1).all()


def test_percentile_of_a_map_that_is_almost_nowhere():
    attribution = torch.zeros(1, 10, 100)
    attribution[0, 3, 7] = -2
    mask = to_mask(attribution, "percentile")
    assert mask[0, 3, 7] == 1
    assert mask.sum() == 1


def test_each_clip_has_its_own_level():
    attribution = torch.stack([torch.full((3, 4), 1e-20), torch.full((3, 4), 1e20)])
    assert to_mask(attribution).eq(1).all()


@pytest.mark.parametrize("normalise", ["max", "relu_max", "percentile", "relu_percentile"])
def test_nothing_gives_an_empty_mask(normalise):
    assert to_mask(torch.zeros(2, 3, 4), normalise).eq(0).all()
    assert to_mask(-torch.ones(1, 3), "relu_max").eq(0).all()


def test_unknown_way():
    with pytest.raises(ConfigError, match="softmax"):
        to_mask(torch.ones(1, 2), "softmax")
    with pytest.raises(ConfigError, match="choose one of .relu_percentile"):
        ax.GradCAM(networks.log_mel_cnn(), normalise="softmax")
