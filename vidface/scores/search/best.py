"""The best answer to every search, exactly, in one pass over blocks: of a gallery, or of distractors on disk.

The blocked product by BLAS only sorts pairs out: it is off by less than `vidface.scores.pairs.blocks.product_error`, so
what surely lies below the best of a row (and, in a gallery, below the score of its mate) is never scored; the rest gets
its score by `dot32`. Tested in ``tests/scores/metrics/test_open_set.py`` and
``tests/scores/metrics/test_mate_search.py`` against loops over all pairs.

Inner work: `vidface.scores.metrics.open_set` and `vidface.scores.metrics.mate_search` check what is passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import LONGEST
from vidface.embeddings.exact import dot32, product_error
from vidface.runtime import cpu_count, in_threads
from vidface.scores.pairs.blocks import BLOCK, TOPS, checked_float32

__all__: list[str] = []


def scan_gallery(
    probes: NDArray[np.float32],
    gallery: NDArray[np.float32],
    own: NDArray[np.int64],
    codes: NDArray[np.int64],
    order: NDArray[np.int64],
    *,
    workers: int | None,
    block: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """The best score of every probe, its row, the mate's score (NaN: none) and the mate's rank (0: none).

    Args:
        probes: float32 [P, D], C order.
        gallery: float32 [G, D], C order, rows of one identity back to back.
        own: int64 [P], the probe's identity among ``codes``; -1: not there.
        codes: int64 [G], ascending from 0 without gaps, the identity of every row.
        order: int64 [G], the number that a row is known by; of equal scores the lowest is the best row.
        workers: threads; None: one a core.
        block: rows on a side of a block.
    """
    best = np.full(len(probes), -np.inf, np.float32)
    best_row = np.full(len(probes), len(gallery), np.int64)
    mate = np.full(len(probes), np.nan, np.float32)
    rank = np.where(own >= 0, 1, 0)
    starts = np.searchsorted(codes, np.arange(codes[-1] + 2))
    error = product_error(probes.shape[1], LONGEST)

    def work(tops: Iterator[int]) -> None:
        scores = np.empty(block * block, np.float32)
        for top in tops:
            mine = slice(top, top + block)
            left = probes[mine]
            counted = np.full(
                len(left), -1, np.int64
            )  # the last identity that was found to stand before the mate
            _score_mates(left, gallery, own[mine], starts, mate[mine])
            for side in range(0, len(gallery), block):
                right, here = gallery[side : side + block], slice(side, side + block)
                products = scores[: len(left) * len(right)].reshape(len(left), len(right))
                np.matmul(left, right.T, out=products)
                _look(
                    *(products, left, right, codes[here], order[here], error, own[mine], mate[mine]),
                    *(best[mine], best_row[mine], rank[mine], counted),
                )

    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        in_threads(work, range(0, len(probes), block), cpu_count() if workers is None else workers)
    return best, best_row, mate, rank


@njit(cache=True, nogil=True)
def _score_mates(probes: Any, gallery: Any, own: Any, starts: Any, mate: Any) -> None:
    for q in range(len(probes)):
        if own[q] >= 0:
            most = np.float32(-np.inf)
            for row in range(starts[own[q]], starts[own[q] + 1]):
                most = max(most, dot32(probes[q], gallery[row]))
            mate[q] = most


@njit(cache=True, nogil=True)
def _look(
    products: Any,
    left: Any,
    right: Any,
    codes: Any,
    order: Any,
    error: float,
    own: Any,
    mate: Any,
    best: Any,
    best_row: Any,
    rank: Any,
    counted: Any,
) -> None:
    """Take one block of products into account.

    The highest is looked for among their bits as whole numbers, in the same order from 0 on: that becomes vector
    instructions, seven times as fast.
    """
    bits, largest = products.view(np.int32), np.empty(1, np.int32)
    as_score = largest.view(np.float32)
    for q in range(products.shape[0]):
        line = products[q]
        row, most = bits[q], np.int32(-(2**31))
        for c in range(row.size):
            most = max(most, row[c])
        largest[0] = most
        peak = as_score[0]
        if most < 0:  # no score above 0: the order of their bits is the other way round
            peak = line.max()
        if peak >= best[q] - error:
            floor = max(peak - 2 * error, best[q] - error)
            for c in range(line.size):
                if line[c] >= floor:
                    score = dot32(left[q], right[c])
                    if score > best[q] or (score == best[q] and order[c] < best_row[q]):
                        best[q], best_row[q] = score, order[c]
        if own[q] >= 0 and peak >= mate[q] - error:
            low, high = mate[q] - error, mate[q] + error
            for c in range(line.size):
                if line[c] < low or codes[c] == own[q] or codes[c] == counted[q]:
                    continue
                if line[c] > high or dot32(left[q], right[c]) >= mate[q]:
                    counted[q] = codes[c]
                    rank[q] += 1


def best_distractor(
    rows: NDArray[np.float32],
    distractors: Any,
    *,
    workers: int | None = None,
    device: str = "cpu",
    block: int = BLOCK,
) -> NDArray[np.float32]:
    """The highest score that each row has with any distractor.

    Memory holds a block of distractors and of scores a worker, and one number a row and worker.

    Args:
        rows: float32 [V, D], C order, of unit length, or zero.
        distractors: [M, D], float16 or float32, unit or zero rows, M > 0; only sliced, a block at a time.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        device: where blocks are computed: ``cpu``, or a device as torch names it. Sets speed, not the result.
        block: rows on a side of a block of scores; sets memory and speed, not the result.

    Returns:
        float32 [V].

    Raises:
        ValueError: a row of the distractors is neither zero nor of unit length.
    """
    error = product_error(rows.shape[1], LONGEST)
    if device != "cpu":
        from vidface.scores.pairs.blocks_torch import best_on_device

        return best_on_device(rows, distractors, error, device=device)

    def jobs() -> Iterator[tuple[int, range]]:
        for side in range(0, len(distractors), block):
            for top in range(0, len(rows), TOPS * block):
                yield side, range(top, min(top + TOPS * block, len(rows)), block)

    def work(shares: Iterator[tuple[int, range]]) -> NDArray[np.float32]:
        best = np.full(len(rows), -np.inf, np.float32)
        scores = np.empty(block * block, np.float32)
        for side, tops in shares:
            right = checked_float32(distractors, side, side + block)
            for top in tops:
                left = rows[top : top + block]
                products = scores[: len(left) * len(right)].reshape(len(left), len(right))
                np.matmul(left, right.T, out=products)
                _raise(products, products.max(axis=1), left, right, error, best[top : top + block])
        return best

    with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
        parts = in_threads(work, jobs(), cpu_count() if workers is None else workers)
    best: NDArray[np.float32] = np.max(parts, axis=0)
    return best


@njit(cache=True, nogil=True)
def _raise(products: Any, peaks: Any, left: Any, right: Any, error: float, best: Any) -> None:
    """Raise the best scores so far to those of one block, whose highest product in every row is ``peaks``."""
    for r in range(peaks.size):
        if peaks[r] < best[r] - error:
            continue
        floor = max(
            peaks[r] - 2 * error, best[r] - error
        )  # what is lower cannot be the best of the block, or of all
        line = products[r]
        for c in range(line.size):
            if line[c] >= floor:
                best[r] = max(best[r], dot32(left[r], right[c]))
