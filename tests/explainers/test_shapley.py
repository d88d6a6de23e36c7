"""Shapley values: closed forms, the bare library with the same draws, and the definition on small games."""

import itertools
import math

import networks
import numpy as np
import pytest
import torch

import audioxai as ax
from audioxai.explainers.target_score import generators_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("space", ["stft", "mel", "waveform"])
@pytest.mark.parametrize("network", ["log-mel CNN", "waveform CNN"])
def test_gradient_shap_is_the_bare_library(network, space):
    import shap

    classifier, clips = networks.NETWORKS[network](), networks.clips(2, 4000)
    data = networks.clips(3, 4000, seed=4)
    explainer = ax.GradientSHAP(classifier, space=space, n_samples=6, baseline="data", n_baselines=3).fit([data])
    found = explainer.attribute(clips, [3, 1])
    starts = explainer.space.analyse(data).values
    for clip, target in enumerate([3, 1]):
        analysis = explainer.space.analyse(clips[clip : clip + 1])

        class Bare(torch.nn.Module):
            def forward(self, values, analysis=analysis, target=target):
                return explainer.space.predict(values, analysis.repeat(len(values)))[:, target : target + 1]

        generator = generators_of(clips, explainer.seed)[clip]
        seed = int(torch.randint(2**31, (), generator=generator))
        expected = shap.GradientExplainer(Bare(), starts).shap_values(analysis.values, nsamples=6, rseed=seed)
        torch.testing.assert_close(
            found[clip], torch.as_tensor(np.asarray(expected)).reshape(found[clip].shape).float(), rtol=1e-4, atol=1e-6
        )


def shapley_values(game, count):
    """The definition: each player's mean contribution over all orders."""
    values = np.zeros(count)
    for player in range(count):
        others = [p for p in range(count) if p != player]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for team in itertools.combinations(others, size):
                values[player] += weight * (game({*team, player}) - game(set(team)))
    return values


@pytest.mark.parametrize("space", ["stft", "waveform"])
def test_kernel_shap_on_few_tiles_is_the_definition(space):
    classifier, clips = networks.log_mel_cnn(), networks.clips(2, 4000)
    explainer = ax.KernelSHAP(classifier, space=space, tiles=(2, 2), n_samples=64)
    found = explainer.attribute(clips, 1)
    analysis = explainer.space.analyse(clips)
    from audioxai.explainers.perturbation import tile_of

    tile = tile_of(explainer.space, analysis.values, (2, 2))
    count = int(tile.max()) + 1
    assert count == (2 if space == "waveform" else 4)
    for clip in range(2):

        @torch.no_grad()
        def game(team, clip=clip):
            mask = sum((tile == p).float() for p in team) if team else torch.zeros(tile.shape)
            rows = analysis.rows(slice(clip, clip + 1))
            return float(explainer.space.predict(mask * rows.values, rows)[0, 1])

        expected = shapley_values(game, count)
        for player in range(count):
            cells = found[clip][tile == player]
            assert (cells - cells[0]).abs().max() == 0
            assert float(cells[0]) == pytest.approx(expected[player], abs=1e-4)


def test_kernel_shap_adds_up():
    classifier, clips = networks.log_mel_cnn(), networks.clips(1, 4000)
    explainer = ax.KernelSHAP(classifier, tiles=(3, 4), n_samples=100)
    from audioxai.explainers.perturbation import tile_of

    tile = tile_of(explainer.space, explainer.space.analyse(clips).values, (3, 4))
    found = explainer.attribute(clips, 0)[0]
    total = sum(float(found[tile == p][0]) for p in range(12))
    rise = classifier(clips)[0, 0] - classifier(torch.zeros_like(clips))[0, 0]
    assert total == pytest.approx(float(rise.detach()), abs=1e-4)
