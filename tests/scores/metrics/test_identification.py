from __future__ import annotations

import numpy as np

from vidface.scores.metrics.ranking import cmc, rank_k_hits


def test_hits_and_their_rates_are_those_of_a_naive_loop() -> None:
    relevant = np.random.default_rng(0).random((40, 12)) < 0.1
    for k in (1, 2, 5, 12, 20):
        expected = [any(row[:k]) for row in relevant.tolist()]
        hits = rank_k_hits(relevant, k)
        assert hits.dtype == bool and hits.tolist() == expected
        if k <= 12:
            assert cmc(relevant)[k - 1] == np.mean(expected)
    assert cmc(relevant).shape == (12,)


def test_no_ranks_and_no_queries() -> None:
    assert rank_k_hits(np.zeros((3, 0), bool), 1).tolist() == [False] * 3
    assert rank_k_hits(np.zeros((0, 5), bool), 1).shape == (0,)
