"""How the cosines of all pairs are spread, and the pairs at the ends: one pass over blocks, exact, in little memory.

Every unordered pair of two videos counts once, in a bin 1/512 wide, as genuine where both have the same identity. The
score of a pair is the exact cosine of its rows, rounded to float32 (`vidface.embeddings.exact`), so that counts and
lists are the same on every machine, for any number of threads and any size of block. With the counts at hand the rates
at every edge are exact; nothing is interpolated. Tested in ``tests/scores/pairs/test_score_distribution.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import at_least_one, integers, texts, unit_rows_of
from vidface.runtime import cpu_count, in_threads
from vidface.scores.pairs.blocks import BLOCK, Jobs, Pairs, blocks_of, by_identity, by_text

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


class _Best(NamedTuple):
    """The best pairs so far: the higher the score the better, and ties by key, which is made of both ids' places."""

    scores: NDArray[np.float32]
    keys: NDArray[np.int64]


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

    Beside the embeddings this takes one more copy of them (none where they are sorted by identity) and 20 MB a worker.

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
    if listed < 0:
        raise ValueError(f"listed must be at least 0, not {listed}")
    rows = unit_rows_of(embeddings)
    order, until, _, _ = by_identity(integers(identities, "identities", len(rows)))
    row_of, rank = by_text(texts(video_ids, "video_ids", len(rows)))
    if (np.diff(order) != 1).any():
        rows = rows[order]
    places = rank[order]

    def work(jobs: Jobs) -> tuple[NDArray[np.int64], list[_Best]]:
        counts, reaching = np.zeros((2, BINS), np.int64), np.empty(block * block, np.int64)
        best = [_Best(np.full(listed, -np.inf, np.float32), np.zeros(listed, np.int64))] * 2
        for _, side, tops in jobs:
            right = rows[side : side + block].astype(np.float64)
            for top in tops:
                left = rows[top : top + block].astype(np.float64)
                scores = left @ right.T
                # Row r has genuine pairs from column own[r] on and impostor pairs from others[r] on.
                own = np.clip(np.arange(1, len(left) + 1) + top - side, 0, len(right))
                others = np.clip(until[top : top + block] - side, 0, len(right))
                end = np.full(len(left), len(right))
                for kind, (sign, start, stop) in enumerate(((1, others, end), (-1, own, others))):
                    floor = best[kind].scores.min(initial=np.inf)
                    found = _sort_in(scores, start, stop, sign, counts[kind], floor, reaching)
                    row, column = np.divmod(reaching[:found], len(right))
                    one, other = places[row + top], places[column + side]
                    keys = np.minimum(one, other) << 32 | np.maximum(one, other)
                    better = np.float32(sign) * scores[row, column].astype(np.float32)
                    best[kind] = _first(
                        np.append(best[kind].scores, better), np.append(best[kind].keys, keys), listed
                    )
        return counts, best

    workers = cpu_count() if workers is None else workers
    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        parts = in_threads(work, blocks_of(Pairs(rows, until, None), block), workers)
    different, same = np.sum([counts for counts, _ in parts], axis=0)
    ends = []
    for kind, sign in enumerate((1, -1)):
        found = [best[kind] for _, best in parts]
        scores = np.concatenate([one.scores for one in found])
        scores, keys = _first(scores, np.concatenate([one.keys for one in found]), listed)
        scores, keys = scores[scores > -np.inf], keys[scores > -np.inf]
        pairs = row_of[np.stack([keys >> 32, keys & (2**32 - 1)], axis=1)]
        ends.append(Extremes(np.float32(sign) * scores + np.float32(0), pairs))  # no -0
    return Distribution(np.arange(BINS + 1) / PER_UNIT - 1, same, different, *ends)


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


@njit(cache=True, nogil=True)
def _sort_in(scores: Any, start: Any, stop: Any, sign: int, counts: Any, floor: Any, reaching: Any) -> int:
    """Count row r's scores from column start[r] to stop[r] - 1; write where ``sign`` times the score reaches floor."""
    found = 0
    for row in range(start.size):
        for column in range(start[row], stop[row]):
            score = np.float32(scores[row, column])
            place = int(np.floor(score * np.float32(PER_UNIT))) + PER_UNIT  # every step is exact
            counts[min(max(place, 0), BINS - 1)] += 1
            if sign * score >= floor:
                reaching[found] = row * scores.shape[1] + column
                found += 1
    return found


def _first(scores: NDArray[np.float32], keys: NDArray[np.int64], listed: int) -> _Best:
    if len(scores) > listed > 0:  # what is surely not listed need not be sorted
        floor = np.partition(scores, -listed)[-listed]
        tied = np.sort(keys[scores == floor])[:listed]
        near = (scores > floor) | ((scores == floor) & (keys <= tied[-1]))
        scores, keys = scores[near], keys[near]
    first = np.lexsort((keys, -scores))[:listed]
    return _Best(scores[first], keys[first])
