"""Cosines of listed pairs of rows: millions of pairs of a few ten thousand rows.

Tested in ``tests/scores/protocols/test_templates.py``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import integers, unit_rows_of
from vidface.runtime import cpu_count, map_ordered
from vidface.scores.pairs.blocks import pair_scores

__all__ = ["listed_cosines"]

PAIRS = 1 << 18  # a task


def listed_cosines(rows: ArrayLike, first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """The inner product of every listed pair of rows, in float64; the same bits for any number of threads.

    Args:
        rows: float32 [T, D], of unit length or zero.
        first: int [P], places in ``rows``.
        second: int [P], likewise.

    Returns:
        float64 [P]; 8 bytes a pair are all the memory that is taken.

    Raises:
        ValueError: shapes that do not fit, rows that are neither of unit length nor zero, or a place where no row is.
    """
    unit, one = unit_rows_of(rows, "rows"), integers(first, "first")
    other = integers(second, "second", len(one))
    for places in (one, other):
        if len(places) and not 0 <= places.min() <= places.max() < len(unit):
            raise ValueError(f"a pair names row {places.min()} or {places.max()} of {len(unit)}")
    scores = np.empty(len(one))

    def part(start: int) -> None:
        piece = slice(start, start + PAIRS)
        sides = one[piece].astype(np.int64), other[piece].astype(np.int64)
        scores[piece] = pair_scores(unit, unit, *sides, np.float64)

    list(map_ordered(part, zip(range(0, len(scores), PAIRS)), workers=cpu_count()))
    return scores
