"""Noise frames out: the connected components of a video's frames under a cosine threshold, without most products.

Frames are vertices; an edge joins two whose cosine is at least a threshold; the largest component is kept. The
partition is exactly that of Union-Find over all pairs. Frames are taken block by block and compared with all frames
that are still open; a frame whose edges to all open ones are known is closed. When a component has gathered some open
frames, it is grown breadth first: they are compared with the frames outside it only, and a frame that joins is not
compared again. So the pairs inside a large component, which are most pairs of a video, are hardly ever computed, and no
pair is computed twice.

Several thresholds share the products: there is one Union-Find for each, and a pair is left out only if the highest
threshold joins its frames already, since then all do. Memory grows with frames times thresholds, never with the pairs.

All use the same dot product (`vidface.embeddings.exact`), so that they agree to the last bit, also for a threshold that
equals an occurring cosine. Tested in ``tests/embeddings/test_clustering.py`` against Union-Find in plain loops and
scipy's connected components. Kernels are not in `__all__`: they check neither a shape nor an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import unit_rows_of
from vidface.embeddings.exact import TILE_LEFT, TILE_RIGHT, aligned_rows, dot32, tile32

__all__ = ["cluster_frames", "cluster_sweep"]

# Multiples of TILE_LEFT; measured on videos of 31 and of 5,000 frames.
_FIRST = 4  # frames of the first block: most frames of most videos are one edge away from one of them
_BLOCK = 8  # frames of a later block
_TOGETHER = 8  # frames of a growing component that are compared in one pass: they stay in the nearest cache
_LEAST = 8  # open frames of a component from which it is grown


def cluster_frames(unit: ArrayLike, threshold: float | None) -> NDArray[np.int32]:
    """Label the frames of one video by cluster.

    Args:
        unit: [n, D] unit rows, float32 (see ``normalise_rows``). Zero rows mark frames without a usable face.
        threshold: the least cosine that joins two frames, rounded to float32 as the cosines are; None: no
            clustering, all frames are label 0, zero rows too.

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
    """Label the frames of one video for many thresholds; every pair is compared at most once for all of them.

    Args:
        unit: [n, D] as for ``cluster_frames``.
        thresholds: T thresholds, in any order.

    Returns:
        int32 [T, n]: row t equals ``cluster_frames(unit, thresholds[t])``.

    Raises:
        ValueError: as ``cluster_frames``.
    """
    rows = unit_rows_of(unit, "frames")
    levels, level_of = rising(thresholds)
    labels = np.zeros((len(thresholds), len(rows)), np.int32)
    if len(levels):
        _label(rows, levels, level_of, labels)
    return labels


def rising(thresholds: Sequence[float | None]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The distinct thresholds, float32, ascending, and the place of each given one among them; -1 for None."""
    given = [None if threshold is None else np.float32(threshold) for threshold in thresholds]
    if any(threshold is not None and np.isnan(threshold) for threshold in given):
        raise ValueError("a threshold of clustering is NaN: give a cosine, or None to keep all frames")
    levels = sorted({threshold for threshold in given if threshold is not None})
    places = [-1 if threshold is None else levels.index(threshold) for threshold in given]
    return np.array(levels, np.float32), np.array(places, np.int64)


@njit(cache=True, nogil=True)
def _label(x: Any, levels: Any, level_of: Any, labels: Any) -> None:
    if x.ctypes.data % 64:
        rows = aligned_rows(*x.shape)
        rows[:] = x
        x = rows
    parent, _ = grow(x, levels)
    for t in range(level_of.size):
        if level_of[t] >= 0:
            labels[t] = rank(x, parent, level_of[t])


@njit(cache=True, nogil=True)
def grow(x: Any, thresholds: Any) -> Any:
    """Join the frames of one video at every threshold.

    Args:
        x: float32 [n, D], C-contiguous. Zero rows join nothing.
        thresholds: float32 [T], ascending, T at least 1.

    Returns:
        (parent, parts): int32 [T, n], the Union-Find forest of every threshold, and int64 [T], the number of its
        components. Components of a higher threshold are parts of those of a lower one.
    """
    n, top = x.shape[0], thresholds.size - 1
    parent = np.empty((thresholds.size, n), np.int32)
    for t in range(thresholds.size):
        for i in range(n):
            parent[t, i] = i
    parts = np.full(thresholds.size, n, np.int64)
    unsettled, left = _usable(x)
    members = np.zeros(n, np.int32)
    queue = np.empty(n, np.int32)
    block = np.empty(_BLOCK, np.int32)
    cosines = np.empty(TILE_LEFT * TILE_RIGHT, np.float32)

    size = _FIRST
    while left > 1:
        taken = min(size, left)
        size = _BLOCK
        left -= taken
        padded = _fill(block, unsettled, left, taken)
        for q in range(0, padded, TILE_LEFT):
            for r in range(q, padded, TILE_RIGHT):
                tile32(x, block, q, block, r, cosines)
                _join_tile(parent, parts, thresholds, cosines, block, q, block, r)
        if left % TILE_RIGHT:
            unsettled[left] = unsettled[left - 1]
        for r in range(0, left, TILE_RIGHT):
            for q in range(0, padded, TILE_LEFT):
                tile32(x, block, q, unsettled, r, cosines)
                _join_tile(parent, parts, thresholds, cosines, block, q, unsettled, r)

        largest = _most_open(parent, top, unsettled, left, members)
        if largest < 0:
            continue

        # Breadth first from all open frames of this component.
        tail = apart = 0
        for r in range(left):
            frame = unsettled[r]
            if _find(parent, top, frame) == largest:
                queue[tail] = frame
                tail += 1
            else:
                unsettled[apart] = frame
                apart += 1
        left = apart
        head = 0
        while head < tail and left > 0:
            until = min(head + _TOGETHER, tail)
            padded = _fill(block, queue, head, until - head)
            if left % TILE_RIGHT:
                unsettled[left] = unsettled[left - 1]
            apart = 0
            for r in range(0, left, TILE_RIGHT):
                frame, other = unsettled[r], unsettled[r + 1]
                joins = other_joins = False
                for q in range(0, padded, TILE_LEFT):
                    tile32(x, block, q, unsettled, r, cosines)
                    if _join_tile(parent, parts, thresholds, cosines, block, q, unsettled, r):
                        root = _find(parent, top, block[0])
                        joins = _find(parent, top, frame) == root
                        other_joins = _find(parent, top, other) == root
                        if joins and other_joins:
                            break
                if joins:
                    queue[tail] = frame
                    tail += 1
                else:
                    unsettled[apart] = frame
                    apart += 1
                if r + 1 < left:
                    if other_joins:
                        queue[tail] = other
                        tail += 1
                    else:
                        unsettled[apart] = other
                        apart += 1
            left = apart
            head = until
    return parent, parts


@njit(cache=True, nogil=True)
def rank(x: Any, parent: Any, t: Any) -> Any:
    """Labels in the documented order (see ``cluster_frames``) from the forest of threshold t that ``grow`` gives."""
    n = x.shape[0]

    # Number the components by their first frame, and list their frames.
    number_of = np.full(n, -1, np.int32)
    renumbered = np.full(n, -1, np.int32)
    begin = np.zeros(n + 2, np.int32)  # begin[c + 1] counts, then points to where the next frame of c goes
    count = 0
    usable, left = _usable(x)
    for r in range(left):
        i = usable[r]
        root = _find(parent, t, i)
        if number_of[root] < 0:
            number_of[root] = count
            count += 1
        renumbered[i] = number_of[root]
        begin[renumbered[i] + 2] += 1
    for c in range(count):
        begin[c + 2] += begin[c + 1]
    frames = np.empty(n, np.int32)
    for i in range(n):
        if renumbered[i] >= 0:
            frames[begin[renumbered[i] + 1]] = i
            begin[renumbered[i] + 1] += 1

    # Sort by falling size; counting keeps the earlier frame first.
    start = np.zeros(n + 2, np.int32)
    for c in range(count):
        start[n - (begin[c + 1] - begin[c]) + 1] += 1
    for size in range(1, n + 2):
        start[size] += start[size - 1]
    ordered = np.empty(count, np.int32)
    for c in range(count):
        ordered[start[n - (begin[c + 1] - begin[c])]] = c
        start[n - (begin[c + 1] - begin[c])] += 1

    # Only components of equal size need their sums; single frames have none.
    sums = np.zeros(count, np.float64)
    first = 0
    while first < count:
        members = begin[ordered[first] + 1] - begin[ordered[first]]
        last = first + 1
        while last < count and begin[ordered[last] + 1] - begin[ordered[last]] == members:
            last += 1
        if last - first > 1 and members > 1:
            for place in range(first, last):
                c = ordered[place]
                sums[c] = _sum_of_pairs(x, frames[begin[c] : begin[c + 1]])
            for place in range(first + 1, last):  # insertion: equal sums stay in order
                mover = ordered[place]
                while place > first and sums[ordered[place - 1]] < sums[mover]:
                    ordered[place] = ordered[place - 1]
                    place -= 1
                ordered[place] = mover
        first = last

    label = np.empty(n, np.int32)
    for place in range(count):
        label[ordered[place]] = place
    labels = np.empty(n, np.int32)
    for i in range(n):
        if renumbered[i] >= 0:
            labels[i] = label[renumbered[i]]
        else:
            labels[i] = count
            count += 1
    return labels


@njit(cache=True)
def _usable(x: Any) -> Any:
    """The rows that are not zero, in an array with room for one more, and how many they are."""
    found = np.empty(x.shape[0] + 1, np.int32)
    count = 0
    for i in range(x.shape[0]):
        for d in range(x.shape[1]):
            if x[i, d] != 0:
                found[count] = i
                count += 1
                break
    return found, count


@njit(cache=True)
def _fill(block: Any, frames: Any, first: Any, count: Any) -> Any:
    """Copy frames into the block and repeat the last up to a whole number of tiles; returns the filled length."""
    for i in range(count):
        block[i] = frames[first + i]
    padded = count
    while padded % TILE_LEFT:
        block[padded] = block[count - 1]
        padded += 1
    return padded


@njit(cache=True)
def _find(parent: Any, t: Any, i: Any) -> Any:
    while parent[t, i] != i:
        parent[t, i] = parent[t, parent[t, i]]
        i = parent[t, i]
    return i


@njit(cache=True)
def _join_tile(
    parent: Any, parts: Any, thresholds: Any, cosines: Any, left: Any, i: Any, right: Any, j: Any
) -> Any:
    """Join what the cosines of a tile join; whether there was anything."""
    found = False
    for k in range(TILE_LEFT * TILE_RIGHT):
        if cosines[k] >= thresholds[0]:
            found = True
            a, b = left[i + k // TILE_RIGHT], right[j + k % TILE_RIGHT]
            t = 1
            while t < thresholds.size and cosines[k] >= thresholds[t]:
                t += 1
            while t > 0:
                t -= 1
                root, other = _find(parent, t, a), _find(parent, t, b)
                if root == other:
                    break  # so they are one at all lower thresholds
                parent[t, max(root, other)] = min(root, other)
                parts[t] -= 1
    return found


@njit(cache=True)
def _most_open(parent: Any, top: Any, unsettled: Any, left: Any, members: Any) -> Any:
    """Root of the component with the most open frames, -1 if none has enough; ``members`` [n] is zero, and left so."""
    largest, most = -1, _LEAST - 1
    for r in range(left):
        root = _find(parent, top, unsettled[r])
        members[root] += 1
        if members[root] > most:
            largest, most = root, members[root]
    for r in range(left):
        members[_find(parent, top, unsettled[r])] = 0
    return largest


@njit(cache=True)
def _sum_of_pairs(x: Any, frames: Any) -> Any:
    """Sum of the cosines of all pairs of one component, in the order of the frames."""
    total = np.float64(0)
    for i in range(frames.size):
        for j in range(i):
            total += np.float64(dot32(x[frames[i]], x[frames[j]]))
    return total
