"""Identity templates, exact search by inner product, and the exact rank of chosen videos, however deep.

FAISS proposes and exact scores decide (`vidface.scores.search.faiss_search`). So equal embeddings tie exactly and ties
go by video id, whatever the order of the gallery, the number of threads or the machine. Tested in
``tests/scores/search/test_retrieval.py`` and ``test_gallery_ranks.py`` against a whole sort.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import LONGEST, at_least_one, integers, texts, two_sides, unit_rows_of
from vidface.embeddings.exact import product_error
from vidface.embeddings.pooling import weighted_mean
from vidface.scores.pairs.blocks import by_text
from vidface.scores.search.faiss_search import Array, look_up

__all__ = ["gallery_ranks", "identity_templates", "search"]

CELLS = 2**24  # products at a time in `gallery_ranks`: 64 MB


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
    by_id, tie = by_text(texts(gallery_ids, "ids", len(stored)))
    depth = min(k, len(stored))
    scores = np.zeros((len(asked), depth), np.float32)
    index = np.tile(by_id[:depth], (len(asked), 1))  # of a query that is zero: all scores are 0
    usable = np.flatnonzero(asked.any(axis=1))

    def decide(rows: Array, videos: Array, found: Array, bound: Array) -> Array:
        if np.isneginf(bound[0]):
            order = np.array([_best(line, tie, depth) for line in found])
        else:
            order = np.argsort(-found, axis=1)  # a tenth of the time of lexsort, which only ties need
            ranked = np.take_along_axis(found, order, axis=1)
            tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
            order[tied] = np.lexsort((tie[videos[tied]], -found[tied]))
            order = order[:, :depth]
        best = np.take_along_axis(found, order, axis=1)
        index[usable[rows]], scores[usable[rows]] = np.take_along_axis(videos, order, axis=1), best
        return np.asarray(best[:, -1] > bound)

    if depth:
        look_up(asked[usable], stored, depth, decide, workers=workers)
    return scores, index


def _best(scores: NDArray[np.float64], tie: NDArray[np.int64], depth: int) -> NDArray[np.int64]:
    """The best of a whole row; few of it need to be sorted."""
    near = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return near[np.lexsort((tie[near], -scores[near]))[:depth]]


def gallery_ranks(
    queries: ArrayLike,
    gallery: ArrayLike,
    gallery_ids: Sequence[str],
    of_query: ArrayLike,
    videos: ArrayLike,
) -> NDArray[np.int64]:
    """Where videos stand in the whole rankings of queries, of which `search` gives the first K.

    A product by BLAS counts who is surely above; only what is closer than rounding can explain is scored again.

    Args:
        queries: float32 [Q, D], unit or zero rows.
        gallery: float32 [V, D], unit or zero rows.
        gallery_ids: [V], the video ids; equal scores are ordered by them, in text order.
        of_query: int [N], the query in whose ranking ...
        videos: int [N], ... this gallery video is looked up.

    Returns:
        int64 [N], 1 for the first of a ranking.

    Raises:
        ValueError: shapes that don't fit, rows that are neither of unit length nor zero, or a query or a video that
            is not there.
    """
    asked, stored = two_sides(unit_rows_of(queries, "queries"), unit_rows_of(gallery, "gallery"))
    whose = integers(of_query, "of_query").astype(np.int64)
    wanted = integers(videos, "videos", len(whose)).astype(np.int64)
    for places, there, what in ((whose, asked, "queries"), (wanted, stored, "videos")):
        if len(places) and not 0 <= places.min() <= places.max() < len(there):
            raise ValueError(f"{what} {places.min()} to {places.max()} are looked up among {len(there)}")
    _, tie = by_text(texts(gallery_ids, "ids", len(stored)))
    error = product_error(asked.shape[1], LONGEST)

    order = np.argsort(whose, kind="stable")
    ranks = np.empty(len(order), np.int64)
    used, place = np.unique(whose, return_inverse=True)
    size = max(1, CELLS // max(1, len(stored)))
    for first in range(0, len(used), size):
        block = asked[used[first : first + size]]
        products = block @ stored.T
        for n in order[slice(*np.searchsorted(place[order], (first, first + size)))]:
            query, mine = block[place[n] - first].astype(np.float64), wanted[n]
            score = query @ stored[mine].astype(np.float64)
            gaps = products[place[n] - first] - score
            near = np.flatnonzero(np.abs(gaps) <= error)
            others = stored[near].astype(np.float64) @ query
            before = (others > score) | ((others == score) & (tie[near] < tie[mine]))
            ranks[n] = 1 + np.count_nonzero(gaps > error) + np.count_nonzero(before)
    return ranks
