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


def whole_sort(queries: np.ndarray, gallery: np.ndarray, ids: list[str], k: int) -> list[list[str]]:
    """Ids by falling score, equal scores by id; a score is its own sum, so that equal rows score equally."""
    ranking = []
    for query in queries.astype(np.float64):
        scores = [float(np.sum(query * row)) for row in gallery.astype(np.float64)]
        ranking.append([ids[i] for i in sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))][:k])
    return ranking


def unit(seed: int, rows: int, dimension: int = 32) -> np.ndarray:
    return normalise_rows(np.random.default_rng(seed).standard_normal((rows, dimension)))


def names(count: int, seed: int = 0) -> list[str]:
    """Ids whose text order is neither their own order nor that of their numbers."""
    return [f"v{n}" for n in np.random.default_rng(seed).permutation(count)]


def ranked(index: np.ndarray, ids: list[str]) -> list[list[str]]:
    return [[ids[i] for i in row] for row in index]


@pytest.mark.parametrize("k", [1, 5, 100, 300, 1000])
def test_agrees_with_a_whole_sort(k: int) -> None:
    queries, gallery, ids = unit(0, 25), unit(1, 300), names(300)
    scores, index = search(queries, gallery, ids, k)
    assert scores.shape == index.shape == (25, min(k, 300))
    assert (scores.dtype, index.dtype) == (np.float32, np.int64)
    assert ranked(index, ids) == whole_sort(queries, gallery, ids, k)
    exact = np.take_along_axis(queries.astype(np.float64) @ gallery.T.astype(np.float64), index, axis=1)
    np.testing.assert_allclose(scores, exact, atol=6e-8)


@pytest.mark.parametrize("copies", [2, 30, 100, 400])
def test_copies_that_straddle_the_cut_go_by_id(copies: int) -> None:
    queries = unit(0, 6)
    gallery = np.concatenate([unit(1, 200), np.repeat(unit(2, 3), copies, axis=0)])
    ids = names(len(gallery))
    for k in (1, 3, 50, 100):
        _, index = search(queries, gallery, ids, k)
        assert ranked(index, ids) == whole_sort(queries, gallery, ids, k)


def test_the_cut_falls_among_copies_of_the_query() -> None:
    gallery = np.concatenate([unit(1, 500), np.repeat(unit(0, 1), 200, axis=0)])
    ids = names(700)
    scores, index = search(unit(0, 1), gallery, ids, 20)
    assert ranked(index, ids) == [sorted(ids[500:])[:20]]
    assert len(set(scores[0].tolist())) == 1


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 120), st.integers(1, 60), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_does_not_matter(seed: int, videos: int, k: int, random) -> None:
    choice = np.random.default_rng(seed)
    gallery = unit(seed, videos)[choice.integers(0, choice.integers(1, videos + 1), videos)]
    queries, ids = unit(seed + 1, 3), names(videos, seed)
    scores, index = search(queries, gallery, ids, k)
    order = list(range(videos))
    random.shuffle(order)
    again, moved = search(queries, gallery[order], [ids[i] for i in order], k)
    assert ranked(moved, [ids[i] for i in order]) == ranked(index, ids)
    assert again.tobytes() == scores.tobytes()


def test_near_ties_below_float32_are_told_apart() -> None:
    # Scores of 0.8 and a bit, whose last bit in float32 is 6e-8: these differ by 9e-9 and are all alike to FAISS.
    gallery = np.float32([[1, n * 2.0**-26] for n in range(400)])
    _, index = search(np.float32([[0.8, 0.6]]), gallery, names(400), 5)
    assert index.tolist() == [[399, 398, 397, 396, 395]]


def test_zero_rows_score_zero_and_stay() -> None:
    gallery = np.concatenate([np.zeros((60, 32), np.float32), unit(1, 5)])
    ids = names(65)
    scores, index = search(np.zeros((2, 32), np.float32), gallery, ids, 10)
    assert ranked(index, ids) == [sorted(ids)[:10]] * 2
    assert not scores.any()
    _, index = search(unit(3, 2), gallery, ids, 20)
    assert ranked(index, ids) == whole_sort(unit(3, 2), gallery, ids, 20)


def test_negative_scores_are_ranked_too() -> None:
    gallery = -np.abs(unit(0, 50))
    ids = names(50)
    scores, index = search(np.abs(unit(1, 3)), gallery, ids, 50)
    assert (scores < 0).all()
    assert ranked(index, ids) == whole_sort(np.abs(unit(1, 3)), gallery, ids, 50)


@pytest.mark.parametrize(("queries_a_block", "cells"), [(1, 1), (7, 5000), (64, 2**21)])
@pytest.mark.parametrize("workers", [1, 3])
def test_blocks_and_threads_change_nothing(
    monkeypatch: pytest.MonkeyPatch, queries_a_block: int, cells: int, workers: int
) -> None:
    gallery = np.concatenate([unit(1, 1100), unit(1, 300), np.repeat(unit(2, 1), 40, axis=0)])
    queries, ids = np.concatenate([unit(0, 40), unit(2, 1)]), names(1440)
    whole = search(queries, gallery, ids, 10)
    assert ranked(whole[1], ids) == whole_sort(queries, gallery, ids, 10)
    monkeypatch.setattr(faiss_search, "QUERIES", queries_a_block)
    monkeypatch.setattr(faiss_search, "CELLS", cells)
    blocks = search(queries, gallery, ids, 10, workers=workers)
    assert [a.tobytes() for a in whole] == [a.tobytes() for a in blocks]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    videos=st.integers(1, 700),
    k=st.integers(1, 40),
    distinct=st.integers(1, 700),
    spread=st.sampled_from([0, 1e-9, 1e-7, 1e-4, 1]),
)
def test_ties_and_near_ties_that_fill_the_room(
    seed: int, videos: int, k: int, distinct: int, spread: float
) -> None:
    """Copies and rows that float32 hardly tells apart, in rising and falling order too: all are candidates at once."""
    choice = np.random.default_rng(seed)
    gallery = normalise_rows(np.ones((distinct, 8)) + spread * choice.standard_normal((distinct, 8)))
    gallery = gallery[choice.integers(0, distinct, videos)]
    queries, ids = unit(seed + 1, 3, 8), names(videos, seed)
    for order in (np.arange(videos), np.argsort(gallery @ queries[0]), np.argsort(-(gallery @ queries[0]))):
        mine = [ids[i] for i in order]
        _, index = search(queries, gallery[order], mine, k)
        assert ranked(index, mine) == whole_sort(queries, gallery[order], mine, k)


class Proposer:
    """In the place of all GPUs, or of a FAISS whose kernels are broken: products are rounded, or shifted."""

    def __init__(self, gallery: np.ndarray, round_to: type, shift: float) -> None:
        self.gallery, self.round_to, self.shift, self.calls = gallery, round_to, np.float32(shift), 0

    def search(self, queries: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        rows = (side.astype(self.round_to).astype(np.float32) for side in (queries, self.gallery))
        products = next(rows) @ next(rows).T + self.shift
        order = np.argsort(-products, axis=1, kind="stable")[:, :width]
        return np.take_along_axis(products, order, axis=1), order


@pytest.mark.parametrize("copies", [1, 60])
@pytest.mark.parametrize("round_to", [np.float32, np.float16])
def test_what_gpus_propose_is_proved_or_scored_again(
    monkeypatch: pytest.MonkeyPatch, copies: int, round_to: type
) -> None:
    """A GPU may round the rows before it multiplies them: that is seen, and its proposals prove nothing."""
    queries = np.concatenate([unit(0, 5), np.zeros((1, 32), np.float32)])
    gallery = np.concatenate([unit(1, 400), np.repeat(unit(2, 2), copies, axis=0)])
    ids, gpus = names(len(gallery)), Proposer(gallery, round_to, 0)
    monkeypatch.setattr(faiss_search.faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss_search.faiss, "index_cpu_to_all_gpus", lambda index: gpus, raising=False)
    for k in (1, 20):
        _, index = search(queries, gallery, ids, k)
        assert ranked(index, ids) == whole_sort(queries, gallery, ids, k)
    assert gpus.calls == 2 * min(5, cpu_count())


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
        queries, gallery, ids = unit(0, 5), unit(1, 200), names(200)
        assert ranked(search(queries, gallery, ids, 3)[1], ids) == whole_sort(queries, gallery, ids, 3)
        assert "faiss multiplies wrongly here" in caplog.text
    finally:
        faiss_search.faiss_is_right.cache_clear()


def test_what_faiss_proposes_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_search, "exact_scores", None)  # whole rows
    queries, gallery, ids = unit(0, 5), unit(1, 200), names(200)
    assert ranked(search(queries, gallery, ids, 3)[1], ids) == whole_sort(queries, gallery, ids, 3)


def test_faiss_multiplies_with_numpys_kernels() -> None:
    """Where the architecture of numpy's is known, faiss's OpenBLAS is asked for the same; the environment stays."""
    code = (
        "import os, numpy, sys; before = dict(os.environ); import vidface.scores.search.faiss_search as search;"
        "assert dict(os.environ) == before; print(search.blas_kernels())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = ast.literal_eval(done.stdout)
    if "numpy" not in found or "faiss" not in found:
        pytest.skip("numpy and faiss do not bring an OpenBLAS each")
    assert found["faiss"] == found["numpy"]


def test_no_queries_and_no_gallery() -> None:
    empty = np.zeros((0, 8), np.float32)
    assert search(empty, unit(0, 5, 8), names(5), 3)[1].shape == (0, 3)
    assert search(unit(0, 5, 8), empty, [], 3)[0].shape == (5, 0)


def test_wrong_calls() -> None:
    with pytest.raises(ValueError, match="dimension"):
        search(unit(0, 2, 8), unit(0, 2, 9), names(2), 1)
    with pytest.raises(ValueError, match="at least 1"):
        search(unit(0, 2), unit(0, 2), names(2), 0)
    with pytest.raises(ValueError, match="3 ids"):
        search(unit(0, 2), unit(0, 2), names(3), 1)
    with pytest.raises(ValueError, match="finite"):
        search(np.full((1, 2), np.nan), np.eye(1, 2), names(1), 1)
    with pytest.raises(ValueError, match="gallery: row 1 has length 3, not 1 or 0"):
        search(np.eye(1, 2), np.float32([[1, 0], [3, 0]]), names(2), 1)


def test_templates_are_the_normalised_means() -> None:
    rows = unit(0, 9)
    rows[4] = 0
    people = ["b", "a", "b", "", "b", "c", "a", "B", ""]
    found, templates = identity_templates(rows, people)
    assert found == ["B", "a", "b", "c"]
    assert templates.dtype == np.float32
    for name, template in zip(found, templates, strict=True):
        mean = np.mean([row for row, who in zip(rows, people, strict=True) if who == name], axis=0)
        np.testing.assert_allclose(template, mean / np.linalg.norm(mean), atol=1e-6)


def test_an_identity_without_a_usable_video_is_a_zero_row() -> None:
    rows = np.concatenate([unit(0, 2), np.zeros((2, 32), np.float32)])
    found, templates = identity_templates(rows, ["a", "a", "lost", "lost"])
    assert found == ["a", "lost"]
    assert templates[0].any()
    assert not templates[1].any()


def test_templates_of_nobody() -> None:
    found, templates = identity_templates(unit(0, 2), ["", ""])
    assert found == []
    assert templates.shape == (0, 32)
    with pytest.raises(ValueError, match="identities"):
        identity_templates(unit(0, 2), ["a"])
