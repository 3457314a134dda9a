"""Noise frames out: the connected components of a video's frames under a cosine threshold.

Frames are vertices; an edge joins two whose cosine is at least the threshold; the largest component is kept.
The partition is exactly that of Union-Find over all pairs, but most pairs are never computed (``components``),
and a sweep over thresholds computes its pairs once for all of them.

All use the same dot product (see ``fixed_dot``), so that they agree to the last bit, also for a threshold that
equals an occurring cosine. Memory grows with the frames, not with their pairs. Tested in
``tests/test_clustering.py`` against Union-Find in plain loops and scipy's connected components.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.components import grow, rank
from vidface.fixed_dot import aligned_rows, dot64
from vidface.half import widen

__all__ = ["cluster_frames", "cluster_sweep", "normalise_rows", "rising", "unit_rows", "unit_rows_and_norms"]


def normalise_rows(x: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit length, so that dot products are cosines.

    Args:
        x: [n, D] features, float16 or float32 (other kinds are converted to float32). Not changed.

    Returns:
        float32 [n, D]. Zero rows stay zero. A row with NaN or infinity comes out with NaN: check before.
    """
    half, single = as_read(x)
    unit: NDArray[np.float32] = aligned_rows(max(len(half), len(single)), half.shape[1])
    unit_rows(half, single, unit)
    return unit


def as_read(x: ArrayLike) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The two arrays that ``unit_rows`` takes, one of them empty: bits of float16 rows, or other rows as float32."""
    rows = np.asarray(x)
    if rows.ndim != 2:
        raise ValueError(f"frames must be [n, D], not {rows.shape}")
    none = (0, rows.shape[1])
    if rows.dtype == np.float16:
        return np.ascontiguousarray(rows, np.float16).view(np.int16), np.empty(none, np.float32)
    return np.empty(none, np.int16), np.ascontiguousarray(rows, dtype=np.float32)


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
    labels: NDArray[np.int32] = cluster_sweep(unit, [threshold])[0]
    return labels


def cluster_sweep(unit: ArrayLike, thresholds: Sequence[float | None]) -> NDArray[np.int32]:
    """Label the frames of one video for many thresholds; every pair is compared at most once for all of them.

    Args:
        unit: [n, D] as for ``cluster_frames``.
        thresholds: T thresholds, in any order.

    Returns:
        int32 [T, n]: row t equals ``cluster_frames(unit, thresholds[t])``.
    """
    rows = np.ascontiguousarray(unit, dtype=np.float32)
    if rows.ndim != 2:
        raise ValueError(f"frames must be [n, D], not {rows.shape}")
    levels, level_of = rising(thresholds)
    labels = np.zeros((len(thresholds), len(rows)), np.int32)
    if len(levels):
        _label(rows, levels, level_of, labels)
    return labels


def rising(thresholds: Sequence[float | None]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The distinct thresholds, float32, ascending, and the place of each given one among them; -1 for None."""
    given = [None if threshold is None else np.float32(threshold) for threshold in thresholds]
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
def unit_rows(half: Any, single: Any, unit: Any) -> None:
    """Write unit rows, from the bits of float16 rows or from float32 rows, whichever are not empty.

    Args:
        half, single: int16 and float32 [n, D], C-contiguous, one of them [0, D].
        unit: float32 [n, D], C-contiguous, for the answer.
    """
    for i in range(unit.shape[0]):
        _unit_row(half, single, unit, i)


@njit(cache=True, nogil=True)
def unit_rows_and_norms(half: Any, single: Any, unit: Any, norms: Any) -> None:
    """Write unit rows as ``unit_rows`` does, and float64 [n], the lengths that the rows had."""
    for i in range(unit.shape[0]):
        norms[i] = _unit_row(half, single, unit, i)


@njit(cache=True)
def _unit_row(half: Any, single: Any, unit: Any, i: Any) -> Any:
    if half.shape[0]:
        widen(half[i], unit[i])
    else:
        for d in range(unit.shape[1]):
            unit[i, d] = single[i, d]
    norm = np.sqrt(dot64(unit[i], unit[i]))  # squares of float32 neither overflow nor vanish in float64
    if norm != 0:
        scale = 1 / norm
        for d in range(unit.shape[1]):
            unit[i, d] = np.float32(np.float64(unit[i, d]) * scale)
    return norm
