"""95 % confidence intervals by the percentile bootstrap over identities.

Identities are drawn with replacement, all videos of one together, as videos of one person are not
independent. The same seed gives the same interval. Efron and Tibshirani, An Introduction to the Bootstrap,
chapter 13. Tested in ``tests/metrics/test_bootstrap.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bootstrap_mean", "bootstrap_ratio"]


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, replicates: int = 1000) -> tuple[float, float]:
    """Interval of the mean of one value an identity, such as mAP or a rank-k rate.

    Args:
        values: [Q], one value an identity.
        seed: of the random draws.
        replicates: how many times the identities are drawn.

    Returns:
        (low, high): the 2.5 and the 97.5 percentile of the replicates.

    Raises:
        ValueError: no values.
    """
    each = np.asarray(values, dtype=np.float64)
    if each.ndim != 1 or len(each) == 0:
        raise ValueError("an interval needs at least one identity")
    return _interval(len(each), lambda drawn: each[drawn].mean(), seed, replicates)


def bootstrap_ratio(
    hits: ArrayLike, totals: ArrayLike, *, seed: int = 0, replicates: int = 1000
) -> tuple[float, float]:
    """Interval of sum(hits) / sum(totals), such as TPR with its genuine pairs counted by identity.

    Thresholds are held fixed: only the genuine pairs are drawn again, not the impostors that set the
    threshold, so the interval is a little too narrow where impostors are few.

    Args:
        hits: [I], accepted pairs of every identity.
        totals: [I], all pairs of every identity. Identities without pairs are left out.
        seed: of the random draws.
        replicates: how many times the identities are drawn.

    Returns:
        (low, high): the 2.5 and the 97.5 percentile of the replicates.

    Raises:
        ValueError: no identity has a pair, or the shapes differ.
    """
    found, pairs = np.asarray(hits, dtype=np.float64), np.asarray(totals, dtype=np.float64)
    if found.shape != pairs.shape or found.ndim != 1:
        raise ValueError(f"hits and totals must both be [I], not {found.shape} and {pairs.shape}")
    found, pairs = found[pairs > 0], pairs[pairs > 0]
    if len(pairs) == 0:
        raise ValueError("an interval needs at least one identity with pairs")
    return _interval(len(pairs), lambda drawn: found[drawn].sum() / pairs[drawn].sum(), seed, replicates)


def _interval(
    count: int, statistic: Callable[[NDArray[np.int64]], float], seed: int, replicates: int
) -> tuple[float, float]:
    random = np.random.default_rng(seed)
    values = [statistic(random.integers(0, count, count)) for _ in range(replicates)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
