"""From the kept frames of a video to one embedding: the mean of the unit rows, made unit length again.

The mean of the frames' unit vectors is the reference's video embedding (LFRC 2019, video track: every frame
normalised, summed, normalised again). Tested in ``tests/test_pooling.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = ["pool_frames", "pool_label"]

VANISHED = 1e-6  # a mean of float32 unit rows shorter than this is rounding, not a direction


def pool_frames(unit: ArrayLike, keep: ArrayLike) -> NDArray[np.float32]:
    """Average the kept frames of one video.

    Args:
        unit: [n, D] unit rows; zero rows (frames without a usable face) add nothing.
        keep: bool [n].

    Returns:
        float32 [D] of unit length; zeros where nothing is kept or the kept rows cancel out (their mean is
        shorter than 1e-6). The mean is taken in float64.
    """
    rows = np.ascontiguousarray(unit, dtype=np.float32)
    kept = np.asarray(keep, dtype=bool)
    if rows.ndim != 2 or kept.shape != rows.shape[:1]:
        raise ValueError(f"frames must be [n, D] and keep [n], not {rows.shape} and {kept.shape}")
    pooled = np.empty(rows.shape[1], np.float32)
    pool_label(rows, kept, True, pooled)
    return pooled


@njit(cache=True, nogil=True)
def pool_label(unit: Any, labels: Any, wanted: Any, pooled: Any) -> Any:
    """Write ``pool_frames`` of the frames with one label, in an order that is always the same; how many they are.

    Args:
        unit: float32 [n, D], C-contiguous.
        labels: [n].
        wanted: the label of the frames that count.
        pooled: float32 [D] for the answer.
    """
    mean = np.zeros(unit.shape[1], np.float64)
    count = 0
    for i in range(unit.shape[0]):
        if labels[i] == wanted:
            count += 1
            for d in range(unit.shape[1]):
                mean[d] += np.float64(unit[i, d])
    pooled[:] = 0
    if count:
        for d in range(mean.size):
            mean[d] /= count
        length = np.sqrt(_sum_of_squares(mean))
        if length >= VANISHED:
            for d in range(mean.size):
                pooled[d] = np.float32(mean[d] / length)
    return count


@njit(cache=True)
def _sum_of_squares(values: Any) -> Any:
    """Sum pairwise: halves down to 128 values, which are summed in eight lanes. numpy's own order, written down.

    The halves are the nodes of a binary tree, the children of node k at 2k and 2k + 1: numba does not keep functions
    that call themselves in its cache.
    """
    nodes = 4
    while nodes * 16 < values.size:
        nodes *= 2
    begin = np.zeros(nodes, np.int64)
    count = np.zeros(nodes, np.int64)
    count[1] = values.size
    for k in range(1, nodes):
        if count[k] > 128:
            half = count[k] // 2 - count[k] // 2 % 8
            begin[2 * k], count[2 * k] = begin[k], half
            begin[2 * k + 1], count[2 * k + 1] = begin[k] + half, count[k] - half
    total = np.zeros(nodes, np.float64)
    for k in range(nodes - 1, 0, -1):
        if count[k] > 128:
            total[k] = total[2 * k] + total[2 * k + 1]
        elif count[k]:
            total[k] = _sum_in_lanes(values[begin[k] : begin[k] + count[k]])
    return total[1]


@njit(cache=True)
def _sum_in_lanes(values: Any) -> Any:
    whole = values.size // 8 * 8
    lanes = np.zeros(8, np.float64)
    for i in range(0, whole, 8):
        for lane in range(8):
            lanes[lane] += values[i + lane] * values[i + lane]
    total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    for i in range(whole, values.size):
        total += values[i] * values[i]
    return total
