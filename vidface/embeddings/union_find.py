"""Noise frames out: the connected components of a video's frames under a cosine threshold.

Frames are vertices; an edge joins two whose cosine is at least a threshold; the largest component is kept. Blocks of
products by BLAS in float32 say which pairs are surely above or below; those within its rounding are decided by the
exact cosine (`vidface.embeddings.exact`), so the partition is exactly that of Union-Find over all exact cosines.
Several thresholds share the products, with one Union-Find each. Memory grows with frames times thresholds, never with
the pairs. Tested in ``tests/embeddings/test_clustering.py`` against plain loops and scipy's connected components.
Kernels are not in `__all__`: they check neither a shape nor an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  # numba's np.dot takes it: loaded before BLAS is held to one thread
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import GRID, LONGEST, unit_rows_of
from vidface.embeddings.exact import cosine, product_error

__all__ = ["cluster_frames", "cluster_sweep"]

BLOCK, LONG_BLOCK = 32, 128  # frames on a side of a block of products, of short videos and of long ones
LONG = 512  # frames


def cluster_frames(unit: ArrayLike, threshold: float | None) -> NDArray[np.int32]:
    """Label the frames of one video by cluster.

    Args:
        unit: [n, D] unit rows, float32 (see ``normalise_rows``). Zero rows mark frames without a usable face.
        threshold: the least cosine that joins two frames; None: no clustering, all frames are label 0, zero rows too.

    Returns:
        int32 [n]: 0 for the kept cluster, then 1, 2, ... by falling size; equal sizes by the larger sum of
        pairwise cosine, then by the earlier frame. Zero rows join nothing, whatever the threshold, and come
        after all others.

    Raises:
        ValueError: not [n, D], rows that are neither of unit length nor zero, or a threshold that is no number.
    """
    labels: NDArray[np.int32] = cluster_sweep(unit, [threshold])[0]
    return labels


def cluster_sweep(unit: ArrayLike, thresholds: Sequence[float | None]) -> NDArray[np.int32]:
    """Label the frames of one video for many thresholds; every pair is compared once for all of them.

    Args:
        unit: [n, D] as for ``cluster_frames``.
        thresholds: T thresholds, in any order.

    Returns:
        int32 [T, n]: row t equals ``cluster_frames(unit, thresholds[t])``.

    Raises:
        ValueError: as ``cluster_frames``.
    """
    rows = unit_rows_of(unit, "frames")
    levels, places = rising(thresholds)
    labels = np.zeros((len(levels), len(rows)), np.int32)
    if len(levels):
        label(rows, rows.any(axis=1), levels, product_error(rows.shape[1], LONGEST), labels)
    return labels[places]


def rising(thresholds: Sequence[float | None]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The distinct thresholds, ascending, -inf for None; and the place of each given one among them."""
    # No cosine is below -2, and -inf itself would be no threshold.
    each = [-np.inf if threshold is None else max(threshold, -2.0) for threshold in thresholds]
    given = np.array(each, np.float64)
    if np.isnan(given).any():
        raise ValueError("a threshold of clustering is NaN: give a cosine, or None to keep all frames")
    levels, places = np.unique(given, return_inverse=True)
    return levels, places


@njit(cache=True, nogil=True)
def label(unit: Any, usable: Any, levels: Any, error: float, labels: Any) -> None:
    """Write the labels of one video's frames at every threshold.

    Args:
        unit: float32 [n, D], C-contiguous, on the grid.
        usable: bool [n], whether a row is not zero.
        levels: float64 [T], ascending; -inf labels all frames 0.
        error: `product_error`.
        labels: int32 [T, n] for the answer.
    """
    parent = np.empty(labels.shape, np.int32)
    for t in range(levels.size):
        for i in range(len(unit)):
            parent[t, i] = i
            labels[t, i] = 0
    first = 1 if levels[0] == -np.inf else 0
    edges = np.zeros(levels.size, np.int64)  # that joined two components
    if first < levels.size:
        _join(unit, usable, levels[first:], error, parent[first:], edges[first:])
    for t in range(first, levels.size):
        if t > first and edges[t] == edges[t - 1]:  # one partition is finer than the other: they are equal
            for i in range(len(unit)):
                labels[t, i] = labels[t - 1, i]
        else:
            _order(unit, usable, parent[t], labels[t])


@njit(cache=True)
def _find(parent: Any, i: Any) -> Any:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def _join(unit: Any, usable: Any, levels: Any, error: float, parent: Any, edges: Any) -> None:
    """Join the frames of every pair of usable ones whose cosine reaches a threshold; roots are first frames."""
    n, top = len(unit), levels.size - 1
    block = BLOCK if n < LONG else LONG_BLOCK
    floor = np.float32(levels[0] - error)
    for a in range(0, n, block):
        for b in range(0, a + 1, block):
            products = np.dot(unit[a : a + block], unit[b : b + block].T)
            for row in range(len(products)):
                i, line = a + row, products[row]
                for column in range(min(line.size, i - b)):
                    j = b + column
                    if line[column] < floor or parent[top, i] == parent[top, j]:
                        continue  # what the highest threshold joins, all do
                    if not (usable[i] and usable[j]):
                        continue
                    score = np.float64(line[column])
                    for level in levels:
                        if abs(score - level) <= error:
                            score = cosine(unit[i], unit[j])
                            break
                    t = top
                    while t >= 0 and score < levels[t]:
                        t -= 1
                    while t >= 0:
                        root, other = _find(parent[t], i), _find(parent[t], j)
                        if root == other:
                            break  # so they are one at all lower thresholds
                        parent[t, max(root, other)] = min(root, other)
                        edges[t] += 1
                        t -= 1


@njit(cache=True)
def _order(unit: Any, usable: Any, parent: Any, labels: Any) -> None:
    """Labels in the documented order (see ``cluster_frames``) from the Union-Find forest of one threshold."""
    n = len(unit)
    size = np.zeros(n, np.int32)  # of the component, at its root
    alike = np.zeros(n + 1, np.int32)  # components of each size
    sums, rests = np.zeros(n), np.zeros(n)  # of pairwise cosines, where components tie in size
    for i in range(n):
        parent[i] = parent[parent[i]]  # the root: those before it point to theirs already
        size[parent[i]] += 1
    for i in range(n):
        alike[size[i]] += 1
    for i in range(n):
        root = parent[i]
        if size[root] > 1 and alike[size[root]] > 1:
            for j in range(root, i):
                if parent[j] == root:
                    score = cosine(unit[i], unit[j])
                    coarse = np.rint(score * GRID) / GRID
                    sums[root] += coarse  # both exactly, so that the order of the frames is free
                    rests[root] += score - coarse
    sums += rests
    number = np.full(n, -1, np.int32)
    count = 0
    while True:  # components of several frames, the best of those left
        best = -1
        for i in range(n):
            if size[i] < 2 or number[i] >= 0:
                continue
            if best < 0 or size[i] > size[best] or (size[i] == size[best] and sums[i] > sums[best]):
                best = i
        if best < 0:
            break
        number[best] = count
        count += 1
    for kind in (True, False):  # then single frames, last those without a face
        for i in range(n):
            if size[i] == 1 and usable[i] == kind:
                number[i] = count
                count += 1
    for i in range(n):
        labels[i] = number[parent[i]]
