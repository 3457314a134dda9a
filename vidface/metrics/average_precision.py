"""Average precision of a ranked list that is cut at K, as iQIYI-VID scores it.

AP@K = (1 / R) * sum over the hits at rank k <= K of (hits up to rank k) / k, where R is the FULL number of
relevant items in the ground truth, also where it exceeds K: a perfect list scores K / R then. Other tools
divide by min(R, K) or by the hits found; the numbers differ wherever something is missed. Tested in
``tests/metrics/test_average_precision.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["average_precision_at_k"]


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
    hits = np.asarray(relevant, dtype=bool)
    total = np.asarray(n_relevant)
    if hits.ndim != 2 or total.shape != hits.shape[:1]:
        raise ValueError(f"relevant must be [Q, K] and n_relevant [Q], not {hits.shape} and {total.shape}")
    if (total < 1).any():
        raise ValueError(f"query {int(np.argmax(total < 1))} has no relevant items: leave it out of the mean")
    found = np.cumsum(hits, axis=1)
    if (hits.sum(axis=1) > total).any():
        query = int(np.argmax(hits.sum(axis=1) > total))
        raise ValueError(f"query {query} has more hits than its {total[query]} relevant items")
    precision = found / np.arange(1, hits.shape[1] + 1)
    scores: NDArray[np.float64] = (precision * hits).sum(axis=1) / total
    return scores
