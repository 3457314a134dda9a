"""Whoever may be among the best answers to a query: FAISS proposes, exact scores prove it.

FAISS multiplies float32 rows by BLAS and keeps a few more videos for each query than are wanted. These are scored again
in float64, where the dot of two rows on the grid is exact (`vidface.embeddings.exact`). A product by BLAS is off by at
most `product_error`, so nobody who was not proposed scores more than the last proposal's product plus that error. Where
this does not prove the answer, as among many equal rows, the query is scored with everybody, in float64.

FAISS's wheel for CPUs brings its own BLAS, which is older than numpy's. It does not know processors that came after it
and takes kernels of 2004 for them, which are 4 to 7 times slower. So it is loaded with numpy's kind of kernels, where
that is known, and its products are compared with numpy's before they are used. Tested in ``tests/scores/search``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from vidface.arrays import LONGEST
from vidface.embeddings.exact import cosine, normalise_rows, product_error
from vidface.runtime import cpu_count, in_threads

MARGIN = 16  # proposals beyond what is wanted: a tie with the last of them is rare
MOST = 2048  # proposals; FAISS gives no more on a GPU, and needs much memory for more on a CPU
QUERIES = 1024  # a block
CELLS = 2**21  # scores of whole rows at a time and thread: 16 MB
KIND = "OPENBLAS_CORETYPE"
log = logging.getLogger("vidface")

Array = NDArray[Any]


def blas_kernels() -> dict[str, str]:
    """The kind of processor that each library's own OpenBLAS multiplies for; those that are loaded and known."""
    loaded = [part for part in threadpool_info() if part["internal_api"] == "openblas"]
    return {
        library: str(part["architecture"])
        for library in ("numpy", "scipy", "faiss")
        for part in loaded
        if any(folder.startswith(library) for folder in Path(part["filepath"]).parts[-3:-1])
    }


def load_faiss() -> Any:
    """FAISS, with numpy's kind of kernels; a kind that somebody has chosen stays."""
    kind = blas_kernels().get("numpy")
    before = os.environ.get(KIND)
    if kind and before is None:
        os.environ[KIND] = kind
    try:
        import faiss
    finally:
        if before is None:
            os.environ.pop(KIND, None)
    faiss.cvar.distance_compute_blas_threshold = 0  # its own loops take 9 times as long
    faiss.cvar.distance_compute_blas_query_bs = faiss.cvar.distance_compute_blas_database_bs = 1024
    return faiss


faiss = load_faiss()


@cache
def faiss_is_right() -> bool:
    """Whether FAISS multiplies as numpy does; kernels may be broken, or not for this processor."""
    random = np.random.default_rng(0)
    one, other = (normalise_rows(random.standard_normal((rows, 259), np.float32)) for rows in (67, 131))
    products, videos = faiss.knn(one, other, len(other), faiss.METRIC_INNER_PRODUCT)
    expected = np.take_along_axis(one.astype(np.float64) @ other.T.astype(np.float64), videos % 131, axis=1)
    right = bool((np.abs(products - expected) <= product_error(259, LONGEST)).all())
    if not right:
        log.warning(
            "faiss multiplies wrongly here: searches are done without it, which takes 3 times as long"
        )
    return right


def look_up(
    queries: Array,
    stored: Array,
    wanted: int,
    decide: Callable[..., Array],
    *,
    workers: int | None = None,
) -> None:
    """Let ``decide`` see, for every query, the exact scores of all that may be among the best.

    Args:
        queries: float32 [Q, D], on the grid.
        stored: float32 [V, D], likewise.
        wanted: how many answers a query needs at least.
        decide: is called as ``decide(rows, videos, scores, bound)`` with some of the queries, int64 [n], by several
            threads at once; videos, int64 [n, w], their scores, float64 [n, w], and what nobody else scores more than,
            float64 [n]. It says for which of them, bool [n], that proves the answer; for the others it is called again
            with everybody, and a bound of -inf.
        workers: threads; None: one for every core this process may use.
    """
    workers = workers or cpu_count()
    left = np.arange(len(queries))
    width = wanted + MARGIN
    error = product_error(queries.shape[1], LONGEST)
    everybody = np.arange(len(stored))

    def propose(jobs: Iterator[Array]) -> list[Array]:
        faiss.omp_set_num_threads(1)  # of this thread; the blocks are shared out already
        unproven = [left[:0]]
        for rows in jobs:
            products, videos = engine(queries[rows], width)
            scores = np.empty(videos.shape)
            score_proposals(queries[rows], stored, videos, scores)
            sound = (np.abs(products - scores) <= error).all(axis=1)  # not so if a GPU rounds the rows first
            proven = decide(rows, videos, scores, products[:, -1] + np.float64(error))
            unproven.append(rows[~(proven & sound)])
        return unproven

    def look_at_all(jobs: Iterator[Array]) -> None:
        for rows in jobs:
            scores = exact_scores(queries[rows], stored)
            videos = np.broadcast_to(everybody, scores.shape)
            decide(rows, videos, scores, np.full(len(rows), -np.inf))

    with threadpool_limits(1, user_api="blas"):  # the blocks are the work of the threads
        if width <= min(MOST, len(stored) - 1) and faiss_is_right():
            engine = _engine(stored)
            parts = in_threads(propose, _blocks(left, QUERIES, workers), workers)
            left = np.concatenate([rows for part in parts for rows in part])
        in_threads(look_at_all, _blocks(left, max(1, CELLS // max(1, len(stored))), workers), workers)


def _blocks(rows: Array, size: int, workers: int) -> Iterator[Array]:
    size = max(1, min(size, -(-len(rows) // workers)))
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _engine(stored: Array) -> Callable[..., Any]:
    """What gives (products, videos) of queries: on all GPUs, which were never tried, or on the CPU."""
    if faiss.get_num_gpus() == 0:
        return lambda queries, width: faiss.knn(queries, stored, width, faiss.METRIC_INNER_PRODUCT)
    flat, lock = faiss.IndexFlatIP(stored.shape[1]), Lock()
    flat.add(stored)
    index = faiss.index_cpu_to_all_gpus(flat)

    def search(queries: Array, width: int) -> Any:
        with lock:  # GPUs take one call at a time
            return index.search(queries, width)

    return search


def exact_scores(queries: Array, stored: Array) -> Array:
    """The cosines of all queries with all rows on the grid, float64 [Q, V], by BLAS."""
    scores, wide = np.empty((len(queries), len(stored))), queries.astype(np.float64)
    for start in range(0, len(stored), 1024):
        scores[:, start : start + 1024] = wide @ stored[start : start + 1024].T.astype(np.float64)
    return scores


@njit(cache=True, nogil=True)
def score_proposals(queries: Any, stored: Any, videos: Any, scores: Any) -> None:
    """Write the cosine of query i and video videos[i, j] into scores[i, j]."""
    for query in range(len(videos)):
        for place in range(videos.shape[1]):
            scores[query, place] = cosine(queries[query], stored[videos[query, place]])
