"""The rank of chosen gallery videos in the ranking of a query, however deep, exactly.

`vidface.scores.search.retrieval.search` gives the first K of a ranking; here it is asked where in the whole ranking
some videos stand. The order is the same: by the inner product in float64, then by video id. A blocked product by BLAS
counts who is surely above; only what comes closer than rounding can explain is scored again. Tested in
``tests/scores/search/test_gallery_ranks.py`` against a whole sort, and against the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import LONGEST, integers, texts, two_sides, unit_rows_of
from vidface.embeddings.exact import dot64, product_error
from vidface.scores.pairs.blocks import by_text

__all__ = ["gallery_ranks"]

QUERIES, VIDEOS = 512, 2048  # sides of a block of products: 4 MB


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
    above = np.zeros(len(order), np.int64)
    for first in range(0, len(asked), QUERIES):
        block = asked[first : first + QUERIES]
        bounds = np.searchsorted(whose[order], np.arange(first, first + len(block) + 1))
        if bounds[0] == bounds[-1]:
            continue
        for start in range(0, len(stored), VIDEOS):
            products = block @ stored[start : start + VIDEOS].T
            _count(products, block, stored, start, tie, error, bounds, order, wanted, above)
    return above + 1


@njit(cache=True, nogil=True)
def _count(
    products: Any,
    block: Any,
    stored: Any,
    start: int,
    tie: Any,
    error: float,
    bounds: Any,
    order: Any,
    wanted: Any,
    above: Any,
) -> None:
    """Add to ``above`` how many of the videos from ``start`` on stand before each wanted one."""
    for q in range(products.shape[0]):
        line = products[q]
        for n in range(bounds[q], bounds[q + 1]):
            mine = wanted[order[n]]
            score = dot64(block[q], stored[mine])
            low, high = np.float32(score - error), np.float32(score + error)
            low, high = np.nextafter(low, np.float32(-np.inf)), np.nextafter(high, np.float32(np.inf))
            surely = np.int32(0)
            near = np.int32(0)
            for c in range(line.size):
                surely += np.int32(line[c] > high)
                near += np.int32(line[c] >= low)
            count = np.int64(surely)
            if near > surely:
                for c in range(line.size):
                    if line[c] >= low and line[c] <= high:
                        other = dot64(block[q], stored[start + c])
                        count += other > score or (other == score and tie[start + c] < tie[mine])
            above[order[n]] += count
