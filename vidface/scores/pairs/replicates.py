"""TPR at FPR over all pairs of sets whose identities were drawn again, threshold included, exactly.

In a replicate, identity i stands m_i times, with all its videos; a video of nobody known is a unit of its own. A
genuine pair of i counts m_i times, an impostor pair of two units m_i * m_j times; two copies of one unit are not
compared with one another. Pairs that share an identity go in and out together, as they must: they are not independent
(Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap, 2004, draw subsets by
one of the two; products of two drawn counts are mildly conservative: Owen and Eckles, Bootstrapping data arrays of
arbitrary order, 2012; Snijders and Borgatti, Non-parametric standard errors and tests for network statistics, 1999).
The threshold is that of the replicate: the definition of `vidface.scores.metrics.all_pairs`, on the pairs as
often as they count.

Only the impostor pairs that score highest can decide on a threshold, but at a large FPR they are hundreds of millions.
So edges cut the scores into zones; one pass adds up what the pairs of every zone count in all replicates; that tells in
which zone each replicate finds its threshold, and only the pairs of such zones are listed, sorted and walked through,
the numbers of all replicates side by side. Where edges lie sets speed and memory, never the result. Tested in
``tests/scores/metrics/test_paired.py`` against a set that is really made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import LONGEST, at_least_one, integers, unit_rows_of
from vidface.embeddings.exact import dot32
from vidface.runtime import cpu_count, in_threads
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.pairs.blocks import BLOCK, Pairs, by_identity
from vidface.scores.pairs.distribution import Distribution
from vidface.scores.pairs.zones import Band, Work, edges_at, list_zones, ranks_near, zone_sums

__all__ = ["tpr_replicates"]

MOST = 2**25  # impostor pairs listed at a time: about 1 GB while they are sorted
FEW = 2**20  # so many pairs in all are listed without a pass that looks for zones
TOGETHER = (
    256  # replicates walked side by side: their counts of 100,000 units are 26 MB, which a cache may hold
)
STRIDE = 64  # pairs added up between two looks at whether a replicate has accepted enough


def tpr_replicates(
    embeddings: ArrayLike,
    identities: ArrayLike,
    targets: Sequence[str],
    drawn: NDArray[np.uint8],
    *,
    spread: Distribution | None = None,
    workers: int | None = None,
    block: int = BLOCK,
    most: int = MOST,
) -> NDArray[np.float64]:
    """TPR at every FPR target in every replicate.

    Memory beside the embeddings: one more copy of them, ``drawn`` once more, and about 30 bytes for each impostor pair
    near one of the thresholds, but for hardly more than ``most`` of them at a time.

    Args:
        embeddings: float32 [V, D], unit or zero rows.
        identities: int [V], any numbers from 0 up; -1: no identity.
        targets: FPR targets as text, each above 0 and below 1.
        drawn: uint8 [I + M, R] from `vidface.scores.metrics.bootstrap.draw`: the I identities by rising number, then
            the M videos without one in their order.
        spread: how the cosines of these pairs are spread, where that is known: it saves one pass over all pairs.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        block: videos on a side of a block of scores; sets memory and speed, not the result.
        most: impostor pairs listed at a time; sets memory and speed, not the result.

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
    unit = np.repeat(np.arange(len(videos), dtype=np.int32), videos)  # [V], of every row
    rows = rows[order]
    pairs = Pairs(rows, until, None, LONGEST)

    by_size = sorted(range(len(fractions)), key=fractions.__getitem__)
    genuine, impostors = _counts(videos, drawn)
    # In exact arithmetic: a product of floats may fall just below a whole number.
    allowed = [[n * f.numerator // f.denominator for n in impostors.tolist()] for f in fractions]
    limits = np.array(allowed, np.int64).reshape(len(fractions), drawn.shape[1])
    job = Work(pairs, unit, drawn, cpu_count() if workers is None else workers, block, spread)
    everywhere = (len(rows) ** 2 - int((videos**2).sum())) // 2
    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        refused = _refused(
            job, limits[by_size], impostors > 0, [fractions[t] for t in by_size], everywhere, most
        )
    refused = refused[np.argsort(by_size)]
    hits = _hits(pairs, unit, refused, drawn, job.workers)
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


def _refused(
    job: Work,
    limits: NDArray[np.int64],
    possible: NDArray[np.bool_],
    fractions: Sequence[Fraction],
    total: int,
    most: int,
) -> NDArray[np.float32]:
    """float32 [T, R], the best impostor score that a replicate must refuse: only what scores higher is accepted.

    ``limits`` int64 [T, R], rising from target to target, say how many it may accept. NaN where a replicate is not
    ``possible``.
    """
    refused = np.full(limits.shape, np.nan, np.float32)
    if not possible.any() or not len(limits):
        return refused
    edges = np.empty(0, np.float32)
    before = np.zeros(
        (1, limits.shape[1]), np.int64
    )  # [Z+1, R]: pairs above zone z; the last one is all the rest
    sizes = np.empty(0, np.int64)
    ranks = ranks_near(fractions, total) if total > FEW else []
    while ranks:
        deeper = edges_at(job, ranks, total, edges)
        if not len(deeper):  # all the rest ties with the lowest edge
            break
        added, counts = zone_sums(job, edges[-1] if len(edges) else np.float32(np.inf), deeper)
        before = np.concatenate([before, before[-1] + np.cumsum(added, axis=0)])
        edges, sizes = np.concatenate([edges, deeper]), np.concatenate([sizes, counts])
        rest = total - int(sizes.sum())
        in_rest = bool(((before[-1] <= limits) & possible).any())
        ranks = [min(max(2 * (total - rest), 1), total - 1)] if in_rest and rest > most else []
    sizes = np.append(sizes, total - int(sizes.sum()))
    # zone[t, r]: the first one with which a replicate has more than it may accept
    zone = np.array([(before[1:] <= limit).sum(axis=0) for limit in limits])
    zone[:, ~possible] = -1
    wanted = []
    for z in np.unique(zone[zone >= 0]).tolist():
        if 0 < z < len(edges) and edges[z - 1] == np.nextafter(edges[z], np.float32(np.inf)):
            refused[zone == z] = edges[z]  # the only score in it
        else:
            wanted.append(z)
    while wanted:
        batch = [wanted.pop(0)]
        while wanted and int(sizes[[*batch, wanted[0]]].sum()) <= most:
            batch.append(wanted.pop(0))
        listed = list_zones(job, edges, batch)
        for z in batch:
            _walk_zone(job, listed.between(edges, z), z, zone, before[z], limits, refused)
        del listed  # before the next ones are made
    return refused


def _walk_zone(
    job: Work,
    band: Band,
    number: int,
    zone: NDArray[np.int64],
    before: NDArray[np.int64],
    limits: NDArray[np.int64],
    refused: NDArray[np.float32],
) -> None:
    """Find the thresholds that lie in one zone, and put them into ``refused``."""
    here = np.flatnonzero((zone == number).any(axis=0))
    done = (zone < number).sum(axis=0)

    def work(jobs: Iterator[NDArray[np.int64]]) -> None:
        for part in jobs:
            found, counts, most = (np.ascontiguousarray(of[:, part]) for of in (refused, job.drawn, limits))
            _walk(*band, counts, before[part], done[part], most, found)
            refused[:, part] = found  # columns of its own: no other thread writes there

    in_threads(work, [here[at : at + TOGETHER] for at in range(0, len(here), TOGETHER)], job.workers)


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
