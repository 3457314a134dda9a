from __future__ import annotations

import numpy as np
import pytest

from vidface.scores.metrics.ranking import cmc, rank_k_hits


def test_agrees_with_a_naive_loop() -> None:
    relevant = np.random.default_rng(0).random((40, 12)) < 0.1
    for k in (1, 2, 5, 12, 20):
        expected = [any(row[rank] for rank in range(min(k, 12))) for row in relevant.tolist()]
        hits = rank_k_hits(relevant, k)
        assert hits.dtype == bool
        assert hits.tolist() == expected


def test_no_ranks_and_no_queries() -> None:
    assert rank_k_hits(np.zeros((3, 0), bool), 1).tolist() == [False] * 3
    assert rank_k_hits(np.zeros((0, 5), bool), 1).shape == (0,)


@pytest.mark.parametrize(
    ("relevant", "k", "said"), [([[True]], 0, "k must be at least 1"), ([True], 1, "2 axes")]
)
def test_wrong_calls(relevant: list, k: int, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rank_k_hits(relevant, k)


def test_the_cmc_curve_is_the_rank_k_rate_for_every_k() -> None:
    relevant = np.random.default_rng(1).random((50, 9)) < 0.1
    expected = [np.mean([any(row[:k]) for row in relevant.tolist()]) for k in range(1, 10)]
    assert cmc(relevant).tolist() == expected
    for wrong, said in (([True], "2 axes"), (np.zeros((0, 5), bool), "at least one query")):
        with pytest.raises(ValueError, match=said):
            cmc(wrong)
