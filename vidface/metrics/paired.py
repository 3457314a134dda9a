"""Is one of several systems better? Paired bootstrap intervals of differences, over identities.

All systems are measured on the same set, so every replicate draws one set of identities for all of them: what makes an
identity hard or easy for everybody cancels, and the interval of a difference is much narrower than two intervals side
by side would let one think. Intervals are percentiles of the replicates (Efron and Tibshirani, An Introduction to the
Bootstrap, chapter 13). A replicate is written as the number of times that every identity was drawn, so that a mean is
a product of matrices and TPR at FPR (`vidface.metrics.resampled_pairs`) never lists a pair twice.

Where several systems are compared with one, each interval is widened to the level 1 - 0.05 / (number of comparisons),
so that all of them hold together in 95 of 100 sets (Bonferroni; Dunn, Multiple comparisons among means, 1961). Tested
in ``tests/metrics/test_paired.py`` against scipy.stats.bootstrap.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["REPLICATES", "Difference", "difference", "draw", "interval", "mean_replicates"]

REPLICATES = 2000
LEVEL = 0.95
ROUNDING = 1e-12  # of sums of values an identity: less is no difference


class Difference(NamedTuple):
    """How much better the second of two systems is.

    Attributes:
        value: of the second less of the first, on the set as it is.
        low: lower end of its interval.
        high: upper end.
        verdict: 1 where the whole interval lies above 0, -1 where it lies below, else 0: no difference can be told.
    """

    value: float
    low: float
    high: float
    verdict: int


def draw(
    identities: int, others: int = 0, *, replicates: int = REPLICATES, seed: int = 0
) -> NDArray[np.uint8]:
    """How often every unit is drawn in every replicate.

    Identities and other units (videos of nobody known, each by itself) are drawn apart, with replacement, as many as
    there are: how many distractors a set has was decided by who made it, and is no matter of chance.

    Args:
        identities: how many identities there are.
        others: how many other units.
        replicates: R.
        seed: of the random draws; the same seed draws the same units.

    Returns:
        uint8 [identities + others, R].
    """
    random = np.random.default_rng(seed)
    drawn = np.zeros((replicates, identities + others), np.uint8)
    for row in drawn:
        for begin, count in ((0, identities), (identities, others)):
            if count:
                # One unit 256 times in one replicate: of n draws, a chance below 1 / 256!, which is 0.
                row[begin : begin + count] = np.bincount(random.integers(0, count, count), minlength=count)
    return np.ascontiguousarray(drawn.T)


def mean_replicates(values: ArrayLike, drawn: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The mean of one value an identity, such as AP, in every replicate.

    Args:
        values: [I], one value an identity.
        drawn: uint8 [I, R], from `draw`.

    Returns:
        float64 [R].

    Raises:
        ValueError: no identities, or another number of them than was drawn.
    """
    each = np.asarray(values, np.float64)
    if each.ndim != 1 or len(each) == 0 or len(each) != len(drawn):
        raise ValueError(f"values must be one an identity, [{len(drawn)}], not {list(each.shape)}")
    return np.asarray(each @ drawn / drawn.sum(axis=0, dtype=np.int64))


def interval(replicates: ArrayLike, *, comparisons: int = 1) -> tuple[float, float]:
    """The percentile interval of replicates, 95 % for all comparisons together.

    Args:
        replicates: [R], without NaN.
        comparisons: how many intervals are to hold together.

    Returns:
        (low, high).
    """
    tail = (1 - LEVEL) / (2 * comparisons)
    low, high = np.quantile(np.asarray(replicates, np.float64), [tail, 1 - tail])
    return float(low), float(high)


def difference(
    first: float,
    second: float,
    first_replicates: NDArray[np.float64],
    second_replicates: NDArray[np.float64],
    *,
    comparisons: int = 1,
) -> Difference:
    """Compare two systems by replicates that were drawn together.

    Args:
        first: what the baseline measures on the set.
        second: what the other one does.
        first_replicates: [R], of the baseline.
        second_replicates: [R], replicate r from the same draw of identities.
        comparisons: how many systems are compared with this baseline.
    """
    gained = second_replicates - first_replicates
    gained[np.abs(gained) < ROUNDING] = (
        0  # changes that make up for each other leave nothing but the rounding of sums
    )
    low, high = interval(gained, comparisons=comparisons)
    return Difference(second - first, low, high, int(low > 0) - int(high < 0))
