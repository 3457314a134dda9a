"""What a ranking is worth: average precision cut at K, as iQIYI-VID scores it; rank-k rates, and the CMC curve.

AP@K = (1 / R) * sum over the hits at rank k <= K of (hits up to rank k) / k, where R is the FULL number of
relevant items in the ground truth, also where it exceeds K: a perfect list scores K / R then. Other tools
divide by min(R, K) or by the hits found; the numbers differ wherever something is missed. Tested in
``tests/scores/metrics/test_ranking.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import at_least_one, booleans, integers

__all__ = ["average_precision_at_k", "cmc", "rank_k_hits"]


def average_precision_at_k(relevant: ArrayLike, n_relevant: ArrayLike) -> NDArray[np.float64]:
    """Average precision of Q ranked lists.

    Args:
        relevant: bool [Q, K], whether the item at each rank is relevant, best rank first. Pad short lists
            with False. No item may be listed twice.
        n_relevant: int [Q], the number of relevant items of the query in the ground truth, found or not.

    Returns:
        float64 [Q], each in 0..1.

    Raises:
        ValueError: a query without relevant items (its AP is not defined; leave it out), more hits than
            relevant items, or shapes that don't fit.
    """
    hits = booleans(relevant, "relevant [Q, K]", ndim=2)
    total = integers(n_relevant, "n_relevant", len(hits))
    if (total < 1).any():
        raise ValueError(f"query {int(np.argmax(total < 1))} has no relevant items: leave it out of the mean")
    found = np.cumsum(hits, axis=1)
    if (hits.sum(axis=1) > total).any():
        query = int(np.argmax(hits.sum(axis=1) > total))
        raise ValueError(f"query {query} has more hits than its {total[query]} relevant items")
    precision = found / np.arange(1, hits.shape[1] + 1)
    scores: NDArray[np.float64] = (precision * hits).sum(axis=1) / total
    return scores


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
    hits = booleans(relevant, "relevant [Q, K]", ndim=2)
    at_least_one(k=k)
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
    hits = booleans(relevant, "relevant [Q, K]", ndim=2)
    if not len(hits):
        raise ValueError(f"relevant must be [Q, K] with at least one query, not {hits.shape}")
    return np.asarray(np.logical_or.accumulate(hits, axis=1).mean(axis=0))
