"""Infidelity and max-sensitivity: Captum as the second witness, closed forms, limits."""

import networks
import pytest
import torch

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.metrics.robustness import infidelity, max_sensitivity


def test_infidelity_of_a_linear_score_is_zero_for_its_weights_and_grows_with_the_error():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 5, 6, generator=generator)
    values = torch.rand(2, 5, 6, generator=generator)
    moves = 0.1 * torch.randn(400, 2, 5, 6, generator=generator)

    def score(x):
        return (weight * x).flatten(1).sum(1)

    assert infidelity(score, values, weight, moves).max() < 1e-8
    error = torch.zeros_like(weight)
    error[:, 2, 3] = 3.0
    expected = (0.1 * 3.0) ** 2  # the variance of the wrong term
    assert infidelity(score, values, weight + error, moves).tolist() == pytest.approx([expected] * 2, rel=0.3)
    with pytest.raises(InputError, match=r"do not fit values \(2, 5, 6\)"):
        infidelity(score, values, weight[:, :4], moves)


class Constant(ax.Explainer):
    def _attribute(self, values, score):
        return torch.ones_like(values)


class Proportional(ax.Explainer):
    def _attribute(self, values, score):
        return values.clone()


def test_max_sensitivity_of_known_explainers():
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 3000)
    assert max_sensitivity(Constant(classifier, space="waveform"), clips).tolist() == [0, 0]
    found = max_sensitivity(Proportional(classifier, space="waveform"), clips, radius=0.02, samples=3)
    generators = [torch.Generator().manual_seed(0) for _ in clips]
    peak = clips.abs().amax(1, keepdim=True)
    draws = [torch.stack([torch.rand(3000, generator=g) for g in generators]) for _ in range(3)]
    noise = [0.02 * peak * (2 * draw - 1) for draw in draws]
    expected = torch.stack([n.norm(dim=1) for n in noise]).amax(0) / clips.norm(dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    more = max_sensitivity(ax.Saliency(classifier), clips, radius=0.2, samples=3)
    less = max_sensitivity(ax.Saliency(classifier), clips, radius=0.002, samples=3)
    assert (more > less).all()
    assert max_sensitivity(Proportional(classifier, space="waveform"), torch.zeros(1, 3000)).isnan().all()
    for bad in ({"radius": 0.0}, {"samples": 0}):
        with pytest.raises(ConfigError, match=next(iter(bad))):
            max_sensitivity(Constant(classifier), clips, **bad)
