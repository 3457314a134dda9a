from __future__ import annotations

import ast
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.runtime import cpu_count
from vidface.scores.search import faiss_search
from vidface.scores.search.retrieval import identity_templates, search


def unit(seed: int, rows: int, dimension: int = 32) -> np.ndarray:
    return normalise_rows(np.random.default_rng(seed).standard_normal((rows, dimension)))


def names(count: int, seed: int = 0) -> list[str]:
    """Ids whose text order is neither their own order nor that of their numbers."""
    return [f"v{n}" for n in np.random.default_rng(seed).permutation(count)]


def ranked(index: np.ndarray, ids: list[str]) -> list[list[str]]:
    return [[ids[i] for i in row] for row in index]


def check(queries: np.ndarray, gallery: np.ndarray, ids: list[str], k: int) -> None:
    """A search gives what a whole sort gives: ids by falling score, equal scores by id; each score its own sum."""
    scores, index = search(queries, gallery, ids, k)
    depth = min(k, len(gallery))
    assert scores.shape == index.shape == (len(queries), depth)
    assert (scores.dtype, index.dtype) == (np.float32, np.int64)
    for query, found, mine in zip(queries.astype(np.float64), scores, ranked(index, ids), strict=True):
        exact = {
            name: float(np.sum(query * row))
            for name, row in zip(ids, gallery.astype(np.float64), strict=True)
        }
        expected = sorted(ids, key=lambda name: (-exact[name], name))[:depth]
        assert mine == expected
        assert found.tolist() == [np.float32(exact[name]) for name in expected]


COPIES = np.concatenate([unit(1, 200), np.repeat(unit(2, 3), 30, axis=0)])
ALL_TIED = np.concatenate([unit(1, 500), np.repeat(unit(0, 1), 200, axis=0)])
ZEROS = np.concatenate([np.zeros((60, 32), np.float32), unit(1, 5)])
# Scores of 0.8 and a bit, whose last bit in float32 is 6e-8: these differ by 9e-9 and are all alike to FAISS.
NEAR_TIES = np.float32([[1, n * 2.0**-26] for n in range(400)])
# All these are alike in float16, and score less there than they do.
ARC = normalise_rows([[np.cos(angle), np.sin(angle)] for angle in 0.5001 + 1e-7 * np.arange(400)])


@pytest.mark.parametrize(
    ("queries", "gallery"),
    [
        (unit(0, 25), unit(1, 300)),
        (unit(0, 6), COPIES),
        (unit(0, 1), ALL_TIED),
        (np.concatenate([unit(3, 2), np.zeros((2, 32), np.float32)]), ZEROS),
        (np.abs(unit(1, 3)), -np.abs(unit(0, 50))),
        (np.float32([[0.8, 0.6]]), NEAR_TIES),
        (np.zeros((0, 8), np.float32), unit(0, 5, 8)),
        (unit(0, 5, 8), np.zeros((0, 8), np.float32)),
    ],
    ids=["plain", "copies", "all tied", "zeros", "negative", "near ties", "no queries", "no gallery"],
)
@pytest.mark.parametrize("k", [1, 5, 20, 100, 300, 1000])
def test_agrees_with_a_whole_sort(queries: np.ndarray, gallery: np.ndarray, k: int) -> None:
    check(queries, gallery, names(len(gallery)), k)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    videos=st.integers(1, 700),
    k=st.integers(1, 40),
    distinct=st.integers(1, 700),
    spread=st.sampled_from([0, 1e-7, 1e-4, 1]),
)
def test_the_order_of_a_gallery_full_of_ties_does_not_matter(
    seed: int, videos: int, k: int, distinct: int, spread: float
) -> None:
    """Copies, and rows that float32 hardly tells apart; in rising and falling order too."""
    choice = np.random.default_rng(seed)
    gallery = normalise_rows(np.ones((distinct, 8)) + spread * choice.standard_normal((distinct, 8)))
    gallery = gallery[choice.integers(0, distinct, videos)]
    queries, ids = unit(seed + 1, 3, 8), names(videos, seed)
    for order in (np.arange(videos), np.argsort(gallery @ queries[0]), np.argsort(-(gallery @ queries[0]))):
        check(queries, gallery[order], [ids[i] for i in order], k)


@pytest.mark.parametrize(("queries_a_block", "cells"), [(1, 1), (7, 5000), (64, 2**21)])
@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_and_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch, queries_a_block: int, cells: int, workers: int
) -> None:
    queries, ids = np.concatenate([unit(0, 40), unit(2, 1)]), names(len(COPIES))
    whole = search(queries, COPIES, ids, 10)
    monkeypatch.setattr(faiss_search, "QUERIES", queries_a_block)
    monkeypatch.setattr(faiss_search, "CELLS", cells)
    blocks = search(queries, COPIES, ids, 10, workers=workers)
    assert [a.tobytes() for a in whole] == [a.tobytes() for a in blocks]


def test_what_faiss_proposes_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_search, "exact_scores", None)  # of whole rows
    check(unit(0, 5), unit(1, 200), names(200), 3)


class Proposer:
    """In the place of all GPUs, or of a FAISS with broken kernels: rows are rounded, or products shifted."""

    def __init__(self, gallery: np.ndarray, round_to: type, shift: float) -> None:
        self.gallery, self.round_to, self.shift, self.calls = gallery, round_to, np.float32(shift), 0

    def search(self, queries: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        rows = (side.astype(self.round_to).astype(np.float32) for side in (queries, self.gallery))
        products = next(rows) @ next(rows).T + self.shift
        order = np.argsort(-products, axis=1, kind="stable")[:, :width]
        return np.take_along_axis(products, order, axis=1), order


@pytest.mark.parametrize(
    ("queries", "gallery"),
    [(unit(0, 5), unit(1, 400)), (unit(0, 5), COPIES), (np.float32([[0, 1]]), ARC)],
)
@pytest.mark.parametrize("round_to", [np.float32, np.float16])
def test_what_gpus_propose_is_proved_or_scored_again(
    monkeypatch: pytest.MonkeyPatch, queries: np.ndarray, gallery: np.ndarray, round_to: type
) -> None:
    """A GPU may round the rows before it multiplies them: that is seen, and its proposals prove nothing."""
    gpus = Proposer(gallery, round_to, 0)
    monkeypatch.setattr(faiss_search.faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss_search.faiss, "index_cpu_to_all_gpus", lambda index: gpus, raising=False)
    for k in (1, 20):
        check(queries, gallery, names(len(gallery)), k)
    assert gpus.calls == 2 * min(len(queries), cpu_count())


def test_a_faiss_that_multiplies_wrongly_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def knn(
        queries: np.ndarray, gallery: np.ndarray, width: int, metric: int
    ) -> tuple[np.ndarray, np.ndarray]:
        return Proposer(gallery, np.float32, 1e-3).search(queries, width)

    monkeypatch.setattr(faiss_search.faiss, "knn", knn)
    faiss_search.faiss_is_right.cache_clear()
    try:
        check(unit(0, 5), unit(1, 200), names(200), 3)
        assert "faiss multiplies wrongly here" in caplog.text
    finally:
        faiss_search.faiss_is_right.cache_clear()


def test_faiss_multiplies_with_numpys_kernels() -> None:
    """Where the kind of numpy's is known, faiss's OpenBLAS is asked for the same; the environment stays."""
    code = (
        "import os; before = dict(os.environ); import vidface.scores.search.faiss_search as search;"
        "assert dict(os.environ) == before; print(search.blas_kernels())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = ast.literal_eval(done.stdout)
    if "numpy" not in found or "faiss" not in found:
        pytest.skip("numpy and faiss do not bring an OpenBLAS each")
    assert found["faiss"] == found["numpy"]


def test_templates_are_the_normalised_means() -> None:
    rows = unit(0, 10)
    rows[4] = rows[9] = 0
    people = ["b", "a", "b", "", "b", "c", "a", "B", "", "lost"]
    found, templates = identity_templates(rows, people)
    assert found == ["B", "a", "b", "c", "lost"]
    assert templates.dtype == np.float32 and not templates[-1].any()
    for name, template in zip(found[:-1], templates, strict=False):
        mean = np.mean([row for row, who in zip(rows, people, strict=True) if who == name], axis=0)
        np.testing.assert_allclose(template, mean / np.linalg.norm(mean), atol=1e-6)
    found, templates = identity_templates(rows[:2], ["", ""])
    assert (found, templates.shape) == ([], (0, 32))
