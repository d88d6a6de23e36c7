"""The maths of the metrics: their limits and their invariants."""

import math

import numpy as np
import oracles
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audioxai.errors import InputError
from audioxai.metrics import functional as metric

level = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
row = st.lists(level, min_size=3, max_size=3)
triples = st.lists(st.tuples(row, row, row), min_size=1, max_size=6)
cells = st.lists(st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(1e-9, 1)), min_size=2, max_size=30)


def columns(clips):
    return [torch.tensor([clip[i] for clip in clips], dtype=torch.float64) for i in range(3)]


def all_five(p, kept, removed, target=None):
    return {
        "AI": metric.average_increase(p, kept, target, multilabel=True),
        "AD": metric.average_drop(p, kept, target, multilabel=True),
        "AG": metric.average_gain(p, kept, target, multilabel=True),
        "FF": metric.faithfulness(p, removed, target, multilabel=True),
        "Fid-In": metric.input_fidelity(p, kept, target, multilabel=True),
    }


@given(triples)
def test_invariants_of_any_table(clips):
    p, kept, removed = columns(clips)
    found = {name: value.mean().item() for name, value in all_five(p, kept, removed).items()}
    assert found["AG"] <= found["AI"] + 1e-9
    assert (found["AI"] > 0) == (found["AG"] > 0) or p.max() == 1
    assert found["AD"] + found["AI"] <= 100 + 1e-9
    assert found["FF"] <= p.max(1).values.mean().item() + 1e-12
    assert found["AI"] * len(clips) / 100 == pytest.approx(round(found["AI"] * len(clips) / 100))
    assert 0 <= found["Fid-In"] <= 1
    for value in found.values():
        assert math.isfinite(value)


@given(triples)
def test_keeping_everything_changes_nothing(clips):
    p, _, removed = columns(clips)
    found = all_five(p, p, removed)
    assert all(found[name].eq(0).all() for name in ("AI", "AD", "AG"))
    assert found["Fid-In"].eq(1).all()


def test_a_given_target_is_measured():
    p, kept = torch.tensor([[0.7, 0.3], [0.5, 0.5]]), torch.tensor([[0.2, 0.8], [0.5, 0.5]])
    target = torch.tensor([1, 1])
    found = all_five(p, kept, kept, target)
    np.testing.assert_allclose(found["AI"], [100, 0])
    np.testing.assert_allclose(found["AD"], [0, 0])
    np.testing.assert_allclose(found["AG"], [100 * 0.5 / 0.7, 0], rtol=1e-5)
    np.testing.assert_allclose(found["FF"], [-0.5, 0], rtol=1e-5)
    # On a tie the first index is the prediction, so class 1 is kept in the first clip only.
    np.testing.assert_allclose(found["Fid-In"], [1, 0])


def test_certain_and_impossible_classes():
    p, kept = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    found = all_five(p, kept, kept, torch.tensor([0, 0]))
    assert found["AD"].tolist() == [75, 0]
    assert found["AG"].tolist() == [0, 100]
    assert found["AI"].tolist() == [0, 100]


@pytest.mark.parametrize("name", ["average_increase", "average_drop", "average_gain", "faithfulness", "input_fidelity"])
def test_what_is_no_probability_is_refused(name):
    function, good = getattr(metric, name), torch.tensor([[0.5, 0.5], [0.1, 0.9]])
    for bad in (torch.tensor([[3.0, -2.0], [0.1, 0.9]]), torch.tensor([[math.nan, 0.5], [0.1, 0.9]])):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(InputError, match="probabilities"):
                function(*pair)
    for bad in (good[:1], good[0], torch.rand(2, 3), good[None]):
        with pytest.raises(InputError, match=r"\(B, K\)"):
            function(good, bad)
    for bad in (torch.tensor([0]), torch.tensor([0.0, 1.0]), torch.tensor([0, 2]), torch.tensor([0, -1])):
        with pytest.raises(InputError, match="target"):
            function(good, good, bad)


@settings(max_examples=25)
@given(cells, st.integers(0, 1000))
def test_order_level_and_shape_of_a_mask_do_not_matter(values, seed):
    assume(sum(values) > 0)
    mask = torch.tensor([values + values], dtype=torch.float64)
    shuffled = mask[:, torch.randperm(mask.shape[1], generator=torch.Generator().manual_seed(seed))]
    for function in (metric.sparseness, metric.complexity):
        for other in (shuffled, mask * 0.125, mask.reshape(1, 2, -1), mask.reshape(1, -1, 2, 1)):
            torch.testing.assert_close(function(other), function(mask))


@pytest.mark.parametrize("value", [1e-6, 0.3, 1.0])
def test_constant_masks(value):
    mask = torch.full((2, 7, 11), value)
    np.testing.assert_allclose(metric.sparseness(mask), [0, 0], atol=1e-12)
    np.testing.assert_allclose(metric.complexity(mask), [math.log(77)] * 2, rtol=1e-12)
    np.testing.assert_allclose(metric.complexity(mask, relative=True), [1, 1], rtol=1e-12)
    np.testing.assert_allclose(metric.mask_mean(mask), [value] * 2, rtol=1e-6)


def test_one_cell_is_the_sparsest_and_simplest_mask():
    mask = torch.zeros(1, 4, 5)
    mask[0, 1, 2] = 0.5
    assert metric.sparseness(mask).item() == pytest.approx(1 - 1 / 20)
    assert metric.complexity(mask).item() == 0


def test_a_signed_map_is_refused():
    for function in (metric.sparseness, metric.complexity):
        with pytest.raises(InputError, match=r"-0\.5"):
            function(torch.tensor([[0.5, -0.5]]))


def test_many_small_cells_keep_their_digits():
    values = torch.rand(1, 513, 431, generator=torch.Generator().manual_seed(0)) * 1e-4
    exact = np.sort(values.double().numpy().ravel())
    n = exact.size
    gini = ((2 * np.arange(1, n + 1) - n - 1) * exact).sum() / (n * exact.sum())
    assert metric.sparseness(values).item() == pytest.approx(gini, rel=1e-9)


def test_interference_of_perfect_empty_and_full_masks():
    stem, other = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    stem[0, 0], other[0, 1] = 1, 1
    gain, share = metric.interference_gain(stem, stem, other)
    assert gain.item() > 100
    assert share.item() == 1
    gain, share = metric.interference_gain(torch.ones(1, 2, 2), stem, other)
    assert (gain.item(), share.item()) == (0, 1)
    gain, share = metric.interference_gain(torch.zeros(1, 2, 2), stem, other)
    assert math.isnan(gain.item())  # nothing is kept of either
    assert share.item() == 0
    for parts in ((stem, 0 * other), (0 * stem, other)):  # a part that is not there
        assert all(value.isnan().all() for value in metric.interference_gain(stem + other, *parts))
    with pytest.raises(InputError, match="shape"):
        metric.interference_gain(torch.ones(1, 2, 3), stem, other)


@given(triples)
def test_the_published_drop(clips):
    p, kept, _ = columns(clips)
    found = metric.average_drop(p, kept, reference=True, multilabel=True)
    for i, (row, masked, _) in enumerate(clips):
        assert found[i].item() == pytest.approx(oracles.reference_drop(row, masked), rel=1e-9, abs=1e-9)


def test_the_published_drop_has_a_ceiling():
    """A certain class that is lost altogether gives 1 - 1/e, whatever the number of classes."""
    for classes in (2, 10, 50):
        p = torch.eye(classes, dtype=torch.float64)[:1]
        found = metric.average_drop(p, p.flip(1), reference=True).item()
        assert found == pytest.approx(100 * (1 - 1 / math.e))


@given(st.lists(st.lists(st.floats(1e-3, 1), min_size=5, max_size=5), min_size=1, max_size=4))
def test_the_published_sparseness(masks):
    found = metric.sparseness(torch.tensor(masks, dtype=torch.float64), reference=True)
    np.testing.assert_allclose(found, oracles.reference_gini(masks), rtol=1e-9, atol=1e-12)


def test_quantus_agrees():
    """Over masks that it accepts."""
    import quantus

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(6, 40, 50, generator=generator) ** torch.tensor([1, 2, 4, 8, 16, 0.1]).reshape(6, 1, 1)
    as_images = masks[:, None].numpy().astype(np.float64)
    options = {"disable_warnings": True, "normalise": False, "abs": False, "display_progressbar": False}
    for ours, theirs in ((metric.sparseness, quantus.Sparseness), (metric.complexity, quantus.Complexity)):
        expected = theirs(**options)(model=None, x_batch=as_images, y_batch=np.zeros(6), a_batch=as_images.copy())
        np.testing.assert_allclose(ours(masks), expected, rtol=1e-6, atol=1e-6)


def test_masks_with_nan_are_refused():
    mask = torch.ones(3, 4)
    mask[1, 2] = math.nan
    for function in (metric.sparseness, metric.complexity, metric.mask_mean):
        with pytest.raises(InputError, match="clip 1 holds NaN"):
            function(mask)


@settings(deadline=None)
@given(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
def test_percentages_never_exceed_100_by_rounding(p, o):
    before, after = (torch.tensor([[x, 1 - x]], dtype=torch.float32) for x in (p, o))
    target = torch.tensor([0])
    for measure in (metric.average_drop, metric.average_gain):
        assert 0 <= measure(before, after, target).item() <= 100


def test_certain_networks_have_their_full_gain_and_drop():
    before = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))
    before = torch.cat([before, 1 - before], 1)
    sure, target = torch.tensor([[30.0, 0.0]]).softmax(1).expand(2000, 2), torch.zeros(2000, dtype=torch.long)
    assert (metric.average_gain(before, sure, target) == 100).all()
    assert (metric.average_drop(before, sure.flip(1), target) <= 100).all()
