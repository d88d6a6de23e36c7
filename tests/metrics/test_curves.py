"""Insertion and deletion, against a loop by the book and on a network whose answer is known."""

import pytest
import torch

from audioxai.errors import ConfigError, InputError
from audioxai.metrics.curves import deletion_curve, insertion_curve, ranking


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
