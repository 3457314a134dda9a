"""How the cosines of all pairs are spread, and the pairs at the ends: one pass over blocks, exact, in little memory.

Every unordered pair of two videos counts once, in a bin 1/512 wide, as genuine where both have the same identity. The
score of a pair is `dot32` of its rows, so that counts and lists are the same on every machine, for any number of
threads and any size of block. As in `vidface.scores.pairs.blocks` a blocked product by BLAS does most of the work: only
pairs so close to an edge, or so high, that its rounding could matter get their score. With the counts at hand the rates
at every edge are exact; nothing is interpolated. Tested in ``tests/scores/pairs/test_score_distribution.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import LONGEST, at_least_one, integers, texts, unit_rows_of
from vidface.embeddings.exact import dot32, product_error
from vidface.runtime import cpu_count, in_threads
from vidface.scores.pairs.blocks import BLOCK, Pairs, blocks_of, by_identity, by_text

__all__ = ["BINS", "Distribution", "Extremes", "pair_distribution", "rates_at_edges"]

PER_UNIT = 512  # bins in a cosine of 1; a power of two, so that edges are exact
BINS = 2 * PER_UNIT


class Extremes(NamedTuple):
    """The pairs at one end of the scores, the most extreme first, ties by the ids of the pair in text order.

    Attributes:
        scores: float32 [N].
        pairs: int64 [N, 2], rows as given; the video whose id comes first in text order is the first.
    """

    scores: NDArray[np.float32]
    pairs: NDArray[np.int64]


class Distribution(NamedTuple):
    """All pairs by their cosine.

    Attributes:
        edges: float64 [BINS+1], -1 to 1; bin b holds edges[b] <= score < edges[b+1], the last one all above as well,
            and the first one all below: rounding leaves -1..1 by a little.
        same: int64 [BINS], genuine pairs.
        different: int64 [BINS], impostor pairs.
        strongest: impostor pairs with the highest scores.
        weakest: genuine pairs with the lowest.
    """

    edges: NDArray[np.float64]
    same: NDArray[np.int64]
    different: NDArray[np.int64]
    strongest: Extremes
    weakest: Extremes


def pair_distribution(
    embeddings: ArrayLike,
    identities: ArrayLike,
    video_ids: Sequence[str],
    *,
    listed: int = 50,
    workers: int | None = None,
    block: int = BLOCK,
) -> Distribution:
    """Sort all pairs of videos into bins, and list the strongest impostor and the weakest genuine ones.

    Beside the embeddings this takes one more copy of them (none where they are sorted by identity) and 6 MB a worker.

    Args:
        embeddings: float32 [V, D], unit rows. Zero rows (failed videos) score 0 with everybody and stay in.
        identities: int [V], any numbers from 0 up; -1: no identity, an impostor to everybody.
        video_ids: [V]; order ties.
        listed: pairs at each end.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        block: videos on a side of a block of scores; sets memory and speed, not the result.

    Raises:
        ValueError: shapes that don't fit, or rows that are neither of unit length nor zero.
    """
    at_least_one(workers=workers, block=block)
    rows = unit_rows_of(embeddings)
    order, until, _, _ = by_identity(integers(identities, "identities", len(rows)))
    row_of, rank = by_text(texts(video_ids, "video_ids", len(rows)))
    if (np.diff(order) != 1).any():
        rows = rows[order]
    pairs = Pairs(rows, until, None, LONGEST)
    places = rank[order]
    workers = cpu_count() if workers is None else workers
    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        different, strongest = _impostors(pairs, places, listed, block, workers)
    same, weakest = _genuine(pairs, places, listed, workers)
    return Distribution(
        np.arange(BINS + 1) / PER_UNIT - 1,
        same,
        different,
        Extremes(strongest.scores, row_of[strongest.pairs]),
        Extremes(-weakest.scores, row_of[weakest.pairs]),
    )


def rates_at_edges(counts: ArrayLike) -> NDArray[np.float64]:
    """Share of the pairs that are accepted at every edge, where a pair is accepted if its score is at least that.

    Args:
        counts: int [B], pairs in every bin, scores rising.

    Returns:
        float64 [B+1], falling from 1 to 0; NaN where there are no pairs at all.

    Raises:
        ValueError: counts that are not whole numbers, or negative.
    """
    each = integers(counts, "counts", at_least=0)
    above = np.concatenate([np.cumsum(each[::-1])[::-1], [0]])
    return np.asarray(above / above[0]) if above[0] else np.full(len(above), np.nan)


def _impostors(
    pairs: Pairs, places: NDArray[np.int64], listed: int, block: int, workers: int
) -> tuple[NDArray[np.int64], Extremes]:
    """Counts of the impostor pairs and the strongest of them, by `places`."""
    margin = np.float32(
        PER_UNIT * (product_error(pairs.rows.shape[1], pairs.longest) + 2e-7)
    )  # and of the place
    error = np.float32(product_error(pairs.rows.shape[1], pairs.longest))

    def work(jobs: Iterator[tuple[bool, int, range]]) -> tuple[NDArray[np.int64], Extremes]:
        counts = np.zeros(BINS, np.int64)
        best = _Best(listed)
        products, bins = np.empty(block * block, np.float32), np.empty(block, np.int32)
        mask = np.empty(block // 8 * 8 + 8, np.uint8)
        for _, side, tops in jobs:
            right = pairs.rows[side : side + block]
            for top in tops:
                left = pairs.rows[top : top + block]
                product = products[: len(left) * len(right)].reshape(len(left), len(right))
                np.matmul(left, right.T, out=product)
                best.filled = _sort_block(
                    product,
                    left,
                    right,
                    pairs.until[top : top + block] - side,
                    places[top : top + block],
                    places[side : side + block],
                    margin,
                    error,
                    counts,
                    bins,
                    mask,
                    best.scores,
                    best.pairs,
                    best.filled,
                )
        return counts, best.extremes()

    parts = in_threads(work, blocks_of(pairs, block), workers)
    return np.sum([counts for counts, _ in parts], axis=0, dtype=np.int64), _merge(
        [best for _, best in parts], listed
    )


def _genuine(
    pairs: Pairs, places: NDArray[np.int64], listed: int, workers: int
) -> tuple[NDArray[np.int64], Extremes]:
    """Counts of the genuine pairs and the weakest of them, scores negated."""

    def work(jobs: Iterator[int]) -> tuple[NDArray[np.int64], Extremes]:
        counts, best = np.zeros(BINS, np.int64), _Best(listed)
        for start in jobs:
            stop = min(start + 64, len(pairs.rows))
            best.filled = _sort_genuine(
                pairs.rows, pairs.until, places, start, stop, counts, best.scores, best.pairs, best.filled
            )
        return counts, best.extremes()

    parts = in_threads(work, range(0, len(pairs.rows), 64), workers)
    return np.sum([counts for counts, _ in parts], axis=0, dtype=np.int64), _merge(
        [best for _, best in parts], listed
    )


class _Best:
    """Room for the best pairs one thread has seen, best first."""

    def __init__(self, listed: int) -> None:
        self.scores = np.empty(listed, np.float32)
        self.pairs = np.empty((listed, 2), np.int64)
        self.filled = 0

    def extremes(self) -> Extremes:
        return Extremes(self.scores[: self.filled], self.pairs[: self.filled])


def _merge(parts: Sequence[Extremes], listed: int) -> Extremes:
    scores = np.concatenate([part.scores for part in parts])
    pairs = np.concatenate([part.pairs for part in parts])
    first = np.lexsort((pairs[:, 1], pairs[:, 0], -scores))[:listed]
    return Extremes(scores[first], pairs[first])


@njit(cache=True, nogil=True)
def _insert(score: Any, one: int, other: int, scores: Any, pairs: Any, filled: int) -> Any:
    """Put a pair into its place among the best so far, if it has one; how many there are then."""
    low, high = min(one, other), max(one, other)
    at = filled
    while at > 0 and (
        score > scores[at - 1]
        or (
            score == scores[at - 1]
            and (low < pairs[at - 1, 0] or (low == pairs[at - 1, 0] and high < pairs[at - 1, 1]))
        )
    ):
        at -= 1
    if at == scores.size:
        return filled
    if filled < scores.size:
        filled += 1
    for later in range(filled - 1, at, -1):
        scores[later] = scores[later - 1]
        pairs[later] = pairs[later - 1]
    scores[at], pairs[at, 0], pairs[at, 1] = score, low, high
    return filled


@njit(cache=True, nogil=True)
def _bin(score: Any) -> Any:
    """The bin of a score; every step is exact."""
    return min(max(int(np.floor((np.float64(score) + 1.0) * PER_UNIT)), 0), BINS - 1)


@njit(cache=True, nogil=True)
def _sort_block(
    products: Any,
    left: Any,
    right: Any,
    first: Any,
    left_places: Any,
    right_places: Any,
    margin: Any,
    error: Any,
    counts: Any,
    bins: Any,
    mask: Any,
    scores: Any,
    pairs: Any,
    filled: int,
) -> Any:
    """Sort the impostor pairs of a block; row r has them from column ``first[r]`` on. Returns the new ``filled``.

    The first loop becomes vector instructions: it finds every product's bin and marks those which need their score.
    The second counts in four histograms in turn: one would wait for its own last addition again and again.
    """
    columns = products.shape[1]
    words = mask.view(np.uint64)
    four = np.zeros((4, BINS), np.int32)
    scale, one = np.float32(PER_UNIT), np.float32(1)
    upper = one - margin
    for c in range(columns, (columns + 7) // 8 * 8):
        mask[c] = 0
    for row in range(products.shape[0]):
        at = min(max(first[row], 0), columns)
        if at == columns:
            continue
        # What cannot be among the best needs no look; while there is room for more, everything does.
        floor = np.float32(-np.inf)
        if filled == scores.size:
            floor = scores[filled - 1] - error if filled else np.float32(np.inf)
        rest, marks, own = products[row, at:], mask[at:], bins[at:]
        for c in range(rest.size):
            place = (rest[c] + one) * scale
            number = np.int32(place)
            gap = place - np.float32(number)
            # Rows a little longer than 1 leave -1..1.
            own[c] = min(max(number, np.int32(0)), np.int32(BINS - 1))
            marks[c] = (gap < margin) | (gap > upper) | (rest[c] >= floor)
        whole = rest.size // 4 * 4
        for c in range(0, whole, 4):
            four[0, own[c]] += 1
            four[1, own[c + 1]] += 1
            four[2, own[c + 2]] += 1
            four[3, own[c + 3]] += 1
        for c in range(whole, rest.size):
            four[0, own[c]] += 1
        for c in range(at // 8 * 8, at):
            mask[c] = 0
        for word in range(at // 8, (columns + 7) // 8):
            if not words[word]:
                continue
            for c in range(8 * word, 8 * word + 8):
                if not mask[c]:
                    continue
                score = dot32(left[row], right[c])
                four[0, bins[c]] -= 1
                four[0, _bin(score)] += 1
                if filled < scores.size or (filled and score >= scores[filled - 1]):
                    filled = _insert(score, left_places[row], right_places[c], scores, pairs, filled)
    for part in range(4):
        for b in range(BINS):
            counts[b] += four[part, b]
    return filled


@njit(cache=True, nogil=True)
def _sort_genuine(
    rows: Any,
    until: Any,
    places: Any,
    start: int,
    stop: int,
    counts: Any,
    scores: Any,
    pairs: Any,
    filled: int,
) -> Any:
    for row in range(start, stop):
        for other in range(row + 1, until[row]):
            score = dot32(rows[row], rows[other])
            counts[_bin(score)] += 1
            if filled < scores.size or (filled and -score >= scores[filled - 1]):
                filled = _insert(-score, places[row], places[other], scores, pairs, filled)
    return filled
