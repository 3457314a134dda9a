"""From the features of a chunk of videos to their embeddings: unit rows, clustered, pooled; no Python for each video.

What comes out is what ``normalise_rows``, ``cluster_frames`` and ``pool_frames`` give one after the other, to the
last bit, or, where every frame counts by its weight, ``weigh_frames`` in place of the last. Here all is done while a
video's rows are in the cache, and without the interpreter's lock, so that threads run side by side. Tested in
``tests/embeddings/test_embedding.py`` against those functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.embeddings.exact import aligned_rows, as_read, unit_rows, unit_rows_and_norms
from vidface.embeddings.pooling import pool_label, pool_weighted, weigh
from vidface.embeddings.union_find import grow, rank, rising

__all__ = ["embed_sweep", "embed_weighted", "pool_videos"]


def pool_videos(
    features: ArrayLike, offsets: ArrayLike, threshold: float | None
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]:
    """Cluster and average the frames of consecutive videos.

    Args:
        features: [F, D], float16 or float32 (other kinds are converted to float32). Not changed.
        offsets: int64 [v+1], ascending; the rows of video i are ``features[offsets[i]:offsets[i+1]]``.
        threshold: as in ``cluster_frames``.

    Returns:
        (embeddings, kept, labels): float32 [v, D], ``pool_frames`` of every video's largest cluster; int64 [v],
        how many frames that has; int32 [F], ``cluster_frames`` of every video.
    """
    rows16, rows32 = as_read(features)
    bounds = _bounds(offsets, len(rows16) + len(rows32))
    levels, _ = rising([threshold])
    embeddings = np.empty((len(bounds) - 1, rows16.shape[1]), np.float32)
    kept = np.empty(len(bounds) - 1, np.int64)
    labels = np.zeros(len(rows16) + len(rows32), np.int32)
    _embed(rows16, rows32, bounds, levels, embeddings, kept, labels)
    return embeddings, kept, labels


def embed_weighted(
    features: ArrayLike, offsets: ArrayLike, threshold: float | None, *, by_norm: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Cluster the frames of consecutive videos, and average all of them by their weights.

    Args:
        features, offsets, threshold: as in ``pool_videos``.
        by_norm: as in ``weigh_frames``.

    Returns:
        (embeddings, kept, labels, weights): float32 [v, D], the weighted means; int64 [v], how many frames have a
        weight; int32 [F], ``cluster_frames`` of every video; float32 [F], ``weigh_frames`` of every video, rounded
        after the mean was taken.
    """
    rows16, rows32 = as_read(features)
    bounds = _bounds(offsets, len(rows16) + len(rows32))
    levels, _ = rising([threshold])
    embeddings = np.empty((len(bounds) - 1, rows16.shape[1]), np.float32)
    kept = np.empty(len(bounds) - 1, np.int64)
    labels = np.zeros(len(rows16) + len(rows32), np.int32)
    weights = np.empty(len(labels), np.float32)
    _weighted(rows16, rows32, bounds, levels, by_norm, embeddings, kept, labels, weights)
    return embeddings, kept, labels, weights


def embed_sweep(
    features: ArrayLike, offsets: ArrayLike, thresholds: Sequence[float | None], *, pool: str = "largest"
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cluster and average the frames of consecutive videos for many thresholds; pairs are compared once for all.

    Args:
        features, offsets: as in ``pool_videos``.
        thresholds: T thresholds, in any order.
        pool: one of `vidface.embeddings.pooling.POOLS`.

    Returns:
        (embeddings, kept): float32 [T, v, D] and int64 [T, v]; row t equals those of ``pool_videos``, or of
        ``embed_weighted``, with ``thresholds[t]``.
    """
    rows16, rows32 = as_read(features)
    bounds = _bounds(offsets, len(rows16) + len(rows32))
    levels, level_of = rising(thresholds)
    embeddings = np.empty((len(thresholds), len(bounds) - 1, rows16.shape[1]), np.float32)
    kept = np.empty((len(thresholds), len(bounds) - 1), np.int64)
    if pool == "largest":
        _sweep(rows16, rows32, bounds, levels, level_of, embeddings, kept)
    else:
        _sweep_weighted(rows16, rows32, bounds, levels, level_of, pool == "size-norm", embeddings, kept)
    return embeddings, kept


def _bounds(offsets: ArrayLike, rows: int) -> NDArray[np.int64]:
    bounds = np.ascontiguousarray(offsets, np.int64)
    if (
        bounds.ndim != 1
        or not len(bounds)
        or bounds[0] != 0
        or bounds[-1] != rows
        or (np.diff(bounds) < 0).any()
    ):
        raise ValueError(f"offsets must ascend from 0 to {rows}, the number of rows")
    return bounds


@njit(cache=True, nogil=True)
def _embed(
    rows16: Any, rows32: Any, bounds: Any, levels: Any, embeddings: Any, kept: Any, labels: Any
) -> None:
    scratch = _room(bounds, rows16.shape[1])
    for v in range(bounds.size - 1):
        a, b = bounds[v], bounds[v + 1]
        unit = scratch[: b - a]
        unit_rows(rows16[a:b], rows32[a:b], unit)
        if levels.size:
            parent, _ = grow(unit, levels)
            labels[a:b] = rank(unit, parent, 0)
        kept[v] = pool_label(unit, labels[a:b], 0, embeddings[v])


@njit(cache=True, nogil=True)
def _sweep(
    rows16: Any, rows32: Any, bounds: Any, levels: Any, level_of: Any, embeddings: Any, kept: Any
) -> None:
    scratch = _room(bounds, rows16.shape[1])
    for v in range(bounds.size - 1):
        a, b = bounds[v], bounds[v + 1]
        unit = scratch[: b - a]
        unit_rows(rows16[a:b], rows32[a:b], unit)
        labels = np.zeros((levels.size + 1, b - a), np.int32)  # the last row: None, all frames are kept
        same = np.arange(levels.size + 1)  # the lowest level that keeps the same frames
        if levels.size:
            parent, parts = grow(unit, levels)
            for level in range(levels.size):
                if (
                    level and parts[level] == parts[level - 1]
                ):  # one is a part of the other, so they are equal
                    same[level] = same[level - 1]
                else:
                    labels[level] = rank(unit, parent, level)
                    if level and _same_kept(labels[level], labels[same[level - 1]]):
                        same[level] = same[level - 1]
        pooled = np.full(
            levels.size + 1, -1
        )  # the place among the thresholds where the kept frames were averaged
        for t in range(level_of.size):
            level = same[level_of[t]]
            if pooled[level] >= 0:
                embeddings[t, v] = embeddings[pooled[level], v]
                kept[t, v] = kept[pooled[level], v]
            else:
                kept[t, v] = pool_label(unit, labels[level], 0, embeddings[t, v])
                pooled[level] = t


@njit(cache=True, nogil=True)
def _weighted(
    rows16: Any,
    rows32: Any,
    bounds: Any,
    levels: Any,
    by_norm: Any,
    embeddings: Any,
    kept: Any,
    labels: Any,
    weights: Any,
) -> None:
    scratch = _room(bounds, rows16.shape[1])
    for v in range(bounds.size - 1):
        a, b = bounds[v], bounds[v + 1]
        unit = scratch[: b - a]
        norms, shares = np.empty(b - a, np.float64), np.empty(b - a, np.float64)
        unit_rows_and_norms(rows16[a:b], rows32[a:b], unit, norms)
        if levels.size:
            parent, _ = grow(unit, levels)
            labels[a:b] = rank(unit, parent, 0)
        kept[v] = weigh(norms, labels[a:b], by_norm, shares)
        pool_weighted(unit, shares, embeddings[v])
        for i in range(b - a):
            weights[a + i] = np.float32(shares[i])


@njit(cache=True, nogil=True)
def _sweep_weighted(
    rows16: Any,
    rows32: Any,
    bounds: Any,
    levels: Any,
    level_of: Any,
    by_norm: Any,
    embeddings: Any,
    kept: Any,
) -> None:
    scratch = _room(bounds, rows16.shape[1])
    for v in range(bounds.size - 1):
        a, b = bounds[v], bounds[v + 1]
        unit = scratch[: b - a]
        norms, shares = np.empty(b - a, np.float64), np.empty(b - a, np.float64)
        unit_rows_and_norms(rows16[a:b], rows32[a:b], unit, norms)
        same = np.arange(levels.size + 1)  # the lowest level with the same clusters
        parent = np.empty((0, 0), np.int32)
        if levels.size:
            parent, parts = grow(unit, levels)
            for level in range(1, levels.size):
                if parts[level] == parts[level - 1]:  # one is a part of the other, so they are equal
                    same[level] = same[level - 1]
        pooled = np.full(
            levels.size + 1, -1
        )  # the place among the thresholds where these clusters were averaged
        for t in range(level_of.size):
            level = same[level_of[t]]
            if pooled[level] >= 0:
                embeddings[t, v] = embeddings[pooled[level], v]
                kept[t, v] = kept[pooled[level], v]
            else:
                one = np.zeros(b - a, np.int32) if level == levels.size else rank(unit, parent, level)
                kept[t, v] = weigh(norms, one, by_norm, shares)
                pool_weighted(unit, shares, embeddings[t, v])
                pooled[level] = t


@njit(cache=True)
def _room(bounds: Any, dimension: Any) -> Any:
    """Room for the unit rows of the longest video."""
    longest = 0
    for v in range(bounds.size - 1):
        longest = max(longest, bounds[v + 1] - bounds[v])
    return aligned_rows(longest, dimension)


@njit(cache=True)
def _same_kept(labels: Any, others: Any) -> Any:
    different = 0
    for i in range(labels.size):
        different += (labels[i] == 0) != (others[i] == 0)
    return different == 0
