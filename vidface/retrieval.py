"""Identity templates and exact search by inner product.

FAISS proposes a few more candidates than asked for; their scores are computed again in float64 in a fixed
order, and where a video that was not proposed could still belong to the answer, the whole gallery is scored
that way. So the answer is the exact one, equal embeddings tie exactly and ties go by video id, whatever the
order of the gallery, the number of threads or the machine. Tested in ``tests/test_retrieval.py`` against a
whole sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.fixed_dot import dot64
from vidface.pooling import pool_frames

__all__ = ["identity_templates", "search"]

_MARGIN = 32  # candidates beyond k: enough that a tie at the cut is rare
_CELLS = 4_000_000  # candidates held at a time, about 50 MB
_GPU_LIMIT = 2048  # the most candidates FAISS returns on a GPU
_ADD_ROWS = 16_384


def identity_templates(
    embeddings: ArrayLike, identities: Sequence[str]
) -> tuple[list[str], NDArray[np.float32]]:
    """Average the enrolment videos of every identity.

    Args:
        embeddings: [V, D] unit rows of the enrolment videos; zero rows (failed videos) don't count.
        identities: [V], the identity of every video; videos with the empty identity are nobody's.

    Returns:
        (names, templates): the I identities in text order, and float32 [I, D], the L2-normalised mean of
        each one's videos. An identity without a usable video has a zero row.
    """
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or len(rows) != len(identities):
        raise ValueError(f"{len(identities)} identities don't fit embeddings of shape {rows.shape}")
    videos: dict[str, list[int]] = {}
    for video, identity in enumerate(identities):
        if identity:
            videos.setdefault(identity, []).append(video)
    names = sorted(videos)
    templates = np.zeros((len(names), rows.shape[1]), np.float32)
    for template, name in zip(templates, names, strict=True):
        template[:] = pool_frames(rows[videos[name]], np.ones(len(videos[name]), bool))
    return names, templates


def search(
    queries: ArrayLike, gallery: ArrayLike, gallery_ids: Sequence[str], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k videos with the largest inner product for every query, exactly.

    Args:
        queries: [Q, D], finite.
        gallery: [V, D], finite. Zero rows score 0 with everybody.
        gallery_ids: [V], the video ids; equal scores are ordered by them, in text order.
        k: how many videos a query gets, at most.

    Returns:
        (scores, index), float32 and int64 [Q, min(k, V)], best first. Videos are ordered by their score in
        float64 and then by id; the scores returned are rounded. ``index`` points into the gallery as given.

    Raises:
        ValueError: shapes that don't fit, values that aren't finite, or k below 1.
    """
    asked = np.ascontiguousarray(queries, dtype=np.float32)
    stored = np.ascontiguousarray(gallery, dtype=np.float32)
    if asked.ndim != 2 or stored.ndim != 2 or asked.shape[1] != stored.shape[1]:
        raise ValueError(f"queries {asked.shape} and gallery {stored.shape} don't have the same dimension")
    if len(gallery_ids) != len(stored) or k < 1:
        raise ValueError(f"{len(gallery_ids)} ids for {len(stored)} videos, k = {k}: k must be at least 1")
    if not (np.isfinite(asked).all() and np.isfinite(stored).all()):
        raise ValueError("queries and gallery must be finite")

    depth = min(k, len(stored))
    scores = np.zeros((len(asked), depth), np.float32)
    index = np.zeros((len(asked), depth), np.int64)
    if scores.size == 0:
        return scores, index

    # From here on the gallery is in the order of the ids: of two equal scores the lower position comes first.
    by_id = np.array(sorted(range(len(stored)), key=gallery_ids.__getitem__))
    width = min(depth + _MARGIN, len(stored))
    engine = _index(stored, by_id, width)
    # A float32 dot is off by at most D * eps/2 * |a| * |b|, whatever the order of its sums; twice that here.
    lengths = _lengths(asked) * _lengths(stored).max()
    rounding = lengths * asked.shape[1] * np.finfo(np.float32).eps
    step = max(1, _CELLS // width)
    for first in range(0, len(asked), step):
        block = asked[first : first + step]
        proposed, candidates = engine.search(block, width)
        exact = np.empty(candidates.shape, np.float64)
        _rescore(block, stored, by_id, candidates, exact)
        for row in range(len(block)):
            if lengths[first + row] == 0:  # all scores are 0: the first ids
                index[first + row] = by_id[:depth]
                continue
            found, value = candidates[row], exact[row]
            best = np.lexsort((found, -value))[:depth]
            reach = proposed[row, -1] + rounding[first + row]  # of what was not proposed
            if width < len(stored) and value[best[-1]] <= reach:
                found, value = np.arange(len(stored)), np.empty(len(stored), np.float64)
                _rescore(block[row : row + 1], stored, by_id, found[None], value[None])
                best = np.lexsort((found, -value))[:depth]
            scores[first + row] = value[best]
            index[first + row] = by_id[found[best]]
    return scores, index


def _index(stored: NDArray[np.float32], by_id: NDArray[np.int64], width: int) -> Any:
    """The FAISS index of the gallery in the order of the ids, on the GPUs where there are any."""
    index = faiss.IndexFlatIP(stored.shape[1])
    for first in range(0, len(by_id), _ADD_ROWS):
        index.add(stored[by_id[first : first + _ADD_ROWS]])
    if faiss.get_num_gpus() > 0 and width <= _GPU_LIMIT:
        return faiss.index_cpu_to_all_gpus(index)  # not yet run on a machine with a GPU
    return index


def _lengths(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return np.sqrt(squares)


@njit(cache=True)
def _rescore(queries: Any, stored: Any, by_id: Any, candidates: Any, exact: Any) -> None:
    """exact[q, c] = queries[q] . stored[by_id[candidates[q, c]]], in a fixed order in float64."""
    for q in range(candidates.shape[0]):
        for c in range(candidates.shape[1]):
            exact[q, c] = dot64(queries[q], stored[by_id[candidates[q, c]]])
