"""Identity templates and exact search by inner product.

A blocked product by BLAS scores every video, and a scan of each block keeps the few that could still be among a
query's best: those not further below its k-th best score so far than rounding can explain. What is left at the end,
hardly more than k, is scored again in float64 in a fixed order. So the answer is the exact one, equal embeddings
tie exactly and ties go by video id, whatever the order of the gallery, the number of threads or the machine.

FAISS's own product and heaps take longer than this and need a copy of the gallery; only where it has a GPU does it
propose the candidates. Tested in ``tests/scores/search/test_retrieval.py`` against a whole sort.
"""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import LONGEST, at_least_one, texts, two_sides, unit_rows_of
from vidface.embeddings.exact import product_error
from vidface.embeddings.pooling import weighted_mean
from vidface.runtime import cpu_count, map_ordered
from vidface.scores.pairs.blocks import by_text
from vidface.scores.search.scan import rank_candidates, scan

__all__ = ["identity_templates", "search"]

_QUERIES, _VIDEOS = (
    1024,
    512,
)  # sides of a block of scores: 2 MB, which stays in the cache; smaller ones slow BLAS
_ROOM = 4  # candidates held for a query, in units of k: few enough to stay in the cache, seldom full
_CELLS = 4_000_000  # candidates held at a time by a thread, about 50 MB
_GPU_MARGIN = 32  # candidates that a GPU proposes beyond k: enough that a tie at the cut is rare
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

    Raises:
        ValueError: shapes that don't fit, identities that aren't text, or rows that are neither of unit length nor
            zero.
    """
    rows = unit_rows_of(embeddings)
    videos: dict[str, list[int]] = {}
    for video, identity in enumerate(texts(identities, "identities", len(rows))):
        if identity:
            videos.setdefault(identity, []).append(video)
    names = sorted(videos)
    templates = np.zeros((len(names), rows.shape[1]), np.float32)
    for template, name in zip(templates, names, strict=True):
        weighted_mean(rows[videos[name]], np.ones(len(videos[name])), template)
    return names, templates


def search(
    queries: ArrayLike,
    gallery: ArrayLike,
    gallery_ids: Sequence[str],
    k: int,
    *,
    workers: int | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the k videos with the largest inner product for every query, exactly.

    Args:
        queries: [Q, D], unit or zero rows.
        gallery: [V, D], unit or zero rows; zero rows score 0 with everybody.
        gallery_ids: [V], the video ids; equal scores are ordered by them, in text order.
        k: how many videos a query gets, at most.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.

    Returns:
        (scores, index), float32 and int64 [Q, min(k, V)], best first. Videos are ordered by their score in
        float64 and then by id; the scores returned are rounded. ``index`` points into the gallery as given.

    Raises:
        ValueError: shapes that don't fit, rows that are neither of unit length nor zero, or k below 1.
    """
    at_least_one(k=k, workers=workers)
    asked, stored = two_sides(unit_rows_of(queries, "queries"), unit_rows_of(gallery, "gallery"))
    gallery_ids = texts(gallery_ids, "ids", len(stored))

    depth = min(k, len(stored))
    scores = np.zeros((len(asked), depth), np.float32)
    index = np.zeros((len(asked), depth), np.int64)
    if scores.size == 0:
        return scores, index

    by_id, rank = by_text(gallery_ids)  # of two equal scores the lower rank comes first
    error = product_error(asked.shape[1], LONGEST)
    index[:] = by_id[:depth]  # of a query that is zero: all scores are 0
    open_queries = np.flatnonzero(asked.any(axis=1))
    if faiss.get_num_gpus() > 0 and depth + _GPU_MARGIN <= min(_GPU_LIMIT, len(stored)):
        open_queries = _search_on_gpus(asked, stored, rank, error, open_queries, scores, index)
    workers = workers or cpu_count()
    capacity = min(max(_ROOM * depth, depth + 64), len(stored))
    step = max(1, min(_QUERIES, _CELLS // capacity, -(-len(open_queries) // workers)))

    def work(first: int) -> None:
        rows = open_queries[first : first + step]
        scores[rows], index[rows] = _search_block(asked[rows], stored, rank, error, depth, capacity)

    # The blocks are the work of the threads, so BLAS gets one for each.
    with threadpool_limits(1, user_api="blas"):
        list(map_ordered(work, zip(range(0, len(open_queries), step)), workers=workers))
    return scores, index


def _search_block(
    queries: NDArray[np.float32],
    stored: NDArray[np.float32],
    rank: NDArray[np.int64],
    error: float,
    depth: int,
    capacity: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What `search` gives, for queries whose scores with a part of the gallery fit the cache."""
    count = len(queries)
    videos = np.empty((count, capacity), np.int32)  # the candidates of every query, as they were found
    values = np.empty((count, capacity), np.float32)
    held = np.zeros(count, np.int64)
    floors = np.full(count, -np.inf, np.float32)
    block = np.zeros((count, _VIDEOS), np.float32)
    for first in range(0, len(stored), block.shape[1]):
        part = stored[first : first + block.shape[1]]
        np.matmul(queries, part.T, out=block[:, : len(part)])
        scan(block, len(part), first, queries, stored, rank, error, depth, videos, values, held, floors)
    scores = np.empty((count, depth), np.float32)
    index = np.empty((count, depth), np.int64)
    rank_candidates(queries, stored, rank, error, depth, videos, values, held, scores, index)
    return scores, index


def _search_on_gpus(
    asked: NDArray[np.float32],
    stored: NDArray[np.float32],
    rank: NDArray[np.int64],
    error: float,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
    index: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Fill in the queries for which FAISS's proposals prove the answer; gives the others. Not yet run on a GPU."""
    depth = scores.shape[1]
    width = depth + _GPU_MARGIN
    flat = faiss.IndexFlatIP(stored.shape[1])
    for first in range(0, len(stored), _ADD_ROWS):
        flat.add(stored[first : first + _ADD_ROWS])
    engine = faiss.index_cpu_to_all_gpus(flat)
    unproven = [rows[:0]]
    step = max(1, _CELLS // width)
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        values, videos = engine.search(asked[part], width)
        found, best = np.empty((len(part), depth), np.float32), np.empty((len(part), depth), np.int64)
        held = np.full(len(part), width)
        rank_candidates(asked[part], stored, rank, error, depth, videos, values, held, found, best)
        # What was not proposed scored at most as much as the last proposal.
        proven = values[:, -1] < values[:, depth - 1] - 2 * error
        scores[part[proven]], index[part[proven]] = found[proven], best[proven]
        unproven.append(part[~proven])
    return np.concatenate(unproven)
