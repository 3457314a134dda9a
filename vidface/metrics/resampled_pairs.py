"""TPR at FPR over all pairs of sets whose identities were drawn again, threshold included, exactly.

In a replicate, identity i stands m_i times, with all its videos; a video of nobody known is a unit of its own. A
genuine pair of i counts m_i times, an impostor pair of two units m_i * m_j times; two copies of one unit are not
compared with one another. Pairs that share an identity go in and out together, as they must: they are not independent
(Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap, 2004, draw subsets by
one of the two; products of two drawn counts are mildly conservative: Owen and Eckles, Bootstrapping data arrays of
arbitrary order, 2012; Snijders and Borgatti, Non-parametric standard errors and tests for network statistics, 1999).
The threshold is that of the replicate: the definition of `vidface.metrics.verification`, on the pairs as
often as they count.

Only the impostor pairs that score highest can decide on a threshold. They are listed once, in bands from the top, best
first, and walked through with the numbers of all replicates side by side; each replicate stops where it has accepted
what its FPR allows. Where a band does not reach deep enough for every replicate, the next one is listed. Tested in
``tests/metrics/test_paired.py`` against a set that is really made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.fixed_dot import dot32
from vidface.machine import cpu_count
from vidface.metrics.impostors import scores_at
from vidface.metrics.pair_scan import (
    BLOCK,
    Pairs,
    blocks_of,
    by_identity,
    in_threads,
    outwards,
    product_error,
    products_of,
    scan_blocks,
)
from vidface.metrics.pairs import fpr_fraction

__all__ = ["tpr_replicates"]

MOST = 2**25  # impostor pairs in a band: about 1 GB while they are sorted
MARGIN = 1.5  # how much deeper than the FPR on the set itself the first bands go: few replicates need more
TOGETHER = (
    256  # replicates walked side by side: their counts of 100,000 units are 26 MB, which a cache may hold
)
STRIDE = 64  # pairs added up between two looks at whether a replicate has accepted enough
CHUNK = 2**18  # pairs kept in one piece


class _Band(NamedTuple):
    """Impostor pairs, best first: their scores float32 [P], and the units of both sides int32 [P]."""

    scores: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]


def tpr_replicates(
    embeddings: ArrayLike,
    identities: ArrayLike,
    targets: Sequence[str],
    drawn: NDArray[np.uint8],
    *,
    workers: int | None = None,
    block: int = BLOCK,
    most: int = MOST,
) -> NDArray[np.float64]:
    """TPR at every FPR target in every replicate.

    Memory beside the embeddings: one more copy of them, ``drawn`` once more, and about 30 bytes for each of 1.5 times
    the impostor pairs that the largest target accepts, but at most for ``most`` pairs at a time.

    Args:
        embeddings: float32 [V, D], unit or zero rows.
        identities: int [V], any numbers from 0 up; -1: no identity.
        targets: FPR targets as text, each above 0 and below 1.
        drawn: uint8 [I + M, R] from `vidface.metrics.paired.draw`: the I identities by rising number, then the M
            videos without one in their order.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        block: videos on a side of a block of scores; sets memory and speed, not the result.
        most: impostor pairs listed at a time; sets memory and speed, not the result.

    Returns:
        float64 [T, R]. Where a target allows less than one impostor pair, none may be accepted. NaN where a replicate
        has no genuine or no impostor pair.

    Raises:
        ValueError: shapes that don't fit, values that aren't finite, or a target outside (0, 1).
    """
    rows, people = np.asarray(embeddings, np.float32), np.asarray(identities)
    if rows.ndim != 2 or people.shape != rows.shape[:1]:
        raise ValueError(f"embeddings must be [V, D] and identities [V], not {rows.shape} and {people.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("values that are not finite in the embeddings")
    fractions = [fpr_fraction(target) for target in targets]
    order, until, _, sizes = by_identity(people)
    videos = np.concatenate([sizes, np.ones(len(order) - int(sizes.sum()), np.int64)])  # [U], of every unit
    if len(drawn) != len(videos):
        raise ValueError(f"drawn has {len(drawn)} units, the set {len(videos)}")
    unit = np.repeat(np.arange(len(videos), dtype=np.int32), videos)  # [V], of every row
    rows = np.ascontiguousarray(rows[order])
    longest = 1.001 * float(np.sqrt(np.einsum("ij,ij->i", rows, rows).max(initial=0)))
    pairs = Pairs(rows, until, None, longest)

    by_size = sorted(range(len(fractions)), key=fractions.__getitem__)
    genuine, impostors = _counts(videos, drawn)
    # In exact arithmetic: a product of floats may fall just below a whole number.
    allowed = [[n * f.numerator // f.denominator for n in impostors.tolist()] for f in fractions]
    limits = np.array(allowed, np.int64).reshape(len(fractions), drawn.shape[1])
    workers = cpu_count() if workers is None else workers
    everywhere = (len(rows) ** 2 - int((videos**2).sum())) // 2
    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        bands = _bands(pairs, unit, everywhere, float(max(fractions, default=0)), workers, block, most)
        refused = _refused(bands, drawn, limits[by_size], impostors > 0, workers)[np.argsort(by_size)]
    hits = _hits(pairs, unit, refused, drawn, workers)
    with np.errstate(invalid="ignore"):
        return np.where((genuine > 0) & (impostors > 0), hits / genuine, np.nan)


def _counts(
    videos: NDArray[np.int64], drawn: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [R] each: genuine and impostor pairs of every replicate, from the videos of every unit."""
    counts = np.zeros((3, drawn.shape[1]), np.int64)
    for part in range(0, drawn.shape[1], STRIDE):
        times = drawn[:, part : part + STRIDE].astype(np.int64)
        of_part = counts[:, part : part + STRIDE]
        of_part[0] = videos @ times
        of_part[1] = (videos * (videos - 1) // 2) @ times
        of_part[2] = videos**2 @ times**2
    return counts[1], (counts[0] ** 2 - counts[2]) // 2


def _bands(
    pairs: Pairs, unit: NDArray[np.int32], total: int, share: float, workers: int, block: int, most: int
) -> Iterator[_Band]:
    """All impostor pairs, best first, in bands of about ``most``; nothing is done before a band is asked for."""
    scan = partial(scan_blocks, pairs, block=block, workers=workers)
    product = partial(products_of, workers=workers)
    wanted = min(int(MARGIN * share * total) + 1000, total)
    ends = [*range(most, wanted, most), wanted]
    high = np.float32(np.inf)
    while total:
        ranks = [end - 1 for end in ends]
        everything = np.array([-np.inf], np.float32)
        for low in scores_at(ranks, pairs, total, scan, product) if ends[0] < total else everything:
            if low < high:  # equal where more pairs tie than fit a band
                yield _list(pairs, unit, low, high, workers, block)
            high = low
        if ends[-1] == total:
            return
        ends = [min(ends[-1] + most, 2 * ends[-1], total)]


def _list(
    pairs: Pairs, unit: NDArray[np.int32], low: np.float32, high: np.float32, workers: int, block: int
) -> _Band:
    """The impostor pairs with low <= score < high, best first; how ties are ordered changes nothing."""
    error = product_error(pairs.rows.shape[1], pairs.longest)
    (bottom,), (roof,) = outwards(np.array([low]), np.array([high]), error)

    def work(jobs: Iterator[tuple[bool, int, range]]) -> _Band:
        chunks, room = [], CHUNK + block
        scores, left, right = np.empty(room, np.float32), np.empty(room, np.int32), np.empty(room, np.int32)
        filled = 0

        def full() -> None:
            chunks.append(_Band(scores[:filled].copy(), left[:filled].copy(), right[:filled].copy()))

        products = np.empty(block * block, np.float32)
        for _, side, tops in jobs:
            far = pairs.rows[side : side + block]
            for top in tops:
                near = pairs.rows[top : top + block]
                product = products[: len(near) * len(far)].reshape(len(near), len(far))
                np.matmul(near, far.T, out=product)
                first = pairs.until[top : top + block] - side
                units = unit[top : top + block], unit[side : side + block]
                row = 0
                while row < len(near):
                    if filled + len(far) > room:
                        full()
                        filled = 0
                    row, filled = _keep(
                        *(product, row, near, far, first, *units, low, high, bottom, roof),
                        *(scores, left, right, filled),
                    )
        full()
        return _Band(*map(np.concatenate, zip(*chunks, strict=True)))

    parts = in_threads(work, blocks_of(pairs, block), workers)
    scores, left, right = map(np.concatenate, zip(*parts, strict=True))
    best = np.argsort(scores)[::-1]
    return _Band(scores[best], left[best], right[best])


@njit(cache=True, nogil=True)
def _keep(
    products: Any,
    row: int,
    left: Any,
    right: Any,
    first: Any,
    left_unit: Any,
    right_unit: Any,
    low: Any,
    high: Any,
    bottom: Any,
    roof: Any,
    scores: Any,
    left_kept: Any,
    right_kept: Any,
    filled: int,
) -> Any:
    """List what lies in the band from ``row`` on while there is room for a row; the next row, and ``filled``."""
    columns = products.shape[1]
    while row < products.shape[0] and filled + columns <= scores.size:
        line = products[row]
        for c in range(min(max(first[row], 0), columns), columns):
            if line[c] >= bottom and line[c] <= roof:
                score = dot32(left[row], right[c])
                if score >= low and score < high:
                    scores[filled], left_kept[filled], right_kept[filled] = (
                        score,
                        left_unit[row],
                        right_unit[c],
                    )
                    filled += 1
        row += 1
    return row, filled


def _refused(
    bands: Iterator[_Band],
    drawn: NDArray[np.uint8],
    limits: NDArray[np.int64],
    possible: NDArray[np.bool_],
    workers: int,
) -> NDArray[np.float32]:
    """float32 [T, R], the best impostor score that a replicate must refuse: only what scores higher is accepted.

    ``limits`` int64 [T, R], rising from target to target, say how many it may accept. NaN where a replicate is not
    ``possible``.
    """
    count = len(limits)
    refused = np.full(limits.shape, np.nan, np.float32)
    accepted = np.zeros(drawn.shape[1], np.int64)
    done = np.where(possible, 0, count)
    parts = [slice(at, at + TOGETHER) for at in range(0, drawn.shape[1], TOGETHER)]
    while not (done == count).all():
        band = next(bands)

        def work(jobs: Iterator[slice], band: _Band = band) -> None:
            for part in jobs:
                if (done[part] < count).any():
                    counts = np.ascontiguousarray(drawn[:, part])
                    state = accepted[part], done[part], limits[:, part], refused[:, part]
                    _walk(*band, counts, *state)

        in_threads(work, parts, workers)
        del band, work  # before the next one is made
    return refused


@njit(cache=True, nogil=True)
def _walk(
    scores: Any, left: Any, right: Any, counts: Any, accepted: Any, done: Any, limits: Any, refused: Any
) -> None:
    """Count pairs, best first, until every replicate has had more than each of its limits, which ascend."""
    targets, replicates = limits.shape
    added = np.empty(replicates, np.uint32)
    limit = np.empty(replicates, np.int64)  # the next one of every replicate
    for r in range(replicates):
        limit[r] = limits[done[r], r] if done[r] < targets else np.iinfo(np.int64).max
    for start in range(0, scores.size, STRIDE):
        stop = min(start + STRIDE, scores.size)
        added[:] = 0
        for p in range(start, stop):
            a, b = counts[left[p]], counts[right[p]]
            for r in range(replicates):
                added[r] += np.uint32(a[r]) * np.uint32(b[r])
        crossed = 0
        for r in range(replicates):
            crossed += accepted[r] + added[r] > limit[r]
        if crossed:
            for r in range(replicates):
                if accepted[r] + added[r] <= limit[r]:
                    continue
                total = accepted[r]
                for p in range(start, stop):
                    total += np.int64(counts[left[p], r]) * np.int64(counts[right[p], r])
                    while done[r] < targets and total > limits[done[r], r]:
                        refused[done[r], r] = scores[p]
                        done[r] += 1
                limit[r] = limits[done[r], r] if done[r] < targets else np.iinfo(np.int64).max
            left_over = 0
            for r in range(replicates):
                left_over += done[r] < targets
            if not left_over:
                return
        for r in range(replicates):
            accepted[r] += added[r]


def _hits(
    pairs: Pairs,
    unit: NDArray[np.int32],
    refused: NDArray[np.float32],
    drawn: NDArray[np.uint8],
    workers: int,
) -> NDArray[np.int64]:
    """int64 [T, R]: genuine pairs above what is refused, as often as their identity was drawn."""
    known = np.where(np.isnan(refused), np.inf, refused)  # inf: nothing is accepted
    top, bottom = known.max(axis=1), known.min(axis=1)

    def work(jobs: Iterator[int]) -> NDArray[np.int64]:
        hits = np.zeros(known.shape, np.int64)
        for start in jobs:
            stop = min(start + 64, len(pairs.rows))
            _count(pairs.rows, pairs.until, unit, known, top, bottom, drawn, start, stop, hits)
        return hits

    total: NDArray[np.int64] = np.sum(in_threads(work, range(0, len(pairs.rows), 64), workers), axis=0)
    return total


@njit(cache=True, nogil=True)
def _count(
    rows: Any,
    until: Any,
    unit: Any,
    refused: Any,
    top: Any,
    bottom: Any,
    drawn: Any,
    start: int,
    stop: int,
    hits: Any,
) -> None:
    targets, replicates = refused.shape
    surely = np.zeros(targets, np.int64)  # pairs of a row that every replicate accepts
    for row in range(start, stop):
        times = drawn[unit[row]]
        surely[:] = 0
        for other in range(row + 1, until[row]):
            score = dot32(rows[row], rows[other])
            for t in range(targets):
                if score > top[t]:
                    surely[t] += 1
                elif score > bottom[t]:
                    for r in range(replicates):
                        hits[t, r] += np.int64(times[r]) * np.int64(score > refused[t, r])
        for t in range(targets):
            if surely[t]:
                for r in range(replicates):
                    hits[t, r] += surely[t] * np.int64(times[r])
