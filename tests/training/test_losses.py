"""Losses of the learned explainers against the formulas, one clip at a time."""

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioxai.training import losses

logits = st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=5)


@given(logits, st.data())
def test_log_probability_of_the_target(rows, data):
    target = [data.draw(st.integers(0, 3)) for _ in rows]
    found = losses.target_log_probabilities(torch.tensor(rows, dtype=torch.float64), torch.tensor(target))
    pairs = list(zip(oracles.softmax(np.array(rows)).tolist(), target, strict=True))
    np.testing.assert_allclose(found[0], [math.log(p[c]) for p, c in pairs], rtol=1e-9, atol=1e-12)
    others = [math.log(sum(v for k, v in enumerate(p) if k != c)) for p, c in pairs]
    np.testing.assert_allclose(found[1], others, rtol=1e-9, atol=1e-12)
    found = losses.target_log_probabilities(torch.tensor(rows, dtype=torch.float64), torch.tensor(target), True)
    for sign, values in zip((-1, 1), found, strict=True):
        expected = [-math.log(1 + math.exp(sign * row[c])) for row, c in zip(rows, target, strict=True)]
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-12)


@given(st.floats(1e-6, 0.999))
def test_mask_in_and_mask_out(p):
    log_p, log_not_p = (torch.tensor([math.log(v)], dtype=torch.float64) for v in (p, 1 - p))
    assert losses.mask_in(log_p).item() == pytest.approx(-math.log(p))
    assert losses.mask_out(log_p, log_not_p).item() == pytest.approx(-math.log(1 - p), abs=1e-9)
    assert losses.mask_out(log_p, log_not_p, bounded=False).item() == pytest.approx(math.log(p))


@pytest.mark.parametrize("multilabel", [False, True])
def test_certainty_and_impossibility_stay_finite_and_certainty_still_pushes(multilabel):
    leaf = torch.tensor([[50.0, -50.0, 0.0], [-50.0, 50.0, 0.0]], requires_grad=True)
    loss = losses.mask_out(*losses.target_log_probabilities(leaf, torch.tensor([0, 0]), multilabel))
    assert loss[0].item() == pytest.approx(50.0)
    assert loss[1].item() == pytest.approx(0.0, abs=1e-6)
    loss.sum().backward()
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad[0, 0].item() == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(3, 5), (3, 4, 5), (3, 1, 2, 2)])
def test_sparsity_is_the_mean_of_each_clip(shape):
    mask = torch.rand(shape, dtype=torch.float64)
    expected = [np.mean(m) for m in mask.numpy()]
    np.testing.assert_allclose(losses.sparsity(mask), expected)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_guidance_is_the_kept_share_of_each_part(seed):
    mask, stem, other = torch.rand(3, 2, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kept_stem, kept_other = losses.stem_guidance(mask, stem.square(), other.square())
    for i in range(2):
        gain, share = oracles.interference_gain(*(x[i].flatten().tolist() for x in (mask, stem, other)))
        assert kept_stem[i].item() == pytest.approx(share)
        assert 10 * math.log10(kept_stem[i] / kept_other[i]) == pytest.approx(gain, abs=1e-9)


def test_guidance_of_silence_is_finite():
    kept = losses.stem_guidance(torch.ones(2, 3, 3), torch.zeros(2, 3, 3), torch.ones(2, 3, 3))
    assert kept[0].tolist() == [0, 0]
    assert kept[1].tolist() == [1, 1]


@given(logits, st.data())
def test_log_probability_of_several_classes(rows, data):
    members = [data.draw(st.lists(st.booleans(), min_size=4, max_size=4).filter(any)) for _ in rows]
    found = losses.group_log_probabilities(torch.tensor(rows, dtype=torch.float64), torch.tensor(members))
    for i, (p, inside) in enumerate(zip(oracles.softmax(np.array(rows)).tolist(), members, strict=True)):
        own, others = (sum(v for v, m in zip(p, inside, strict=True) if m == kind) for kind in (True, False))
        assert found[0][i].item() == pytest.approx(math.log(own), abs=1e-9)
        assert found[1][i].item() == pytest.approx(math.log(others) if others else -math.inf, abs=1e-9)


def test_similarity_matching_is_a_distance():
    similarity, kept = torch.tensor([0.5, -0.2, 0.1]), torch.tensor([0.2, 0.2, 0.1])
    assert losses.similarity_matching(similarity, kept).tolist() == pytest.approx([0.3, 0.4, 0.0])


@pytest.mark.parametrize("form", ["cosine", "geometry", "l1"])
@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_diversity_of_prompts(form, seed, prompts):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(prompts, 2, 3, 5, generator=generator, dtype=torch.float64)
    masks[0, 0] = 0  # an empty mask has no direction
    text = torch.randn(prompts, 2, 4, generator=generator, dtype=torch.float64)
    text = torch.nn.functional.normalize(text, dim=2)
    found = losses.prompt_diversity(masks, text, form)
    for i in range(2):
        expected = oracles.prompt_diversity(masks[:, i].flatten(1).tolist(), text[:, i].tolist(), form)
        assert found[i].item() == pytest.approx(expected, abs=1e-9)
