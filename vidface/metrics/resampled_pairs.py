"""TPR at FPR over all pairs of sets whose identities were drawn again, threshold included, exactly.

In a replicate, identity i stands m_i times, with all its videos; a video of nobody known is a unit of its own. A
genuine pair of i counts m_i times, an impostor pair of two units m_i * m_j times; two copies of one unit are not
compared with one another. Pairs that share an identity go in and out together, as they must: they are not independent
(Bolle, Ratha and Pankanti, Error analysis of pattern recognition systems - the subsets bootstrap, 2004, draw subsets by
one of the two; products of two drawn counts are mildly conservative: Owen and Eckles, Bootstrapping data arrays of
arbitrary order, 2012; Snijders and Borgatti, Non-parametric standard errors and tests for network statistics, 1999).
The threshold is that of the replicate: the definition of `vidface.metrics.verification`, on the pairs as
often as they count.

Only the impostor pairs that score highest can decide on a threshold, but at a large FPR they are hundreds of millions.
So edges cut the scores into zones; one pass adds up what the pairs of every zone count in all replicates; that tells in
which zone each replicate finds its threshold, and only the pairs of such zones are listed, sorted and walked through,
the numbers of all replicates side by side. Where edges lie sets speed and memory, never the result. Tested in
``tests/metrics/test_paired.py`` against a set that is really made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
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
from vidface.metrics.score_distribution import Distribution

__all__ = ["tpr_replicates"]

MOST = 2**25  # impostor pairs listed at a time: about 1 GB while they are sorted
FEW = 2**20  # so many pairs in all are listed without a pass that looks for zones
FINEST = 2**12  # no zone is meant to hold fewer pairs
STEP = 1.02  # between the ranks of the edges near a threshold: replicates differ by some such steps
STEPS = 20  # edges to either side of the threshold on the set itself
TOGETHER = (
    256  # replicates walked side by side: their counts of 100,000 units are 26 MB, which a cache may hold
)
STRIDE = 64  # pairs added up between two looks at whether a replicate has accepted enough
CHUNK = 2**18  # pairs kept in one piece


class _Job(NamedTuple):
    """What is compared, the unit of every row int32 [V], how often units were drawn uint8 [U, R], who works how.

    ``spread`` tells where to look, if it is there.
    """

    pairs: Pairs
    unit: NDArray[np.int32]
    drawn: NDArray[np.uint8]
    workers: int
    block: int
    spread: Distribution | None

    def bottom(self, score: np.float32) -> np.float32:
        """What a product by BLAS reaches where the score itself is at least this."""
        error = product_error(self.pairs.rows.shape[1], self.pairs.longest)
        return np.float32(outwards(np.array([score]), np.array([score]), error)[0][0])


class _Band(NamedTuple):
    """Impostor pairs, best first: their scores float32 [P], and the units of both sides int32 [P]."""

    scores: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]

    def between(self, edges: NDArray[np.float32], zone: int) -> _Band:
        """Those of one zone."""
        high = edges[zone - 1] if zone > 0 else np.float32(np.inf)
        low = edges[zone] if zone < len(edges) else np.float32(-np.inf)
        stop = np.searchsorted(-self.scores, -low, side="right")
        start = np.searchsorted(-self.scores, -high, side="right")
        return _Band(self.scores[start:stop], self.left[start:stop], self.right[start:stop])


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
        drawn: uint8 [I + M, R] from `vidface.metrics.paired.draw`: the I identities by rising number, then the M
            videos without one in their order.
        spread: how the cosines of these pairs are spread, where that is known: it saves one pass over all pairs.
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
    job = _Job(pairs, unit, drawn, cpu_count() if workers is None else workers, block, spread)
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
    job: _Job,
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
    ranks = _ranks(fractions, total) if total > FEW else []
    while ranks:
        deeper = _edges(job, ranks, total, edges)
        if not len(deeper):  # all the rest ties with the lowest edge
            break
        added, counts = _sums(job, edges[-1] if len(edges) else np.float32(np.inf), deeper)
        before = np.concatenate([before, before[-1] + np.cumsum(added, axis=0)])
        edges, sizes = np.concatenate([edges, deeper]), np.concatenate([sizes, counts])
        rest = total - int(sizes.sum())
        in_rest = bool(((before[-1] <= limits) & possible).any())
        ranks = [min(2 * (total - rest), total - 1)] if in_rest and rest > most else []
    sizes = np.append(sizes, total - int(sizes.sum()))
    # zone[t, r]: the first one with which a replicate has more than it may accept
    zone = np.array([(before[1:] <= limit).sum(axis=0) for limit in limits])
    zone[:, ~possible] = -1
    wanted = np.unique(zone[zone >= 0]).tolist()
    while wanted:
        batch = [wanted.pop(0)]
        while wanted and int(sizes[[*batch, wanted[0]]].sum()) <= most:
            batch.append(wanted.pop(0))
        listed = _list(job, edges, batch)
        for z in batch:
            _walk_zone(job, listed.between(edges, z), z, zone, before[z], limits, refused)
        del listed  # before the next ones are made
    return refused


def _ranks(fractions: Sequence[Fraction], total: int) -> list[int]:
    """Ranks between which the thresholds of nearly all replicates should lie, rising."""
    wide = STEP**STEPS
    at = sorted({int(f * total * factor) for f in fractions for factor in (1 / wide, 1, wide)})
    return [rank for rank in at if 0 < rank < total] or [total - 1]


def _edges(job: _Job, ranks: list[int], total: int, above: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores, falling, below the edges that there are already: about those of the ranks, and of ranks between them."""
    if job.spread is None:
        scan = partial(scan_blocks, job.pairs, block=job.block, workers=job.workers)
        product = partial(products_of, workers=job.workers)
        scores = scores_at(ranks, job.pairs, total, scan, product).astype(np.float64)
    else:
        better = np.cumsum(job.spread.different[::-1])  # pairs at or above the lower end of each bin
        scores = np.interp(np.log(ranks), np.log(np.maximum(better, 0.5)), job.spread.edges[-2::-1])
    steps: list[float] = []
    for low, high in pairwise(ranks):
        near = high <= 1.01 * STEP**STEPS * low  # else it is the gap between two thresholds
        count = round(np.log(high / low) / np.log(STEP if near else STEP**10))
        steps += np.geomspace(low, high, max(1, count), endpoint=False).tolist()
    fine = np.array([*steps, ranks[-1]])
    fine = fine[np.concatenate([[True], np.diff(np.floor(fine / FINEST)) > 0])]
    # A zone's pairs are thinned out by the logarithm of their rank, which falls evenly with the score.
    found = np.interp(np.log(fine), np.log(ranks), scores).astype(np.float32)
    found = np.unique(np.append(found, scores[-1].astype(np.float32)))[::-1]
    return found[found < above[-1]] if len(above) else found


def _sums(
    job: _Job, high: np.float32, edges: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the pairs of each zone, edges[z] <= score < edges[z-1] (``high`` for the first), count in every replicate.

    Returns:
        (int64 [Z, R], how many pairs there are in each zone: int64 [Z]).
    """
    count, replicates = len(edges), job.drawn.shape[1]
    largest = max(int(job.drawn.max()) ** 2, 1)
    most = (2**32 - 1) // largest  # pairs that 32 bits hold the sum of

    def work(jobs: Iterator[tuple[bool, int, range]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        sums, sizes = np.zeros((count, replicates), np.int64), np.zeros(count, np.int64)
        narrow, since = np.zeros((count, replicates), np.uint32), np.zeros(count, np.int64)
        for product, near, far, first, units in _products(job, jobs):
            if int(since.max(initial=0)) + product.size > most:
                sums += narrow
                sizes += since
                narrow[:], since[:] = 0, 0
            _add(
                product,
                near,
                far,
                first,
                *units,
                high,
                edges,
                job.bottom(edges[-1]),
                job.drawn,
                narrow,
                since,
            )
        return sums + narrow, sizes + since

    parts = in_threads(work, blocks_of(job.pairs, job.block), job.workers)
    return np.sum([one for one, _ in parts], axis=0), np.sum([one for _, one in parts], axis=0)


def _list(job: _Job, edges: NDArray[np.float32], zones: list[int]) -> _Band:
    """The impostor pairs of some zones, best first; how ties are ordered changes nothing."""
    wanted = np.zeros(len(edges) + 1, np.bool_)
    wanted[zones] = True
    lowest = np.append(edges, np.float32(-np.inf))[zones[-1]]

    def work(jobs: Iterator[tuple[bool, int, range]]) -> _Band:
        chunks, room = [], CHUNK + job.block
        scores, left, right = np.empty(room, np.float32), np.empty(room, np.int32), np.empty(room, np.int32)
        filled = 0

        def full() -> None:
            chunks.append(_Band(scores[:filled].copy(), left[:filled].copy(), right[:filled].copy()))

        for product, near, far, first, units in _products(job, jobs):
            row = 0
            while row < len(near):
                if filled + len(far) > room:
                    full()
                    filled = 0
                row, filled = _keep(
                    *(product, row, near, far, first, *units, edges, wanted, job.bottom(lowest)),
                    *(scores, left, right, filled),
                )
        full()
        return _Band(*map(np.concatenate, zip(*chunks, strict=True)))

    parts = in_threads(work, blocks_of(job.pairs, job.block), job.workers)
    scores, left, right = map(np.concatenate, zip(*parts, strict=True))
    best = np.argsort(scores)[::-1]
    return _Band(scores[best], left[best], right[best])


def _products(
    job: _Job, jobs: Iterator[tuple[bool, int, range]]
) -> Iterator[tuple[Any, Any, Any, Any, tuple[Any, Any]]]:
    """Blocks of products by BLAS, with rows, first impostor columns and units of both sides."""
    room = np.empty(job.block * job.block, np.float32)
    for _, side, tops in jobs:
        right = slice(side, side + job.block)
        far = job.pairs.rows[right]
        for top in tops:
            left = slice(top, top + job.block)
            near = job.pairs.rows[left]
            product = room[: len(near) * len(far)].reshape(len(near), len(far))
            np.matmul(near, far.T, out=product)
            yield product, near, far, job.pairs.until[left] - side, (job.unit[left], job.unit[right])


@njit(cache=True, nogil=True)
def _zone(score: Any, edges: Any) -> int:
    """In which zone a score lies; the last one, below all edges, is len(edges)."""
    low, high = 0, edges.size
    while low < high:
        middle = (low + high) // 2
        if score >= edges[middle]:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True, nogil=True)
def _add(
    products: Any,
    left: Any,
    right: Any,
    first: Any,
    left_unit: Any,
    right_unit: Any,
    high: Any,
    edges: Any,
    bottom: Any,
    drawn: Any,
    sums: Any,
    sizes: Any,
) -> None:
    """Add the pairs of a block to the sums of their zones."""
    columns, replicates = products.shape[1], drawn.shape[1]
    for row in range(products.shape[0]):
        line, a = products[row], drawn[left_unit[row]]
        for c in range(min(max(first[row], 0), columns), columns):
            if line[c] < bottom:
                continue
            score = dot32(left[row], right[c])
            if score >= high or score < edges[edges.size - 1]:
                continue
            zone = _zone(score, edges)
            total, b = sums[zone], drawn[right_unit[c]]
            for r in range(replicates):
                total[r] += np.uint32(a[r]) * np.uint32(b[r])
            sizes[zone] += 1


@njit(cache=True, nogil=True)
def _keep(
    products: Any,
    row: int,
    left: Any,
    right: Any,
    first: Any,
    left_unit: Any,
    right_unit: Any,
    edges: Any,
    wanted: Any,
    bottom: Any,
    scores: Any,
    left_kept: Any,
    right_kept: Any,
    filled: int,
) -> Any:
    """List the pairs of wanted zones from ``row`` on while there is room for a row; the next row, and ``filled``."""
    columns = products.shape[1]
    while row < products.shape[0] and filled + columns <= scores.size:
        line = products[row]
        for c in range(min(max(first[row], 0), columns), columns):
            if line[c] >= bottom:
                score = dot32(left[row], right[c])
                if wanted[_zone(score, edges)]:
                    scores[filled], left_kept[filled], right_kept[filled] = (
                        score,
                        left_unit[row],
                        right_unit[c],
                    )
                    filled += 1
        row += 1
    return row, filled


def _walk_zone(
    job: _Job,
    band: _Band,
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
