"""TPR at FPR over all pairs of sets whose identities were drawn again, threshold included.

In a replicate, identity i stands m_i times, with all its videos; a video of nobody known is a unit of its own. A
genuine pair of i counts m_i times, an impostor pair of two units m_i * m_j times; two copies of one unit are not
compared with one another. Pairs that share an identity go in and out together, as they must: they are not independent
(Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap, 2004, draw subsets by
one of the two; products of two drawn counts are mildly conservative: Owen and Eckles, Bootstrapping data arrays of
arbitrary order, 2012; Snijders and Borgatti, Non-parametric standard errors and tests for network statistics, 1999).
The threshold is that of the replicate: the definition of `vidface.scores.metrics.all_pairs`, on the pairs as
often as they count.

Only the impostor pairs that score highest can decide on a threshold: half as many again as the target allows on the set
itself, or more where a replicate runs out of them. They are listed once, by exact score, and the counts of every
replicate summed up along the list. Of more than `MOST` pairs only a share is listed, picked by a hash of the two rows:
that moves the ends of intervals by some 2e-4, but the same on every machine, for any number of threads and any size of
block. Tested in ``tests/scores/metrics/test_paired.py`` against a set that is really made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import LONGEST, at_least_one, integers, unit_rows_of
from vidface.embeddings.exact import product_error
from vidface.runtime import cpu_count, in_threads
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.pairs.blocks import (
    BLOCK,
    Floats,
    Jobs,
    Numbers,
    Pairs,
    blocks_of,
    by_identity,
    genuine_jobs,
    genuine_pairs,
    near_pairs,
    outwards,
    pair_scores,
    scan_blocks,
)
from vidface.scores.pairs.impostors import Place, places_at

__all__ = ["tpr_replicates"]

MOST = 200_000  # impostor pairs listed for a target
GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / 1.618...: multiples of it are spread evenly

# A pair: its score, the units of both sides, a hash of its rows.
PAIR = np.dtype([("score", np.float32), ("left", np.int32), ("right", np.int32), ("hash", np.uint32)])


def tpr_replicates(
    embeddings: ArrayLike,
    identities: ArrayLike,
    targets: Sequence[str],
    drawn: NDArray[np.uint8],
    *,
    workers: int | None = None,
    block: int = BLOCK,
) -> NDArray[np.float64]:
    """TPR at every FPR target in every replicate.

    Memory beside the embeddings: one more copy of them, ``drawn`` once more, and 20 MB a target.

    Args:
        embeddings: float32 [V, D], unit or zero rows.
        identities: int [V], any numbers from 0 up; -1: no identity.
        targets: FPR targets as text, each above 0 and below 1.
        drawn: uint8 [I + M, R] from `vidface.scores.metrics.bootstrap.draw`: the I identities by rising number, then
            the M videos without one in their order.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        block: videos on a side of a block of scores; sets memory and speed, not the result.

    Returns:
        float64 [T, R]. Where a target allows less than one impostor pair, none may be accepted. NaN where a replicate
        has no genuine or no impostor pair.

    Raises:
        ValueError: shapes that don't fit, rows that are neither of unit length nor zero, or a target outside (0, 1).
    """
    at_least_one(workers=workers, block=block)
    rows = unit_rows_of(embeddings)
    fractions = [fpr_fraction(target) for target in targets]
    order, until, _, sizes = by_identity(integers(identities, "identities", len(rows)))
    videos = np.concatenate([sizes, np.ones(len(order) - int(sizes.sum()), np.int64)])  # [U], of every unit
    drawn = np.asarray(drawn)
    if drawn.ndim != 2 or drawn.dtype != np.uint8:
        raise ValueError(f"drawn must be uint8 [units, replicates], not {drawn.dtype} {drawn.shape}")
    if len(drawn) != len(videos):
        raise ValueError(f"drawn has {len(drawn)} units, the set {len(videos)}")
    times = np.ascontiguousarray(drawn.T)  # [R, U]
    unit = np.repeat(np.arange(len(videos)), videos)  # [V], of every row
    pairs = Pairs(rows[order], until, None)
    workers = cpu_count() if workers is None else workers

    counts = np.zeros((len(times), 2), np.int64)  # genuine and impostor pairs
    for r, each in enumerate(times):
        copies = videos * each
        counts[r] = (videos - 1) @ copies // 2, (copies.sum() ** 2 - copies @ copies) // 2
    total = (len(rows) ** 2 - int(videos @ videos)) // 2
    # In exact arithmetic: a product of floats may fall just below a whole number.
    some = counts[:, 1].tolist()
    allowed = [[n * f.numerator // f.denominator if n else -1 for n in some] for f in fractions]
    limits = np.array(allowed, np.int64).reshape(len(fractions), len(times))
    depths = [3 * total * f.numerator // f.denominator // 2 + 100 for f in fractions]
    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        refused = _refused(pairs, unit, times, limits, depths, total, block, workers)
    hits = _hits(pairs, unit, times, refused, workers)
    return np.where(counts.all(axis=1), hits / np.maximum(counts[:, 0], 1), np.nan)


def _refused(
    pairs: Pairs,
    unit: Numbers,
    times: NDArray[np.uint8],
    limits: Numbers,
    depths: list[int],
    total: int,
    block: int,
    workers: int,
) -> Floats:
    """float32 [T, R], the best impostor score that a replicate must refuse: only what scores higher is accepted.

    ``unit`` int64 [V] is that of every row; ``times`` uint8 [R, U] how often units were drawn; ``limits`` int64 [T, R]
    how many impostor pairs a replicate may accept, below 0 where it has none; ``depths`` [T] how many of the ``total``
    impostor pairs are looked at first.
    """
    refused = np.where(limits < 0, np.inf, np.nan).astype(np.float32)
    scan = partial(scan_blocks, pairs, block=block, workers=workers)
    while np.isnan(refused).any():
        targets = np.flatnonzero(np.isnan(refused).any(axis=1)).tolist()
        ranks = [depths[t] for t in targets if depths[t] < total > MOST]
        places = dict(zip(ranks, places_at(ranks, pairs, total, scan), strict=True))
        floors = [places.get(depths[t], Place(np.float32(-np.inf), total, total)) for t in targets]
        listed = _listed(pairs, unit, floors, block, workers)
        for t, floor, best in zip(targets, floors, listed, strict=True):
            _walk(best, times, limits[t] * len(best) // floor.through, refused[t], workers)
            if floor.through == total:  # a share of all pairs may fall short of a target near 1
                refused[t, np.isnan(refused[t])] = best["score"][-1]
            depths[t] *= 4
    return refused


def _walk(
    best: NDArray[Any], times: NDArray[np.uint8], limits: Numbers, refused: Floats, workers: int
) -> None:
    """Write the score at which a replicate has accepted more than its limit, if it has, in place of NaN."""
    left, right = best["left"].copy(), best["right"].copy()

    def work(replicates: Iterable[int]) -> None:
        for r in replicates:
            at = _crossing(left, right, times[r], limits[r])
            if at < len(best):
                refused[r] = best["score"][at]

    in_threads(work, np.flatnonzero(np.isnan(refused)).tolist(), workers)


@njit(cache=True, nogil=True)
def _crossing(left: Any, right: Any, times: Any, limit: Any) -> int:
    """The first pair with which more than ``limit`` are accepted; how many pairs there are if never."""
    accepted = np.int64(0)
    for pair in range(left.size):
        accepted += np.int64(times[left[pair]]) * np.int64(times[right[pair]])
        if accepted > limit:
            return pair
    return int(left.size)


def _listed(
    pairs: Pairs, unit: Numbers, floors: list[Place], block: int, workers: int
) -> Iterator[NDArray[Any]]:
    """For every floor the pairs from it up, or some `MOST` of them, best first, of `PAIR`."""
    scores = np.array([floor.score for floor in floors], np.float32)
    bottoms, _ = outwards(scores, scores, product_error(pairs.rows.shape[1], LONGEST))
    shares = [int(min(1, MOST / floor.through) * 2**32) for floor in floors]
    above = bottoms.min(), np.float32(np.inf), np.float32(np.inf)

    def work(jobs: Jobs) -> NDArray[Any]:
        parts = [np.empty(0, PAIR)]
        for _, products, flat, left, right, top, side in near_pairs(pairs, *above, jobs, block):
            row, column = np.divmod(flat, len(right))
            numbers = ((row + top) * len(pairs.rows) + column + side).astype(np.uint64)
            hashes = numbers * GOLDEN >> np.uint64(32)
            kept = np.zeros(len(flat), np.bool_)
            for bottom, share in zip(bottoms, shares, strict=True):
                kept |= (products >= bottom) & (hashes < share)
            row, column = row[kept], column[kept]
            part = np.empty(len(row), PAIR)
            part["score"], part["hash"] = pair_scores(left, right, row, column), hashes[kept]
            part["left"], part["right"] = unit[row + top], unit[column + side]
            parts.append(part)
        return np.concatenate(parts)

    found = np.concatenate(in_threads(work, blocks_of(pairs, block), workers))
    found = found[np.argsort(-found["score"])]
    for floor, share in zip(floors, shares, strict=True):
        yield found[(found["score"] >= floor.score) & (found["hash"] < share)]


def _hits(pairs: Pairs, unit: Numbers, times: NDArray[np.uint8], refused: Floats, workers: int) -> Numbers:
    """int64 [T, R]: genuine pairs above what is refused, as often as their identity was drawn."""
    rows, until = pairs.rows, pairs.until
    top, bottom = refused.max(axis=1, initial=-np.inf), refused.min(axis=1, initial=np.inf)

    def work(jobs: Iterable[tuple[int, int]]) -> tuple[Numbers, Numbers]:
        hits = np.zeros(refused.shape, np.int64)
        surely = np.zeros((len(refused), times.shape[1]), np.int64)  # pairs that every replicate accepts
        for start, stop in jobs:
            row, other = genuine_pairs(until, start, stop)
            scores = pair_scores(rows, rows, row, other)
            for t in range(len(refused)):
                np.add.at(surely[t], unit[row[scores > top[t]]], 1)
                near = np.flatnonzero((scores > bottom[t]) & (scores <= top[t]))
                near = near[np.argsort(-scores[near])]
                accepted = np.searchsorted(-scores[near], -refused[t], side="left")
                owner = unit[row[near]]
                for r in np.flatnonzero(accepted):
                    hits[t, r] += times[r, owner[: accepted[r]]].sum()
        return hits, surely

    parts = in_threads(work, genuine_jobs(until), workers)
    hits: Numbers = np.sum([part for part, _ in parts], axis=0)
    surely = np.sum([part for _, part in parts], axis=0)
    for r, each in enumerate(times):
        hits[:, r] += surely @ each
    return hits
