"""The pass of `vidface.metrics.open_set` over all pairs of a probe and a gallery row, in blocks and threads.

The blocked product by BLAS only sorts pairs out: it is off by less than `vidface.metrics.pair_scan.product_error`, so
what surely lies below a probe's best score and its mate's is never scored; the rest gets its score by `dot32`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from vidface.fixed_dot import dot32
from vidface.machine import cpu_count
from vidface.metrics.pair_scan import in_threads, product_error

__all__ = ["scan_gallery"]


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
    longest = [float(np.sqrt(np.einsum("ij,ij->i", m, m).max(initial=0))) for m in (probes, gallery)]
    error = product_error(probes.shape[1], 1.001 * max(longest))

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
