"""The best score of every row against distractors that stay on disk, exactly, in one pass over blocks.

The score of a pair is `dot32` of its rows, as in `vidface.metrics.pair_scan`; the blocked product by BLAS is off by
less than `product_error`, so only what comes that close to the best of a row is scored. Tested in
``tests/metrics/test_mate_search.py`` against a loop over all pairs.
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
from vidface.metrics.pair_scan import BLOCK, TOPS, UNIT, in_threads, product_error, widen

__all__ = ["best_distractor"]


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
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    error = product_error(rows.shape[1], max(1 + UNIT, 1.001 * float(lengths.max(initial=0))))
    if device != "cpu":
        from vidface.metrics.pair_scan_torch import best_on_device

        return best_on_device(rows, distractors, error, device=device)

    def jobs() -> Iterator[tuple[int, range]]:
        for side in range(0, len(distractors), block):
            for top in range(0, len(rows), TOPS * block):
                yield side, range(top, min(top + TOPS * block, len(rows)), block)

    def work(shares: Iterator[tuple[int, range]]) -> NDArray[np.float32]:
        best = np.full(len(rows), -np.inf, np.float32)
        scores = np.empty(block * block, np.float32)
        for side, tops in shares:
            right = widen(distractors, side, side + block)
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
