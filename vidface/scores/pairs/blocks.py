"""One pass over all impostor pairs, in blocks and threads: how many score above given brackets, and what lies inside.

The score of a pair is `dot32` of its rows: the same bits on every machine, for any number of threads and any size
of block. The blocked product by BLAS, ten times as fast, only sorts pairs out: whatever order it adds in, it is off
by less than `product_error`, so only the few pairs that close to a bracket or in it need their score. Tested in
``tests/scores/pairs/test_pair_scan.py``.

All of this is inner work, on arrays that `vidface.arrays` has let in; only distractors, which lie on disk,
are checked here, as they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vidface.arrays import on_grid, refuse_masked, refuse_rows
from vidface.embeddings.exact import dot32, product_error
from vidface.runtime import in_threads

__all__: list[str] = []

BLOCK = 768  # videos on a side: 2.4 MB of scores stay in the cache; the bare product is fastest there too
TOPS = 16  # blocks of distractors a job: one read serves them all
CHUNK = 2**18  # scores kept in one piece: 1 MB


class Pairs(NamedTuple):
    """Which pairs are compared.

    Attributes:
        rows: float32 [V, D], C order, by identity; those without one last.
        until: int64 [V], row i makes genuine pairs with rows i+1 to until[i]-1 and impostor pairs with all after them.
        distractors: [M, D], float16 or float32, makes impostor pairs with ``rows``, none with itself; None for none.
            Only ever sliced.
        longest: the length of the longest row, or more.
    """

    rows: NDArray[np.float32]
    until: NDArray[np.int64]
    distractors: Any
    longest: float


class Found(NamedTuple):
    """What a pass over B brackets found; results of parts add up.

    Attributes:
        counts: int64 [B, 4], pairs above the bracket, at its upper end, inside, and at its lower end; where the ends
            are one number it counts as the upper end.
        inside: float32, the scores inside the brackets, in no order.
    """

    counts: NDArray[np.int64]
    inside: NDArray[np.float32]


class ByIdentity(NamedTuple):
    """Videos put in order of their identity: the genuine partners of one are those right after it.

    Attributes:
        order: int64 [V], rows as given, those without an identity last.
        until: int64 [V], as in `Pairs`.
        starts: int64 [I], where the videos of every identity begin, identities ascending.
        sizes: int64 [I], how many they are.
    """

    order: NDArray[np.int64]
    until: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


def by_identity(people: NDArray[Any]) -> ByIdentity:
    """Order videos by identity, int [V]; below 0: none."""
    order = np.argsort(people, kind="stable")
    order = order[np.searchsorted(people[order], 0) :]
    known = len(order)
    _, starts, sizes = np.unique(people[order], return_index=True, return_counts=True)
    order = np.concatenate([order, np.flatnonzero(people < 0)])
    until = np.arange(1, len(order) + 1)
    until[:known] = np.repeat(starts + sizes, sizes)
    return ByIdentity(order, until, starts, sizes)


def by_text(ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [V] each: the rows in text order of their ids, and the place of every row in it, which orders ties."""
    rows = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    places = np.empty(len(rows), np.int64)
    places[rows] = np.arange(len(rows))
    return rows, places


def outwards(
    low: NDArray[np.float32], high: NDArray[np.float32], error: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brackets made so wide that a score in ``low``..``high`` stays inside when it is off by ``error``."""
    below = np.nextafter((low.astype(np.float64) - error).astype(np.float32), np.float32(-np.inf))
    above = np.nextafter((high.astype(np.float64) + error).astype(np.float32), np.float32(np.inf))
    return below, above


def checked_float32(distractors: Any, start: int, stop: int) -> NDArray[np.float32]:
    """Some rows of the distractors as float32, C order.

    Raises:
        ValueError: a row is neither zero nor of unit length.
    """
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused
        rows = np.ascontiguousarray(distractors[start:stop], np.float32)
    refuse_rows(rows, "distractors", start)
    return on_grid(rows)


def refuse_shape(distractors: Any, dimension: int) -> None:
    """Refuse distractors that are not [M, D] numbers of the dimension; their rows are looked at as they are read.

    Raises:
        ValueError: what they are instead.
    """
    refuse_masked(distractors, "distractors")
    shape, kind = getattr(distractors, "shape", None), getattr(distractors, "dtype", np.dtype(np.float32))
    if shape is None or len(shape) != 2 or shape[1] != dimension:
        raise ValueError(f"distractors must be [M, {dimension}], not {shape or type(distractors).__name__}")
    if not isinstance(kind, np.dtype) or kind.kind != "f":
        raise ValueError(f"distractors must be an array of float16 or float32, not {kind}")


def scan_blocks(
    pairs: Pairs, low: NDArray[np.float32], high: NDArray[np.float32], *, block: int, workers: int
) -> Found:
    """Look at every impostor pair once.

    Args:
        pairs: what is compared.
        low: float32 [B], lower ends of the brackets, ascending.
        high: float32 [B], upper ends; each at least its ``low`` and below the next one's.
        block: rows on a side of a block.
        workers: threads; BLAS should be held to one thread meanwhile.

    Raises:
        ValueError: a distractor's row is not of unit length.
    """
    zones = outwards(low, high, product_error(pairs.rows.shape[1], pairs.longest))
    anybody = np.zeros(block, np.int64)  # no distractor is a genuine partner

    def work(jobs: Iterator[tuple[bool, int, range]]) -> Found:
        counts, chunks = np.zeros((len(low), 4), np.int64), []
        kept, filled = np.empty(CHUNK + block, np.float32), 0
        scores, mask = np.empty(block * block, np.float32), np.empty(block // 8 * 8 + 8, np.uint8)
        for far, side, tops in jobs:
            right = (
                checked_float32(pairs.distractors, side, side + block)
                if far
                else pairs.rows[side : side + block]
            )
            for top in tops:
                left = pairs.rows[top : top + block]
                first = anybody if far else pairs.until[top : top + block] - side
                product = scores[: len(left) * len(right)].reshape(len(left), len(right))
                np.matmul(left, right.T, out=product)
                row = 0
                while row < len(left):
                    if filled + len(right) > len(kept):
                        chunks.append(kept[:filled].copy())
                        filled = 0
                    row, filled = _scan(
                        product, row, left, right, first, low, high, *zones, counts, mask, kept, filled
                    )
        return Found(counts, np.concatenate([*chunks, kept[:filled]]))

    parts = in_threads(work, blocks_of(pairs, block), workers)
    counts = np.sum([part.counts for part in parts], axis=0)
    return Found(counts, np.concatenate([part.inside for part in parts]))


def products_of(
    left: NDArray[np.float32], right: NDArray[np.float32], *, workers: int
) -> NDArray[np.float32]:
    """All products of two matrices of rows, by BLAS."""
    scores = np.empty((len(left), len(right)), np.float32)

    def work(jobs: Iterator[int]) -> None:
        for top in jobs:
            np.matmul(left[top : top + 128], right.T, out=scores[top : top + 128])

    in_threads(work, range(0, len(left), 128), workers)
    return scores


def blocks_of(pairs: Pairs, block: int) -> Iterator[tuple[bool, int, range]]:
    """(distractors?, first row on the right, first rows on the left) of blocks that hold every pair once."""
    videos = len(pairs.rows)
    for far, total in ((False, videos), (True, 0 if pairs.distractors is None else len(pairs.distractors))):
        for side in range(0, total, block):
            last = videos if far else side + 1  # the upper triangle, where left comes before right
            step = TOPS * block if far else block  # small jobs, so that many threads end together
            for top in range(0, last, step):
                yield far, side, range(top, min(top + step, last), block)


@njit(cache=True, nogil=True)
def dot(left: Any, right: Any) -> Any:
    """The score of two float32 rows."""
    return dot32(left, right)


@njit(cache=True, nogil=True)
def _scan(
    scores: Any,
    row: int,
    left: Any,
    right: Any,
    first: Any,
    low: Any,
    high: Any,
    zone_low: Any,
    zone_high: Any,
    counts: Any,
    mask: Any,
    kept: Any,
    filled: int,
) -> Any:
    """Look at a block of products from ``row`` on while there is room in ``kept``; returns the next row and ``filled``.

    Row r has impostors from column ``first[r]`` on. Two plain loops, which become vector instructions, count what is
    surely above the lowest bracket and mark what needs a closer look: scores near the lowest bracket, and all that
    reach the next one.
    """
    columns = scores.shape[1]
    brackets = low.size
    words = mask.view(np.uint64)
    bottom, roof = zone_low[0], zone_high[0]
    second = zone_low[1] if brackets > 1 else np.float32(np.inf)
    for c in range(columns, (columns + 7) // 8 * 8):
        mask[c] = 0
    while row < scores.shape[0] and filled + columns <= kept.size:
        line = scores[row]
        at = min(max(first[row], 0), columns)
        rest, marks = line[at:], mask[at:]  # counted from 0, or the loops do not become vector instructions
        above, near = np.int32(0), np.int32(0)
        for c in range(rest.size):
            above += np.int32(rest[c] > roof)
            near += np.int32(rest[c] >= bottom)
        counts[0, 0] += above
        row += 1
        if near == above and not (above and brackets > 1):
            continue
        for c in range(at // 8 * 8, at):
            mask[c] = 0
        for c in range(rest.size):
            marks[c] = ((rest[c] >= bottom) & (rest[c] <= roof)) | (rest[c] >= second)
        for word in range(at // 8, (columns + 7) // 8):
            if not words[word]:
                continue
            for c in range(8 * word, 8 * word + 8):
                if not mask[c]:
                    continue
                product, score, known = line[c], np.float32(0), False
                for b in range(brackets):
                    if product < zone_low[b]:
                        break
                    if product > zone_high[b]:
                        counts[b, 0] += b > 0  # the lowest is counted already
                        continue
                    if not known:
                        score, known = dot32(left[row - 1], right[c]), True
                    if score > high[b]:
                        counts[b, 0] += 1
                    elif score == high[b]:
                        counts[b, 1] += 1
                    elif score > low[b]:
                        counts[b, 2] += 1
                        kept[filled] = score
                        filled += 1
                    elif score == low[b]:
                        counts[b, 3] += 1
    return row, filled


def genuine_hits(
    rows: NDArray[np.float32], until: NDArray[np.int64], thresholds: NDArray[np.float32], workers: int
) -> NDArray[np.int64]:
    """int64 [V, T]: the genuine pairs of every row and those after it at or above every threshold; see `Pairs`."""
    hits = np.zeros((len(rows), len(thresholds)), np.int64)

    def work(jobs: Iterator[int]) -> None:
        for start in jobs:
            _hits(rows, until, thresholds, start, min(start + 64, len(rows)), hits)

    in_threads(work, range(0, len(rows), 64), workers)
    return hits


@njit(cache=True, nogil=True)
def _hits(rows: Any, until: Any, thresholds: Any, start: int, stop: int, hits: Any) -> None:
    for row in range(start, stop):
        for other in range(row + 1, until[row]):
            score = dot32(rows[row], rows[other])
            for t in range(thresholds.size):
                hits[row, t] += score >= thresholds[t]
