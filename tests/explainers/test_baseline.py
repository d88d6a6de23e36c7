"""Where attributions start: silence, the caller's values, drawn clips, a function."""

import networks
import numpy as np
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError, NotFittedError

METHODS = [ax.IntegratedGradients, ax.GradientSHAP, ax.DeepSHAP, ax.Occlusion, ax.LIME, ax.KernelSHAP]
pytestmark = pytest.mark.filterwarnings("ignore:.*attributions miss")


def made(method, **options):
    few = {"tiles": (2, 2)} if method in (ax.Occlusion, ax.LIME, ax.KernelSHAP) else {}
    return method(networks.log_mel_cnn(), **few, **options)


@pytest.mark.parametrize("method", METHODS)
def test_silence_a_number_and_values_agree(method):
    clips = networks.clips(2, 4000)
    expected = made(method).attribute(clips, 1)
    shape = expected.shape[1:]
    for zero in ("silence", 0.0, 0, torch.zeros(shape), torch.tensor(0.0), lambda v, g: torch.zeros(1, *v.shape)):
        torch.testing.assert_close(made(method, baseline=zero).attribute(clips, 1), expected, rtol=1e-4, atol=1e-6)
    other = made(method, baseline=0.5).attribute(clips, 1)
    assert not torch.allclose(other, expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_baselines_are_refused(method):
    clips = networks.clips(2, 4000)
    with pytest.raises(InputError, match=r"\(3, 3\); give a number or values \(513, "):
        made(method, baseline=torch.zeros(3, 3)).explain(clips)
    with pytest.raises(InputError, match=r"baseline function must return \(S, \*\(2, 513"):
        made(method, baseline=lambda values, _: values).explain(clips)
    with pytest.raises(ConfigError, match="baseline='loud'"):
        made(method, baseline="loud")
    with pytest.raises(ConfigError, match="baseline of type NoneType"):
        made(method, baseline=None)
    with pytest.raises(InputError, match="baseline holds NaN"):
        made(method, baseline=float("nan"))
    with pytest.raises(InputError, match="must return"):
        made(method, baseline=lambda values, _: values[None][:0]).explain(clips)
    with pytest.raises(ConfigError, match="n_baselines=0"):
        made(method, baseline="data", n_baselines=0)


@pytest.mark.parametrize("method", METHODS)
def test_drawn_from_data(method):
    clips = networks.clips(2, 4000)
    explainer = made(method, baseline="data", n_baselines=2)
    with pytest.raises(NotFittedError, match=r"\.fit\(loader\) first"):
        explainer.explain(clips)
    for empty in ([], None):
        with pytest.raises(InputError, match="yields none"):
            explainer.fit(empty)
    one = networks.clips(1, 2500, seed=9)
    assert explainer.fit([one]) is explainer
    values = explainer.space.analyse(torch.cat([one, one], 1)[:, :4000]).values[0]
    expected = made(method, baseline=values).attribute(clips, 1)
    torch.testing.assert_close(explainer.attribute(clips, 1), expected, rtol=1e-4, atol=1e-6)


def test_every_clip_has_the_same_chance():
    counts = torch.zeros(20)
    for seed in range(300):
        explainer = made(ax.IntegratedGradients, baseline="data", n_baselines=5, seed=seed)
        explainer.fit([torch.arange(20.0).reshape(4, 5, 1)[i].expand(-1, 8) for i in range(4)])
        drawn = explainer.drawn_[:, 0].long()
        assert len(drawn.unique()) == 5
        counts[drawn] += 1
    assert counts.min() > 45  # 75 expected, standard deviation 7.5
    assert counts.max() < 105


def test_several_baselines_are_averaged():
    clips, shape = networks.clips(2, 4000), None
    for method in (ax.IntegratedGradients, ax.DeepSHAP):
        parts = [made(method, baseline=b).attribute(clips, 1) for b in (0.0, 0.5)]
        shape = parts[0].shape
        both = made(method, baseline=lambda v, g: torch.stack([torch.zeros_like(v), torch.full_like(v, 0.5)]))
        torch.testing.assert_close(both.attribute(clips, 1), (parts[0] + parts[1]) / 2, rtol=1e-4, atol=1e-6)
    assert shape is not None


@pytest.mark.parametrize("method", METHODS)
def test_fit_takes_any_baseline(method):
    explainer = made(method, baseline=np.zeros((513, 47), dtype=np.float64))
    assert explainer.fit([networks.clips(1)]) is explainer
    assert explainer.drawn_ is None


def test_gaps_of_all_clips_are_kept():
    clips = networks.clips(3, 4000)
    for method in (ax.IntegratedGradients, ax.DeepSHAP):
        whole, parts = (method(networks.log_mel_cnn(), max_batch=n) for n in (16, 2))
        for explainer in (whole, parts):
            assert explainer.gap_ is None
            explainer.attribute(clips[:1], 0)
            explainer.attribute(clips, 1)
            assert explainer.gap_.shape == (3,)
        torch.testing.assert_close(whole.gap_, parts.gap_, rtol=1e-2, atol=1e-4)
