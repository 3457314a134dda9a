"""Impostor pairs by zones of their scores: what each zone counts in sets drawn again, and the pairs of chosen zones.

Edges, falling scores, cut all impostor pairs into zones: zone z holds edges[z] <= score < edges[z-1], the last one all
below the last edge. The score of a pair is `dot32` of its rows, so where a pair belongs is the same on every machine,
for any number of threads and any size of block; a blocked product by BLAS only tells which pairs need theirs. Tested
with `vidface.scores.pairs.replicates`, which checks what is passed, in ``tests/scores/metrics/test_paired.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vidface.embeddings.exact import dot32, product_error
from vidface.runtime import in_threads
from vidface.scores.pairs.blocks import (
    Pairs,
    blocks_of,
    outwards,
    products_of,
    scan_blocks,
)
from vidface.scores.pairs.distribution import Distribution
from vidface.scores.pairs.impostors import scores_at

__all__: list[str] = []

FINEST = 2**12  # no zone is meant to hold fewer pairs
STEP = 1.02  # between the ranks of the edges near a threshold: replicates differ by some such steps
STEPS = 20  # edges to either side of the threshold on the set itself
CHUNK = 2**18  # pairs kept in one piece


class Work(NamedTuple):
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


class Band(NamedTuple):
    """Impostor pairs, best first: their scores float32 [P], and the units of both sides int32 [P]."""

    scores: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]

    def between(self, edges: NDArray[np.float32], zone: int) -> Band:
        """Those of one zone."""
        high = edges[zone - 1] if zone > 0 else np.float32(np.inf)
        low = edges[zone] if zone < len(edges) else np.float32(-np.inf)
        stop = np.searchsorted(-self.scores, -low, side="right")
        start = np.searchsorted(-self.scores, -high, side="right")
        return Band(self.scores[start:stop], self.left[start:stop], self.right[start:stop])


def ranks_near(fractions: Sequence[Fraction], total: int) -> list[int]:
    """Ranks between which the thresholds of nearly all replicates should lie, rising."""
    wide = STEP**STEPS
    at = sorted({int(f * total * factor) for f in fractions for factor in (1 / wide, 1, wide)})
    return [rank for rank in at if 0 < rank < total] or [total - 1]


def edges_at(job: Work, ranks: list[int], total: int, above: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores, falling, below the edges that there are already: about those of the ranks, and of ranks between them."""
    # A bin that holds much of all pairs, as of a network that gives everybody the same, cannot tell ranks apart.
    if job.spread is None or 16 * int(job.spread.different.max()) > total:
        scan = partial(scan_blocks, job.pairs, block=job.block, workers=job.workers)
        product = partial(products_of, workers=job.workers)
        exact = scores_at(ranks, job.pairs, total, scan, product)
        scores = exact.astype(np.float64)
    else:
        better = np.cumsum(job.spread.different[::-1])  # pairs at or above the lower end of each bin
        scores = np.interp(np.log(ranks), np.log(np.maximum(better, 0.5)), job.spread.edges[-2::-1])
        exact = np.empty(0, np.float32)
    steps: list[float] = []
    for low, high in pairwise(ranks):
        near = high <= 1.01 * STEP**STEPS * low  # else it is the gap between two thresholds
        count = round(np.log(high / low) / np.log(STEP if near else STEP**10))
        steps += np.geomspace(low, high, max(1, count), endpoint=False).tolist()
    fine = np.array([*steps, ranks[-1]])
    fine = fine[np.concatenate([[True], np.diff(np.floor(fine / FINEST)) > 0])]
    # A zone's pairs are thinned out by the logarithm of their rank, which falls evenly with the score.
    found = np.interp(np.log(fine), np.log(ranks), scores).astype(np.float32)
    # A score that many pairs share gets a zone of its own, which need not be listed.
    alone = np.concatenate([exact, np.nextafter(exact, np.float32(np.inf))])
    found = np.unique(np.concatenate([found, alone, scores[-1:].astype(np.float32)]))[::-1]
    return found[found < above[-1]] if len(above) else found


def zone_sums(
    job: Work, high: np.float32, edges: NDArray[np.float32]
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


def list_zones(job: Work, edges: NDArray[np.float32], zones: list[int]) -> Band:
    """The impostor pairs of some zones, best first; how ties are ordered changes nothing."""
    wanted = np.zeros(len(edges) + 1, np.bool_)
    wanted[zones] = True
    lowest = np.append(edges, np.float32(-np.inf))[zones[-1]]

    def work(jobs: Iterator[tuple[bool, int, range]]) -> Band:
        chunks, room = [], CHUNK + job.block
        scores, left, right = np.empty(room, np.float32), np.empty(room, np.int32), np.empty(room, np.int32)
        filled = 0

        def full() -> None:
            chunks.append(Band(scores[:filled].copy(), left[:filled].copy(), right[:filled].copy()))

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
        return Band(*map(np.concatenate, zip(*chunks, strict=True)))

    parts = in_threads(work, blocks_of(job.pairs, job.block), job.workers)
    scores, left, right = map(np.concatenate, zip(*parts, strict=True))
    best = np.argsort(scores)[::-1]
    return Band(scores[best], left[best], right[best])


def _products(
    job: Work, jobs: Iterator[tuple[bool, int, range]]
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
