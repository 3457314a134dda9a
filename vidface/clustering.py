"""Noise frames out: the connected components of a video's frames under a cosine threshold.

Frames are vertices; an edge joins two whose cosine is at least the threshold; the largest component is kept.
The partition is exactly that of Union-Find over all pairs, but most pairs are never computed: components are
grown breadth first, and a frame that has joined one is not compared again. A sweep over thresholds needs one
maximum spanning tree instead, whose edges hold the components for every threshold at once.

Both ways use the same dot product (see ``fixed_dot``), so that they agree to the last bit, also for a
threshold that equals an occurring cosine. Memory grows with the frames, not with their pairs. Tested in
``tests/test_clustering.py`` against Union-Find in plain loops and scipy's connected components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.fixed_dot import dot32, dot64

__all__ = ["cluster_frames", "cluster_sweep", "normalise_rows"]

_TOGETHER = 8  # frames of a frontier that are compared in one pass: they stay in the nearest cache
_HALF_SCALE = np.float32(2.0**112)  # float32 has an exponent bias of 127, float16 one of 15


def normalise_rows(x: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit length, so that dot products are cosines.

    Args:
        x: [n, D] features, float16 or float32 (other kinds are converted to float32). Not changed.

    Returns:
        float32 [n, D]. Zero rows stay zero. A row with NaN or infinity comes out with NaN: check before.
    """
    rows = np.asarray(x)
    if rows.dtype == np.float16:
        unit = np.empty(rows.shape, np.float32)
        _widen(np.ascontiguousarray(rows).view(np.uint16), unit.view(np.uint32), unit)
    else:
        unit = np.array(rows, dtype=np.float32, order="C")
    _normalise(unit)
    return unit


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
    """
    rows = _contiguous(unit)
    if threshold is None:
        return np.zeros(len(rows), np.int32)
    labels: NDArray[np.int32] = _rank(rows, _grow(rows, np.float32(threshold)))
    return labels


def cluster_sweep(unit: ArrayLike, thresholds: Sequence[float | None]) -> NDArray[np.int32]:
    """Label the frames of one video for many thresholds, from one maximum spanning tree.

    Args:
        unit: [n, D] as for ``cluster_frames``.
        thresholds: T thresholds, in any order.

    Returns:
        int32 [T, n]: row t equals ``cluster_frames(unit, thresholds[t])``.
    """
    rows = _contiguous(unit)
    labels = np.zeros((len(thresholds), len(rows)), np.int32)
    if any(threshold is not None for threshold in thresholds):
        order, joined_at = _spanning_tree(rows)
        for row, threshold in zip(labels, thresholds, strict=True):
            if threshold is not None:
                row[:] = _rank(rows, _cut(order, joined_at, len(rows), np.float32(threshold)))
    return labels


def _contiguous(unit: ArrayLike) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(unit, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"frames must be [n, D], not {rows.shape}")
    return rows


@njit(cache=True)
def _widen(half: Any, single: Any, value: Any) -> None:
    """Convert float16 bits to float32, six times as fast as numpy's cast; ``single`` is the bits of ``value``.

    Sign and digits are moved into place; the exponent, whose zero lies elsewhere, is put right by a product.
    """
    for i in range(half.shape[0]):
        for d in range(half.shape[1]):
            bits = np.uint32(half[i, d])
            sign = (bits & np.uint32(0x8000)) << np.uint32(16)
            special = np.uint32(0x70000000) if bits & np.uint32(0x7C00) == np.uint32(0x7C00) else np.uint32(0)
            single[i, d] = sign | special | ((bits & np.uint32(0x7FFF)) << np.uint32(13))
        for d in range(half.shape[1]):
            value[i, d] *= _HALF_SCALE


@njit(cache=True)
def _normalise(x: Any) -> None:
    for i in range(x.shape[0]):
        total = dot64(x[i], x[i])  # squares of float32 neither overflow nor vanish in float64
        if total != 0:
            scale = 1 / np.sqrt(total)
            for d in range(x.shape[1]):
                x[i, d] = np.float32(np.float64(x[i, d]) * scale)


@njit(cache=True)
def _usable(x: Any) -> Any:
    """Indices of the rows that are not zero."""
    found = np.empty(x.shape[0], np.int32)
    count = 0
    for i in range(x.shape[0]):
        for d in range(x.shape[1]):
            if x[i, d] != 0:
                found[count] = i
                count += 1
                break
    return found[:count]


@njit(cache=True)
def _grow(x: Any, threshold: Any) -> Any:
    """Component of every row (any numbering; -1: zero row), grown breadth first."""
    n = x.shape[0]
    component = np.full(n, -1, np.int32)
    rest = _usable(x)
    left = rest.size
    if left == 0:
        return component

    # Start from the frame nearest the centre: most others join it at once, and their pairs are never needed.
    centre = np.zeros(x.shape[1], np.float32)
    for i in range(n):
        for d in range(x.shape[1]):
            centre[d] += x[i, d]
    nearest, best = 0, np.float32(-np.inf)
    for r in range(left):
        cosine = dot32(centre, x[rest[r]])
        if cosine > best:
            nearest, best = r, cosine
    rest[nearest], rest[left - 1] = rest[left - 1], rest[nearest]

    queue = np.empty(left, np.int32)
    number = 0
    while left > 0:
        left -= 1
        queue[0] = rest[left]
        component[queue[0]] = number
        head, tail = 0, 1
        while head < tail and left > 0:
            until = min(head + _TOGETHER, tail)
            apart = 0
            for r in range(left):
                other = rest[r]
                row = x[other]
                joins = False
                for q in range(head, until):
                    if dot32(x[queue[q]], row) >= threshold:
                        joins = True
                        break
                if joins:
                    component[other] = number
                    queue[tail] = other
                    tail += 1
                else:
                    rest[apart] = other
                    apart += 1
            left = apart
            head = until
        number += 1
    return component


@njit(cache=True)
def _spanning_tree(x: Any) -> Any:
    """Prim's maximum spanning tree: the rows in the order they join it, and the cosine each joined at."""
    rest = _usable(x)
    left = rest.size
    order = np.empty(left, np.int32)
    joined_at = np.empty(left, np.float32)
    closest = np.full(left, np.float32(-np.inf))  # of rest[r] to the tree
    best = 0
    for step in range(order.size):
        order[step], joined_at[step] = rest[best], closest[best]
        left -= 1
        rest[best], closest[best] = rest[left], closest[left]
        row = x[order[step]]
        best = 0
        for r in range(left):
            cosine = dot32(row, x[rest[r]])
            if cosine > closest[r]:
                closest[r] = cosine
            if closest[r] > closest[best]:
                best = r
    return order, joined_at


@njit(cache=True)
def _cut(order: Any, joined_at: Any, n: int, threshold: Any) -> Any:
    """Component of every row, from the spanning tree.

    A component is a run in Prim's order: when a row joins below the threshold, no edge leads out of the rows
    that joined before, so their components are complete.
    """
    component = np.full(n, -1, np.int32)
    number = -1
    for step in range(order.size):
        if step == 0 or not joined_at[step] >= threshold:
            number += 1
        component[order[step]] = number
    return component


@njit(cache=True)
def _rank(x: Any, component: Any) -> Any:
    """Labels in the documented order from components in any numbering (-1: zero rows)."""
    n = x.shape[0]

    # Number the components by their first frame, and count their frames.
    number_of = np.full(n, -1, np.int32)
    renumbered = np.full(n, -1, np.int32)
    members = np.zeros(n, np.int32)
    count = 0
    for i in range(n):
        if component[i] >= 0:
            if number_of[component[i]] < 0:
                number_of[component[i]] = count
                count += 1
            renumbered[i] = number_of[component[i]]
            members[renumbered[i]] += 1

    # Sort by falling size; counting keeps the earlier frame first.
    start = np.zeros(n + 2, np.int32)
    for c in range(count):
        start[n - members[c] + 1] += 1
    for size in range(1, n + 2):
        start[size] += start[size - 1]
    ordered = np.empty(count, np.int32)
    for c in range(count):
        ordered[start[n - members[c]]] = c
        start[n - members[c]] += 1

    # Only components of equal size need their sums; single frames have none.
    sums = np.zeros(count, np.float64)
    first = 0
    while first < count:
        last = first + 1
        while last < count and members[ordered[last]] == members[ordered[first]]:
            last += 1
        if last - first > 1 and members[ordered[first]] > 1:
            for place in range(first, last):
                sums[ordered[place]] = _sum_of_pairs(x, renumbered, ordered[place])
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
def _sum_of_pairs(x: Any, component: Any, wanted: Any) -> Any:
    """Sum of the cosines of all pairs of one component, in the order of the frames."""
    total = np.float64(0)
    for i in range(x.shape[0]):
        if component[i] == wanted:
            for j in range(i):
                if component[j] == wanted:
                    total += np.float64(dot32(x[i], x[j]))
    return total
