"""From the features of a chunk of videos to their embeddings: unit rows, clustered, pooled; no Python for each video.

What comes out is what ``normalise_rows``, ``cluster_frames`` and ``pool_frames``, or a mean weighted by
``weigh_frames``, give one after the other, to the last bit. Here all is done while a video's rows are in the cache, and
without the interpreter's lock, so that threads run side by side. Tested in ``tests/embeddings/test_embedding.py``
against those functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import LONGEST, integers
from vidface.embeddings.exact import as_read, product_error, refuse_wrong, unit_rows
from vidface.embeddings.pooling import POOLS, weigh, weighted_mean
from vidface.embeddings.union_find import label, rising

__all__ = ["embed_sweep", "embed_videos"]

_LARGEST, _SIZE_NORM = POOLS.index("largest"), POOLS.index("size-norm")


def embed_videos(
    features: ArrayLike, offsets: ArrayLike, threshold: float | None, *, pool: str = "largest"
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32] | None]:
    """Cluster and average the frames of consecutive videos.

    Args:
        features: [F, D], float16 or float32 (other kinds are converted to float32). Not changed.
        offsets: int64 [v+1], ascending; the rows of video i are ``features[offsets[i]:offsets[i+1]]``.
        threshold: as in ``cluster_frames``.
        pool: one of `vidface.embeddings.pooling.POOLS`.

    Returns:
        (embeddings, kept, labels, weights): float32 [v, D]; int64 [v], how many frames count in each; int32 [F],
        ``cluster_frames`` of every video; float32 [F], ``weigh_frames`` of every video, None for ``largest``.

    Raises:
        ValueError: features that are not [F, D] or not finite, offsets that do not fit, a threshold that is no number,
            or another rule.
    """
    embeddings, kept, labels, weights = _embed(features, offsets, [threshold], pool)
    return embeddings[0], kept[0], labels, None if pool == "largest" else weights


def embed_sweep(
    features: ArrayLike, offsets: ArrayLike, thresholds: Sequence[float | None], *, pool: str = "largest"
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Cluster and average the frames of consecutive videos for many thresholds; pairs are compared once for all.

    Args:
        features, offsets, pool: as in ``embed_videos``.
        thresholds: T thresholds, in any order.

    Returns:
        (embeddings, kept): float32 [T, v, D] and int64 [T, v]; row t equals those of ``embed_videos`` with
        ``thresholds[t]``.

    Raises:
        ValueError: as ``embed_videos``.
    """
    return _embed(features, offsets, thresholds, pool)[:2]


def _embed(
    features: ArrayLike, offsets: ArrayLike, thresholds: Sequence[float | None], pool: str
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """What ``embed_sweep`` gives, and where there is one threshold the labels and weights of all rows as well."""
    if pool not in POOLS:
        raise ValueError(f"pool must be one of {', '.join(POOLS)}, not {pool!r}")
    rows16, rows32 = as_read(features)
    rows, dimension = len(rows16) + len(rows32), rows16.shape[1]
    bounds = np.ascontiguousarray(integers(offsets, "offsets"), np.int64)
    if not len(bounds) or bounds[0] != 0 or bounds[-1] != rows or (np.diff(bounds) < 0).any():
        raise ValueError(f"offsets must ascend from 0 to {rows}, the number of rows")
    levels, places = rising(thresholds)
    embeddings = np.empty((len(levels), len(bounds) - 1, dimension), np.float32)
    kept = np.empty((len(levels), len(bounds) - 1), np.int64)
    of_rows = rows if len(thresholds) == 1 else 0
    labels, weights = np.empty(of_rows, np.int32), np.empty(of_rows, np.float32)
    if len(levels):
        error, out = product_error(dimension, LONGEST), (embeddings, kept, labels, weights)
        refuse_wrong(_embed_videos(rows16, rows32, bounds, levels, error, POOLS.index(pool), out))
    if len(thresholds) != 1:
        embeddings, kept = embeddings[places], kept[places]
    return embeddings, kept, labels, weights


@njit(cache=True, nogil=True)
def _embed_videos(
    rows16: Any, rows32: Any, bounds: Any, levels: Any, error: float, pool: int, out: Any
) -> Any:
    """Fill ``out``: embeddings and kept of every level, and labels and weights of all rows where there is room.

    Returns -1, or a row that is not finite; then ``out`` is not filled to the end.
    """
    embeddings, kept, labels, weights = out
    longest = 0
    for v in range(bounds.size - 1):
        longest = max(longest, bounds[v + 1] - bounds[v])
    room = np.empty((longest, rows16.shape[1]), np.float32)
    lengths, shares = np.empty(longest), np.empty((2, longest))
    for v in range(bounds.size - 1):
        a, b = bounds[v], bounds[v + 1]
        unit, norms = room[: b - a], lengths[: b - a]
        wrong = unit_rows(rows16[a:b], rows32[a:b], unit, norms)
        if wrong >= 0:
            return a + wrong
        clusters = np.empty((levels.size, b - a), np.int32)
        label(unit, norms > 0, levels, error, clusters)
        for t in range(levels.size):
            counts, before = shares[t % 2, : b - a], shares[1 - t % 2, : b - a]  # of this level and the last
            if pool != _LARGEST:
                weigh(norms, clusters[t], pool == _SIZE_NORM, counts)
            kept[t, v], same = 0, t > 0
            for i in range(b - a):
                if pool == _LARGEST:
                    counts[i] = np.float64(clusters[t, i] == 0)
                kept[t, v] += counts[i] > 0
                same &= counts[i] == before[i]
            if same:
                for d in range(unit.shape[1]):
                    embeddings[t, v, d] = embeddings[t - 1, v, d]
            else:
                weighted_mean(unit, counts, embeddings[t, v])
        for i in range(b - a if labels.size else 0):
            labels[a + i], weights[a + i] = clusters[0, i], shares[0, i]
    return -1
