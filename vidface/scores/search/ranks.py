"""The rank of chosen gallery videos in the ranking of a query, however deep, exactly.

`vidface.scores.search.retrieval.search` gives the first K of a ranking; here it is asked where in the whole ranking
some videos stand. The order is the same: by the inner product in float64, then by video id. A product by BLAS counts
who is surely above; only what comes closer than rounding can explain is scored again. Tested in
``tests/scores/search/test_gallery_ranks.py`` against a whole sort, and against the search.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import LONGEST, integers, texts, two_sides, unit_rows_of
from vidface.embeddings.exact import product_error
from vidface.scores.pairs.blocks import by_text

__all__ = ["gallery_ranks"]

CELLS = 2**24  # products at a time: 64 MB


def gallery_ranks(
    queries: ArrayLike,
    gallery: ArrayLike,
    gallery_ids: Sequence[str],
    of_query: ArrayLike,
    videos: ArrayLike,
) -> NDArray[np.int64]:
    """Where videos stand in the rankings of queries.

    Args:
        queries: float32 [Q, D], unit or zero rows.
        gallery: float32 [V, D], unit or zero rows.
        gallery_ids: [V], the video ids; equal scores are ordered by them, in text order.
        of_query: int [N], the query in whose ranking ...
        videos: int [N], ... this gallery video is looked up.

    Returns:
        int64 [N], 1 for the first of a ranking.

    Raises:
        ValueError: shapes that don't fit, rows that are neither of unit length nor zero, or a query or a video that
            is not there.
    """
    asked, stored = two_sides(unit_rows_of(queries, "queries"), unit_rows_of(gallery, "gallery"))
    whose = integers(of_query, "of_query").astype(np.int64)
    wanted = integers(videos, "videos", len(whose)).astype(np.int64)
    for places, there, what in ((whose, asked, "queries"), (wanted, stored, "videos")):
        if len(places) and not 0 <= places.min() <= places.max() < len(there):
            raise ValueError(f"{what} {places.min()} to {places.max()} are looked up among {len(there)}")
    _, tie = by_text(texts(gallery_ids, "ids", len(stored)))
    error = product_error(asked.shape[1], LONGEST)

    order = np.argsort(whose, kind="stable")
    ranks = np.empty(len(order), np.int64)
    used, place = np.unique(whose, return_inverse=True)
    size = max(1, CELLS // max(1, len(stored)))
    for first in range(0, len(used), size):
        block = asked[used[first : first + size]]
        products = block @ stored.T
        for n in order[slice(*np.searchsorted(place[order], (first, first + size)))]:
            query, mine = block[place[n] - first].astype(np.float64), wanted[n]
            score = query @ stored[mine].astype(np.float64)
            gaps = products[place[n] - first] - score
            near = np.flatnonzero(np.abs(gaps) <= error)
            others = stored[near].astype(np.float64) @ query
            before = (others > score) | ((others == score) & (tie[near] < tie[mine]))
            ranks[n] = 1 + np.count_nonzero(gaps > error) + np.count_nonzero(before)
    return ranks
