"""One pass over all impostor pairs, in blocks and threads: how many score above given brackets, and what lies inside.

The score of a pair is the exact cosine of its rows, rounded to float32 (`vidface.embeddings.exact`): the same bits on
every machine, for any number of threads and any size of block. The blocked product by BLAS in float32 is the filter: it
is off by less than `product_error`, so only the few pairs that close to a bracket or in it need their score. Tested in
``tests/scores/pairs/test_pair_scan.py``.

All of this is inner work, on arrays that `vidface.arrays` has let in; only distractors, which lie on disk,
are checked here, as they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vidface.arrays import LONGEST, on_grid, refuse_masked, refuse_rows
from vidface.embeddings.exact import cosine, product_error
from vidface.runtime import in_threads

BLOCK = 768  # videos on a side: 2.4 MB of scores stay in the cache; the bare product is fastest there too
TOPS = 16  # blocks of distractors a job: one read serves them all
GENUINE = 2**18  # genuine pairs a job, or those of one row

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]
Jobs = Iterable[tuple[bool, int, range]]


class Pairs(NamedTuple):
    """Which pairs are compared.

    Attributes:
        rows: float32 [V, D] on the grid, C order, by identity; those without one last.
        until: int64 [V], row i makes genuine pairs with rows i+1 to until[i]-1 and impostor pairs with all after them.
        distractors: [M, D], float16 or float32, makes impostor pairs with ``rows``, none with itself; None for none.
            Only ever sliced.
    """

    rows: Floats
    until: Numbers
    distractors: Any


class Found(NamedTuple):
    """What a pass over B brackets found; results of parts add up.

    Attributes:
        counts: int64 [B, 4], pairs above the bracket, at its upper end, inside, and at its lower end; where the ends
            are one number it counts as the upper end.
        inside: float32, the scores inside the brackets, in no order.
    """

    counts: Numbers
    inside: Floats


def by_identity(people: NDArray[Any]) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Put videos in order of their identity, int [V], below 0: none.

    Returns:
        order: int64 [V], rows as given, those without an identity last.
        until: int64 [V], as in `Pairs`: the genuine partners of a video are those right after it.
        starts: int64 [I], where the videos of every identity begin, identities ascending.
        sizes: int64 [I], how many they are.
    """
    order = np.argsort(people, kind="stable")
    order = order[np.searchsorted(people[order], 0) :]
    known = len(order)
    _, starts, sizes = np.unique(people[order], return_index=True, return_counts=True)
    order = np.concatenate([order, np.flatnonzero(people < 0)])
    until = np.arange(1, len(order) + 1)
    until[:known] = np.repeat(starts + sizes, sizes)
    return order, until, starts, sizes


def by_text(ids: Sequence[str]) -> tuple[Numbers, Numbers]:
    """int64 [V] each: the rows in text order of their ids, and the place of every row in it, which orders ties."""
    rows = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    places = np.empty(len(rows), np.int64)
    places[rows] = np.arange(len(rows))
    return rows, places


def outwards(low: Floats, high: Floats, error: float) -> tuple[Floats, Floats]:
    """Brackets made so wide that a score in ``low``..``high`` stays inside when it is off by ``error``."""
    below = np.nextafter((low.astype(np.float64) - error).astype(np.float32), np.float32(-np.inf))
    above = np.nextafter((high.astype(np.float64) + error).astype(np.float32), np.float32(np.inf))
    return below, above


def checked_float32(distractors: Any, start: int, stop: int) -> Floats:
    """Some rows of the distractors as float32, C order; ValueError where one is neither zero nor of unit length."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused
        rows = np.ascontiguousarray(distractors[start:stop], np.float32)
    refuse_rows(rows, "distractors", start)
    return on_grid(rows)


def refuse_shape(distractors: Any, dimension: int) -> None:
    """Refuse distractors that are not [M, D] numbers of the dimension; their rows are looked at as they are read."""
    refuse_masked(distractors, "distractors")
    shape, kind = getattr(distractors, "shape", None), getattr(distractors, "dtype", np.dtype(np.float32))
    if shape is None or len(shape) != 2 or shape[1] != dimension:
        raise ValueError(f"distractors must be [M, {dimension}], not {shape or type(distractors).__name__}")
    if not isinstance(kind, np.dtype) or kind.kind != "f":
        raise ValueError(f"distractors must be an array of float16 or float32, not {kind}")


def scan_blocks(pairs: Pairs, low: Floats, high: Floats, *, block: int, workers: int) -> Found:
    """Look at every impostor pair once, while BLAS is held to one thread.

    Ends of brackets, float32 [B], ascend: each of ``high`` is at least its ``low`` and below the next one's.
    """
    below, above = outwards(low, high, product_error(pairs.rows.shape[1], LONGEST))
    zones = below[0], above[0], below[1] if len(low) > 1 else np.float32(np.inf)

    def work(jobs: Jobs) -> Found:
        counts, none = np.zeros((len(low), 4), np.int64), np.empty(0, np.float32)
        near = [[none] for _ in low]  # scores that are close to each bracket
        for more, products, flat, left, right, _, _ in near_pairs(pairs, *zones, jobs, block):
            for b in range(len(low)):
                counts[b, 0] += np.count_nonzero(products > above[b]) if b else more
                chosen = flat[(products >= below[b]) & (products <= above[b])]
                if len(chosen):
                    near[b].append(pair_scores(left, right, *np.divmod(chosen, len(right))))
        scores = map(np.concatenate, near)
        inside = [tally(*bracket) for bracket in zip(scores, low, high, counts, strict=True)]
        return Found(counts, np.concatenate(inside))

    counts, inside = zip(*in_threads(work, blocks_of(pairs, block), workers), strict=True)
    return Found(np.sum(counts, axis=0), np.concatenate(inside))


def tally(scores: Floats, low: np.float32, high: np.float32, counts: Numbers) -> Floats:
    """Add exact scores to the ``counts`` of their bracket, a row of `Found`'s; the scores inside it."""
    between = (scores > low) & (scores < high)
    for place, kind in enumerate((scores > high, scores == high, between, (scores == low) & (low < high))):
        counts[place] += np.count_nonzero(kind)
    return scores[between]


def near_pairs(
    pairs: Pairs, bottom: np.float32, roof: np.float32, second: np.float32, jobs: Jobs, block: int
) -> Iterator[tuple[int, Floats, Numbers, Floats, Floats, int, int]]:
    """The impostor pairs whose product by BLAS lies in ``bottom``..``roof`` or reaches ``second``, block by block.

    Yields:
        How many products are above ``roof``; of the pairs the products float32 [P] and the places in the block int64
        [P], which the next block overwrites; the block's rows on the left and on the right, and where those begin.
    """
    room, places = np.empty(block * block, np.float32), np.empty(block * block, np.int64)
    mask = np.empty(block * block // 8 * 8 + 8, np.uint8)
    for far, side, tops in jobs:
        right = (
            checked_float32(pairs.distractors, side, side + block) if far else pairs.rows[side : side + block]
        )
        for top in tops:
            left = pairs.rows[top : top + block]
            products = room[: len(left) * len(right)]
            table = products.reshape(len(left), len(right))
            np.matmul(left, right.T, out=table)
            first = pairs.until[top : top + block] - side
            if not far and first.max() > 0:
                for line, stop in zip(table, first.tolist(), strict=True):
                    line[: max(stop, 0)] = np.nan  # the same person, or the pair's other half
            found, above = _sort_out(products, bottom, roof, second, mask, places)
            near = places[:found]
            yield above, products[near], near, left, right, top, side


@njit(cache=True, nogil=True)
def _sort_out(products: Any, bottom: Any, roof: Any, second: Any, mask: Any, places: Any) -> Any:
    """Write which products lie in bottom..roof or reach second; how many these are, and how many are above roof."""
    for c in range(products.size):  # becomes vector instructions
        mask[c] = products[c] >= bottom
    mask[products.size : (products.size + 7) // 8 * 8] = 0
    eights = mask.view(np.uint64)  # most are 0
    found, above = 0, 0
    for eight in range((products.size + 7) // 8):
        if eights[eight]:
            for c in range(8 * eight, 8 * eight + 8):
                if mask[c]:
                    above += products[c] > roof
                    if products[c] <= roof or products[c] >= second:
                        places[found] = c
                        found += 1
    return found, above


def blocks_of(pairs: Pairs, block: int) -> Iterator[tuple[bool, int, range]]:
    """(distractors?, first row on the right, first rows on the left) of blocks that hold every pair once."""
    videos = len(pairs.rows)
    for far, total in ((False, videos), (True, 0 if pairs.distractors is None else len(pairs.distractors))):
        for side in range(0, total, block):
            last = videos if far else side + 1  # the upper triangle, where left comes before right
            step = TOPS * block if far else block  # small jobs, so that many threads end together
            for top in range(0, last, step):
                yield far, side, range(top, min(top + step, last), block)


def pair_scores(left: Floats, right: Floats, i: Numbers, j: Numbers, dtype: Any = np.float32) -> NDArray[Any]:
    """The scores [P] of rows ``i`` on the left with rows ``j`` on the right: their cosine, rounded to ``dtype``."""
    scores = np.empty(len(i), dtype)
    _cosines(left, right, i, j, scores)
    return scores


@njit(cache=True, nogil=True)
def _cosines(left: Any, right: Any, i: Any, j: Any, scores: Any) -> None:
    for pair in range(scores.size):
        scores[pair] = cosine(left[i[pair]], right[j[pair]])


def genuine_jobs(until: Numbers) -> Iterable[tuple[int, int]]:
    """(start, stop) of rows that have about `GENUINE` genuine pairs with rows after them."""
    ends = np.cumsum(until - np.arange(1, len(until) + 1))
    steps = np.arange(GENUINE, ends[-1] if len(ends) else 0, GENUINE)
    cuts = np.searchsorted(ends, steps, side="right").tolist()
    return pairwise(sorted({0, *cuts, len(until)}))


def genuine_pairs(until: Numbers, start: int, stop: int) -> tuple[Numbers, Numbers]:
    """int64 [P] each: both rows of the genuine pairs of rows ``start`` to ``stop`` - 1 and those after them."""
    partners = until[start:stop] - np.arange(start + 1, stop + 1)
    row = np.repeat(np.arange(start, stop), partners)
    before = np.repeat(np.cumsum(partners) - partners, partners)  # pairs of the rows before
    return row, row + 1 + np.arange(len(row)) - before


def genuine_hits(rows: Floats, until: Numbers, thresholds: Floats, workers: int) -> Numbers:
    """int64 [V, T]: the genuine pairs of every row and those after it at or above every threshold; see `Pairs`."""
    hits = np.zeros((len(rows), len(thresholds)), np.int64)

    def work(jobs: Iterable[tuple[int, int]]) -> None:
        for start, stop in jobs:
            row, other = genuine_pairs(until, start, stop)
            scores = pair_scores(rows, rows, row, other)
            for t, threshold in enumerate(thresholds):
                hits[start:stop, t] = np.bincount(row[scores >= threshold] - start, minlength=stop - start)

    in_threads(work, genuine_jobs(until), workers)
    return hits
