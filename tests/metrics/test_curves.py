"""Insertion and deletion, against a loop by the book and on a network whose answer is known."""

import analytic
import oracles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import audioxai as ax
from audioxai.errors import ConfigError, InputError
from audioxai.metrics.curves import deletion_auc, deletion_curve, insertion_auc, insertion_curve, ranking

cell = st.sampled_from([0.0, 0.2, 0.5, 0.5, 1.0])
clip = st.lists(st.tuples(cell, st.floats(0, 1)), min_size=7, max_size=7)


def squash(values):
    return 1 / (1 + sum(values))


@given(st.lists(clip, min_size=1, max_size=3), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_by_the_book(clips, steps):
    mask = torch.tensor([[m for m, _ in one] for one in clips], dtype=torch.float64)
    values = torch.tensor([[v for _, v in one] for one in clips], dtype=torch.float64)

    def predict(masked, rows):
        assert rows.tolist() == list(range(len(clips)))
        return 1 / (1 + masked.sum(1))

    shuffled = torch.randperm(7, generator=torch.Generator().manual_seed(0)).tolist()
    for function, insertion in ((deletion_auc, False), (insertion_auc, True)):
        found = function(predict, values, mask, steps=steps)
        for i in range(len(clips)):
            expected = oracles.auc_of_order(insertion, squash, values[i].tolist(), mask[i].tolist(), shuffled, steps)
            assert found[i].item() == pytest.approx(expected, rel=1e-9)


def test_a_constant_mask_ranks_no_frequency_first():
    order = ranking(torch.ones(2, 64, 50))
    assert torch.equal(order[0], order[1])
    assert order[0].sort().values.tolist() == list(range(3200))
    assert abs(float(order[0, :400].double().mean()) / 1600 - 1) < 0.1  # the first eighth lies all over the plane


def test_ends_and_errors():
    values = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))

    def predict(masked, _rows):
        return masked.mean((1, 2))

    gone, come = (f(predict, values, values, steps=5) for f in (deletion_curve, insertion_curve))
    torch.testing.assert_close(gone[:, 0], values.mean((1, 2)))
    torch.testing.assert_close(come[:, -1], values.mean((1, 2)))
    assert gone[:, -1].eq(0).all()
    assert come[:, 0].eq(0).all()
    torch.testing.assert_close(gone + come, values.mean((1, 2))[:, None].expand(-1, 6))
    with pytest.raises(ConfigError, match="steps=0"):
        deletion_curve(predict, values, values, steps=0)
    with pytest.raises(InputError, match="differ in shape"):
        insertion_curve(predict, values, values[:, :2])


@pytest.mark.parametrize("case", analytic.CASES)
def test_the_right_mask_is_at_the_top(case):
    """On networks with a known answer, no other mask deletes faster or inserts better."""
    made = analytic.CASES[case]()
    space = ax.Saliency(made.classifier, space=made.space, scale="magnitude").space
    analysis = space.analyse(made.clip)

    @torch.no_grad()
    def predict(values, rows):
        return made.classifier.probabilities(space.predict(values, analysis, rows))[:, made.target]

    right = (made.region[None] * analysis.values.abs()) + made.region[None]
    generator = torch.Generator().manual_seed(0)
    others = {
        "random": torch.rand(right.shape, generator=generator),
        "loudness": analysis.values.abs(),
        "all but": 1.0 - made.region[None].float(),
    }
    deleted, inserted = (f(predict, analysis.values, right).item() for f in (deletion_auc, insertion_auc))
    for name, other in others.items():
        assert deleted <= deletion_auc(predict, analysis.values, other).item() + 1e-3, name
        assert inserted >= insertion_auc(predict, analysis.values, other).item() - 1e-3, name
