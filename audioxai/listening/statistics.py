"""Statistics of listening tests: intervals over listeners, paired tests, correction for several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from audioxai.errors import InputError

__all__ = ["MeanInterval", "SignedRank", "holm", "mean_interval", "signed_rank", "smallest_p"]

_MOST_EXACT, _MOST_EXACT_WITH_TIES = 50, 13


class MeanInterval(NamedTuple):
    """A mean, its interval and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


class SignedRank(NamedTuple):
    """Wilcoxon's test: pairs that differ, pairs that are equal, the statistic, the two-sided p, and how p was found."""

    n: int
    equal: int
    statistic: float
    p: float
    exact: bool


def mean_interval(values: ArrayLike, level: float = 0.95) -> MeanInterval:
    """Mean of (n,) values with Student's interval, mean ± t · s / √n, s the standard deviation over n - 1.

    Returns:
        The interval is NaN for one value, everything for none.
    """
    from scipy.stats import t

    given = _finite(values)
    n = len(given)
    mean = float(given.mean()) if n else math.nan
    half = float(t.ppf((1 + level) / 2, n - 1) * given.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return MeanInterval(mean, mean - half, mean + half, n)


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Wilcoxon's signed-rank test of (n,) paired differences, two-sided.

    Equal pairs, which differ by less than rounding, are left out (Wilcoxon, 1945) and counted. p is exact for up to 50
    pairs whose sizes differ and, by all changes of sign, for up to 13 where some sizes are equal; beyond that it is the
    normal approximation, corrected for ties and continuity. Where no pair differs, p is 1; where there is none, NaN.
    """
    from scipy.stats import permutation_test, rankdata, wilcoxon

    given = np.round(_finite(differences), 9)  # means of whole numbers: what is equal but for rounding is a tie
    unequal = given[given != 0]
    n, equal = len(unequal), len(given) - len(unequal)
    if n == 0:
        return SignedRank(0, equal, 0.0, 1.0 if equal else math.nan, True)
    ranks = rankdata(np.abs(unequal))
    statistic = float(min(ranks[unequal > 0].sum(), ranks[unequal < 0].sum()))
    ties = len(np.unique(ranks)) < n
    if ties and n <= _MOST_EXACT_WITH_TIES:
        rank_sum = permutation_test(
            (unequal,), lambda x, axis: (ranks * (x > 0)).sum(axis), permutation_type="samples", n_resamples=2**n
        )
        return SignedRank(n, equal, statistic, float(rank_sum.pvalue), True)
    p = float(wilcoxon(unequal, correction=True, method="auto").pvalue)  # exact without ties, up to 50 pairs
    return SignedRank(n, equal, statistic, p, not ties and n <= _MOST_EXACT)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that the signed-rank test can give for n pairs: all of them differ in one direction."""
    return min(1.0, 2.0 ** (1 - n))


def holm(p: Sequence[float]) -> list[float]:
    """p values of m tests, corrected after Holm (1979): the k-th smallest times m - k + 1, never falling.

    NaN, a test that could not be made, stays NaN and is not counted.
    """
    order = sorted((i for i, value in enumerate(p) if not math.isnan(value)), key=lambda i: p[i])
    corrected, highest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p[i] * (len(order) - rank)))
        corrected[i] = highest
    return corrected


def _finite(values: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or not np.isfinite(given).all():
        raise InputError(
            f"expected finite values (n,); got shape {given.shape}, {int((~np.isfinite(given)).sum())} not finite"
        )
    return given
