"""From the frames of a video to one embedding: every frame has a weight; the mean of the unit rows, made unit length.

The mean of the kept frames' unit vectors is the reference's video embedding (LFRC 2019, video track: every frame
normalised, summed, normalised again): frames of the largest cluster count 1, the others 0. The weighted means keep
every frame, and let those count that have many others like them, and that look like faces; ``docs/pooling.md`` says how
it was found. Tested in ``tests/embeddings/test_pooling.py`` and ``tests/embeddings/test_pooling_weighted.py``. Kernels
are not in `__all__`: they check neither a shape nor an index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import booleans, integers, numbers, unit_rows_of
from vidface.embeddings.exact import unit_row

__all__ = ["POOLING", "POOLS", "pool_frames", "weigh_frames"]

POOLING = {
    "largest": "mean of L2-normalised frames, L2-normalised",
    "size": "mean of L2-normalised frames, weighted by cluster size, L2-normalised",
    "size-norm": "mean of L2-normalised frames, weighted by cluster size and norm, L2-normalised",
}
"""How frames become an embedding, and how an embeddings file says it."""
POOLS = tuple(POOLING)

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
    pooled = np.empty(rows.shape[1], np.float32)
    weighted_mean(rows, booleans(keep, "keep", len(rows)).astype(np.float64), pooled)
    return pooled


@njit(cache=True, nogil=True)
def weighted_mean(unit: Any, weights: Any, pooled: Any) -> None:
    """Write the weighted mean of the unit rows, made unit length, in an order that is always the same.

    Args:
        unit: float32 [n, D], C-contiguous.
        weights: float64 [n], 0 or more.
        pooled: float32 [D] for the answer; zeros where the rows cancel out (a mean shorter than 1e-6), or none counts.
    """
    total = np.zeros(unit.shape[1])
    sum_of_weights = 0.0
    for i in range(unit.shape[0]):
        weight, row = weights[i], unit[i]
        if weight > 0:
            sum_of_weights += weight
            for d in range(row.size):
                total[d] += weight * np.float64(row[d])
    if unit_row(total, np.empty(total.size), pooled) < VANISHED * sum_of_weights:
        pooled[:] = 0


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
def weigh(norms: Any, labels: Any, by_norm: bool, weights: Any) -> None:
    """Write ``weigh_frames`` from float64 [n], int32 [n], each below n, into float64 [n]."""
    usable = np.sort(norms[norms > 0])
    weights[:] = 0
    if not usable.size:
        return
    # The decile is the norm of a frame, the upper one where it falls between two.
    steps, of = UPPER
    clear = CLEAR * usable[(steps * (usable.size - 1) + of - 1) // of]
    mass = np.zeros(norms.size, np.float64)
    for i in range(norms.size):
        weights[i] = min(1.0, norms[i] / clear) ** 8 if by_norm else np.float64(norms[i] > 0)
        mass[labels[i]] += weights[i]
    total = 0.0
    for i in range(norms.size):
        weights[i] *= mass[labels[i]] * mass[labels[i]]
        total += weights[i]
    for i in range(norms.size):
        weights[i] /= total
