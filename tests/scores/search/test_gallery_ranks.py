from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.scores.search import retrieval as module
from vidface.scores.search.retrieval import gallery_ranks, search


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 12),
    videos=st.integers(1, 40),
    ties=st.booleans(),
    cells=st.sampled_from([3, 100, 2**24]),
)
def test_ranks_are_those_of_a_whole_sort(
    seed: int, queries: int, videos: int, ties: bool, cells: int
) -> None:
    random = np.random.default_rng(seed)
    asked, stored = random.normal(size=(queries, 32)), random.normal(size=(videos, 32))
    if ties:
        asked, stored = np.sign(asked), np.sign(stored) * random.choice([0, 1], (videos, 1))
        stored[random.random(videos) < 0.5] = stored[0]
    asked, stored = normalise_rows(asked), normalise_rows(stored)
    ids = [f"v{n}" for n in random.permutation(videos)]
    whose, wanted = random.integers(0, queries, 30), random.integers(0, videos, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CELLS", cells)
        found = gallery_ranks(asked, stored, ids, whose, wanted)
    scores = asked.astype(np.float64) @ stored.astype(np.float64).T
    for n, (query, video) in enumerate(zip(whose, wanted, strict=True)):
        ranking = sorted(range(videos), key=lambda v: (-scores[query, v], ids[v]))
        assert found[n] == ranking.index(video) + 1


def test_ranks_continue_the_search() -> None:
    random = np.random.default_rng(0)
    stored = normalise_rows(random.normal(size=(500, 16)))
    stored[100:200] = stored[0] + 2.0**-26 * random.integers(
        -2, 3, (100, 16)
    )  # products hardly tell them apart
    ids = [f"{n:03d}" for n in random.permutation(500)]
    _, found = search(stored[:20], stored, ids, 300)
    ranks = gallery_ranks(stored[:20], stored, ids, np.repeat(np.arange(20), 300), found.ravel())
    assert (ranks.reshape(20, 300) == np.arange(1, 301)).all()
