"""From the frames of a video to one embedding: a mean of the unit rows, made unit length again.

The mean of the kept frames' unit vectors is the reference's video embedding (LFRC 2019, video track: every frame
normalised, summed, normalised again). The weighted means keep every frame, and let those count that have many others
like them, and that look like faces; ``docs/pooling.md`` says how it was found. Tested in
``tests/embeddings/test_pooling.py`` and ``tests/embeddings/test_pooling_weighted.py``. Kernels are not in `__all__`:
they check neither a shape nor an index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import booleans, integers, numbers, unit_rows_of

__all__ = ["POOLS", "pool_frames", "weigh_frames"]

POOLS = ("largest", "size", "size-norm")
"""How frames become an embedding: the mean of the largest cluster, or of all frames, weighted by the size of their
cluster, or by that and by their norm."""

VANISHED = 1e-6  # a mean of float32 unit rows shorter than this is rounding, not a direction
# Chosen in a study on people who are not those of the figures it reports, docs/pooling.md.
UPPER = (9, 10)  # the norm that others are measured by: nine tenths of the video's frames have no larger one
CLEAR = 0.7  # frames whose norm is this share of it, or more, count in full


def pool_frames(unit: ArrayLike, keep: ArrayLike) -> NDArray[np.float32]:
    """Average the kept frames of one video.

    Args:
        unit: [n, D] unit rows; zero rows (frames without a usable face) add nothing.
        keep: bool [n].

    Returns:
        float32 [D] of unit length; zeros where nothing is kept or the kept rows cancel out (their mean is
        shorter than 1e-6). The mean is taken in float64.

    Raises:
        ValueError: shapes that don't fit, or rows that are neither of unit length nor zero.
    """
    rows = unit_rows_of(unit, "frames")
    kept = booleans(keep, "keep", len(rows))
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


def weigh_frames(norms: ArrayLike, labels: ArrayLike, *, by_norm: bool) -> NDArray[np.float64]:
    """How much each frame of a video counts in its weighted mean.

    By size alone: a frame counts M^2, where M is the size of its cluster, so that a cluster counts by the third power
    of its size: a person who is there again and again outweighs many strangers who are there once, yet where nothing
    repeats all frames count alike.

    By norm too: with r the ninth decile of the norms, a frame of norm v is clear to the degree g =
    min(1, v / (0.7 r))^8, M is the sum of g over its cluster, and it counts g M^2. Many networks give things, and faces
    of which little is seen, short features; not all do. Features that were normalised before all have g = 1.

    Args:
        norms: [n], lengths of the features before they were normalised; 0: a frame without a usable face.
        labels: int [n], from 0, the cluster of every frame, as `vidface.embeddings.union_find.cluster_frames` gives.
        by_norm: whether norms count; else they only say which frames are usable.

    Returns:
        float64 [n], shares that add up to 1; 0 for frames of norm 0. All zero where no frame is usable.

    Raises:
        ValueError: shapes that don't fit, negative or non-finite norms, or negative labels.
    """
    lengths = np.ascontiguousarray(numbers(norms, "norms"))
    clusters = integers(labels, "labels", len(lengths), at_least=0)
    if (lengths < 0).any():
        raise ValueError("norms must not be negative")
    weights = np.empty(len(lengths), np.float64)
    if len(lengths):
        weigh(lengths, np.unique(clusters, return_inverse=True)[1].astype(np.int32), by_norm, weights)
    return weights


@njit(cache=True, nogil=True)
def weigh(norms: Any, labels: Any, by_norm: Any, weights: Any) -> Any:
    """Write ``weigh_frames``; how many frames have a weight above 0.

    Args:
        norms: float64 [n].
        labels: int32 [n], each below n.
        by_norm: whether norms count.
        weights: float64 [n] for the answer.
    """
    usable = np.sort(norms[norms > 0])
    weights[:] = 0
    if not usable.size:
        return 0
    # The decile is the norm of a frame, the upper one where it falls between two.
    steps, of = UPPER
    clear = CLEAR * usable[(steps * (usable.size - 1) + of - 1) // of]
    mass = np.zeros(norms.size, np.float64)
    for i in range(norms.size):
        if by_norm:
            share = min(1.0, norms[i] / clear)
            share *= share
            share *= share
            weights[i] = share * share
        else:
            weights[i] = norms[i] > 0
        mass[labels[i]] += weights[i]
    total = 0.0
    for i in range(norms.size):
        weights[i] *= mass[labels[i]] * mass[labels[i]]
        total += weights[i]
    count = 0
    for i in range(norms.size):
        weights[i] /= total
        count += weights[i] > 0
    return count


@njit(cache=True, nogil=True)
def pool_weighted(unit: Any, weights: Any, pooled: Any) -> None:
    """Write the weighted mean of the unit rows, made unit length, in an order that is always the same.

    Args:
        unit: float32 [n, D], C-contiguous.
        weights: float64 [n], shares that add up to 1, or all zero.
        pooled: float32 [D] for the answer; zeros where the rows cancel out (a mean shorter than 1e-6), or none counts.
    """
    mean = np.zeros(unit.shape[1], np.float64)
    for i in range(unit.shape[0]):
        if weights[i] > 0:
            for d in range(unit.shape[1]):
                mean[d] += weights[i] * np.float64(unit[i, d])
    pooled[:] = 0
    length = np.sqrt(_sum_of_squares(mean))
    if length >= VANISHED:
        for d in range(mean.size):
            pooled[d] = np.float32(mean[d] / length)


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
