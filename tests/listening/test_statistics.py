"""Statistics of listening tests: against all changes of sign, printed tables, and what correction must do."""

from __future__ import annotations

import math

import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audioxai.errors import InputError
from audioxai.listening.statistics import holm, mean_interval, signed_rank, smallest_p

RATINGS = st.lists(st.integers(-40, 40).map(float), min_size=1, max_size=9)
PROBABILITIES = st.lists(st.floats(0, 1), max_size=8)


def test_student_interval_of_a_printed_example() -> None:
    # t for 4 degrees of freedom and 95 % is 2.776; s of 1 ... 5 is 1.5811
    mean, low, high, n = mean_interval([1, 2, 3, 4, 5])
    assert (mean, n) == (3, 5)
    assert (low, high) == pytest.approx((3 - 2.776 * 1.5811 / 5**0.5, 3 + 2.776 * 1.5811 / 5**0.5), abs=1e-3)


def test_too_few_values_have_no_interval() -> None:
    one, none = mean_interval([7.0]), mean_interval([])
    assert (one.mean, one.n, none.n) == (7.0, 1, 0)
    assert all(map(math.isnan, (one.low, one.high, *none[:3])))


@given(RATINGS)
def test_signed_rank_is_exact_with_and_without_ties(differences: list[float]) -> None:
    found = signed_rank(differences)
    assert found.exact
    assert found.n == sum(d != 0 for d in differences) and found.equal == len(differences) - found.n
    assert found.p == pytest.approx(oracles.signed_rank_p(differences), abs=1e-12)


@given(RATINGS)
def test_signed_rank_does_not_see_order_direction_or_scale(differences: list[float]) -> None:
    p = signed_rank(differences).p
    assert signed_rank([-d for d in differences]).p == pytest.approx(p)
    assert signed_rank(sorted(differences)).p == pytest.approx(p)
    assert signed_rank([d / 3 + 1e-12 for d in differences]).p == pytest.approx(p)  # rounding makes no rank


def test_signed_rank_of_a_textbook() -> None:
    # Darwin's maize as in the tables of Wilcoxon's test: W- = 24 of 15 pairs, p = 0.041
    eighths = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
    found = signed_rank([d / 8 for d in eighths])
    assert (found.n, found.statistic, found.exact) == (15, 24.0, True)
    assert found.p == pytest.approx(0.0413, abs=1e-4)


def test_signed_rank_of_many_ties_is_said_to_be_approximate() -> None:
    differences = [1.0] * 9 + [-1.0] * 3 + [2.0] * 8
    found = signed_rank(differences)
    assert not found.exact and found.n == 20
    assert found.statistic == 3 * 6.5  # twelve share the ranks 1 to 12
    variance = 20 * 21 * 41 / 24 - (12**3 - 12 + 8**3 - 8) / 48
    z = (20 * 21 / 4 - 3 * 6.5 - 0.5) / math.sqrt(variance)
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_signed_rank_of_nothing() -> None:
    assert signed_rank([0.0, 0.0])[:4] == (0, 2, 0.0, 1.0)
    assert math.isnan(signed_rank([]).p)


@pytest.mark.parametrize("n", range(1, 9))
def test_the_smallest_p_is_reached(n: int) -> None:
    assert signed_rank(np.arange(1.0, n + 1)).p == pytest.approx(smallest_p(n))


@given(PROBABILITIES)
def test_holm(p: list[float]) -> None:
    assert holm(p) == pytest.approx(oracles.holm(p))
    assert all(mine <= corrected <= 1 for mine, corrected in zip(p, holm(p), strict=True))


def test_holm_of_a_worked_example_and_a_test_that_could_not_be_made() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [1.0, math.nan], [math.inf]])
def test_bad_input(bad: list) -> None:
    for function in (mean_interval, signed_rank):
        with pytest.raises(InputError, match="finite values"):
            function(bad)
