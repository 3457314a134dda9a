"""Rank-k identification: is one of the first k answers right? And the CMC curve, that for every k.

Tested in ``tests/metrics/test_identification.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["cmc", "rank_k_hits"]


def rank_k_hits(relevant: ArrayLike, k: int) -> NDArray[np.bool_]:
    """Whether a relevant item is among the first k.

    Args:
        relevant: bool [Q, K], whether the item at each rank is relevant, best rank first. With k above K, all
            K ranks count.
        k: the number of ranks, at least 1.

    Returns:
        bool [Q]. Their mean is the rank-k identification rate.

    Raises:
        ValueError: k below 1, or relevant is not [Q, K].
    """
    hits = np.asarray(relevant, dtype=bool)
    if hits.ndim != 2 or k < 1:
        raise ValueError(f"relevant must be [Q, K] and k at least 1, not {hits.shape} and {k}")
    return np.asarray(hits[:, :k].any(axis=1))


def cmc(relevant: ArrayLike) -> NDArray[np.float64]:
    """The cumulative match characteristic: the rank-k identification rate for every k.

    Closed-set: every query has something relevant to be found, and one that is found nowhere counts as missed.

    Args:
        relevant: bool [Q, K], whether the item at each rank is relevant, best rank first; Q at least 1.

    Returns:
        float64 [K], rising, entry k-1 is the rate for k.

    Raises:
        ValueError: relevant is not [Q, K], or there are no queries.
    """
    hits = np.asarray(relevant, dtype=bool)
    if hits.ndim != 2 or not len(hits):
        raise ValueError(f"relevant must be [Q, K] with at least one query, not {hits.shape}")
    return np.asarray(np.logical_or.accumulate(hits, axis=1).mean(axis=0))
