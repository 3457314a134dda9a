from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.scores.search import ranks as module
from vidface.scores.search.ranks import gallery_ranks
from vidface.scores.search.retrieval import search


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.integers(1, 40),
    st.booleans(),
    st.sampled_from([3, 100, 2**24]),
)
def test_ranks_are_those_of_a_whole_sort(
    seed: int, queries: int, videos: int, ties: bool, cells: int
) -> None:
    random = np.random.default_rng(seed)
    asked, stored = random.normal(size=(queries, 33)), random.normal(size=(videos, 33))
    if ties:
        asked, stored = np.sign(asked), np.sign(stored) * random.choice([0, 1], (videos, 1))
        stored[random.random(videos) < 0.5] = stored[0]
        asked, stored = np.float32(asked / np.sqrt(33)), np.float32(stored / np.sqrt(33))
    else:
        asked, stored = normalise_rows(asked), normalise_rows(stored)
    ids = [f"v{n}" for n in random.permutation(videos)]
    whose = random.integers(0, queries, 30)
    wanted = random.integers(0, videos, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", cells)
        found = gallery_ranks(asked, stored, ids, whose, wanted)
    scores = asked.astype(np.float64) @ stored.astype(np.float64).T
    scores = scores.round(12)  # of ties, whose sums are whole numbers; nothing else comes that close
    for n, (query, video) in enumerate(zip(whose, wanted, strict=True)):
        ranking = sorted(range(videos), key=lambda v: (-scores[query, v], ids[v]))
        assert found[n] == ranking.index(video) + 1


def test_ranks_continue_the_search() -> None:
    random = np.random.default_rng(0)
    stored = normalise_rows(random.normal(size=(500, 16)))
    stored[100:200] = stored[0] + 3e-8 * random.normal(
        size=(100, 16)
    )  # closer than float32 products can tell
    asked = stored[:20]
    ids = [f"{n:03d}" for n in random.permutation(500)]
    _, found = search(asked, stored, ids, 300)
    whose = np.repeat(np.arange(20), 300)
    ranks = gallery_ranks(asked, stored, ids, whose, found.ravel()).reshape(20, 300)
    assert (ranks == np.arange(1, 301)).all()


def test_wrong_calls_of_ranks() -> None:
    rows = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="same dimension"):
        gallery_ranks(rows, rows[:, :2], ["a", "b", "c"], [0], [0])
    with pytest.raises(ValueError, match="2 ids for 3"):
        gallery_ranks(rows, rows, ["a", "b"], [0], [0])
    with pytest.raises(ValueError, match="finite"):
        gallery_ranks(rows + np.inf, rows, ["a", "b", "c"], [0], [0])
    for query, video in ((3, 0), (-1, 0), (0, 3), (0, -1)):  # they index memory
        with pytest.raises(ValueError, match="looked up among 3"):
            gallery_ranks(rows, rows, ["a", "b", "c"], [query], [video])
