"""F-Fidelity: by the book, on networks with known answers, and against masks made to fool a network."""

import analytic
import networks
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.metrics import evaluate, f_fidelity, f_fidelity_metrics, robust_copy


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_by_the_book(draw):
    generator = torch.Generator().manual_seed(draw)
    values, mask = torch.rand(2, 3, 4, 10, generator=generator, dtype=torch.float64)
    weights = torch.rand(4, 10, generator=generator, dtype=torch.float64)
    options = {"sizes": (0.1, 0.3), "alpha": 0.5, "beta": 0.2, "draws": 3}

    def predict(x, _rows):
        return ((x * weights).sum((1, 2)) / 10).sigmoid()

    inside, outside = f_fidelity(predict, values, mask, seed=5, **options)
    for i in range(3):
        again = torch.Generator().manual_seed(5)
        lengths = [n for size in (0.1, 0.3) for n in 3 * [round(size * 40)] + 3 * [40 - round(size * 40)]]
        permutations = iter([torch.randperm(n, generator=again).tolist() for n in lengths])
        expected = oracles.f_fidelity(
            lambda x: float(predict(torch.tensor(x, dtype=torch.float64).reshape(1, 4, 10), None)),
            values[i].flatten().tolist(),
            mask[i].flatten().tolist(),
            permutations=permutations,
            **options,
        )
        assert [inside[i].item(), outside[i].item()] == pytest.approx(expected, abs=1e-12)


def test_degraded_masks_rank_as_they_are_degraded():
    """The check of the paper: shuffle more and more of the right mask's cells."""
    made = analytic.bands()
    explainer = ax.EnergyMask(made.classifier, scale="magnitude")
    analysis = explainer.space.analyse(made.clip)
    right = made.region[None].float() + 0.1 * torch.rand(made.region.shape, generator=torch.Generator().manual_seed(1))

    def score(x):
        with torch.no_grad():
            return explainer.space.predict(x, analysis)[:, made.target]

    def predict(x, _rows):  # the share of the score that is left: its probability is too near to 1 to tell masks apart
        return score(x) / score(analysis.values)

    found = []
    for share in (0.0, 0.25, 0.5, 1.0):
        generator = torch.Generator().manual_seed(2)
        flat = right.flatten().clone()
        moved = torch.randperm(len(flat), generator=generator)[: int(share * len(flat))]
        flat[moved] = flat[moved[torch.randperm(len(moved), generator=generator)]]
        plus, minus = f_fidelity(predict, analysis.values, flat.reshape(right.shape), beta=0.2)
        found.append((plus.item(), minus.item()))
    assert [plus for plus, _ in found] == sorted((plus for plus, _ in found), reverse=True)
    assert [minus for _, minus in found] == sorted(minus for _, minus in found)
    assert found[0][0] > found[-1][0] + 0.05


def test_the_copy_learns_and_the_classifier_stays():
    classifier = networks.log_mel_cnn()
    before = {k: v.clone() for k, v in classifier.state_dict().items()}
    clips = networks.clips(8, 4000)
    batches = [(clips, torch.arange(8) % 4)]
    robust = robust_copy(classifier, batches, epochs=60, lr=3e-3, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not robust.training
    with torch.no_grad():
        assert (robust(clips).argmax(1) == torch.arange(8) % 4).float().mean() > 0.9
    results = evaluate(
        {"cam": ax.GradCAM(classifier), "random": ax.RandomMask(classifier)},
        [clips[:3], clips[3:]],
        metrics=["FF", *f_fidelity_metrics(robust, draws=2)],
    )
    assert list(results.scores["cam"]) == ["FF", "FFid+", "FFid-"]
    assert results.scores["cam"]["FFid+"].shape == (8,)
    assert not torch.equal(results.scores["cam"]["FFid+"], results.scores["random"]["FFid+"])


def test_what_cannot_be_asked():
    values = torch.rand(1, 4, 4)
    with pytest.raises(InputError, match="differ in shape"):
        f_fidelity(lambda x, _: x.sum((1, 2)), values, torch.rand(1, 4, 5))
    for options in ({"sizes": (0.0,)}, {"sizes": ()}, {"alpha": 0.0}, {"beta": 1.0}, {"draws": 0}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            f_fidelity(lambda x, _: x.sum((1, 2)), values, values, **options)
    with pytest.raises(ConfigError, match=r"beta=0"):
        robust_copy(networks.log_mel_cnn(), [], beta=0)
    with pytest.raises(InputError, match="got Tensor"):
        robust_copy(networks.log_mel_cnn(), [networks.clips(2, 4000)[None]], progress=False)


def test_a_frozen_network_has_a_copy_that_learns():
    classifier, clips = networks.log_mel_cnn(), networks.clips(4, 4000)
    classifier.requires_grad_(False)
    robust = robust_copy(classifier, [(clips, torch.tensor([0, 1, 2, 0]))], epochs=1, progress=False)
    pairs = zip(robust.network.parameters(), classifier.network.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
