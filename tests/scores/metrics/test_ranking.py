from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranx.metrics.average_precision import _average_precision
from sklearn.metrics import average_precision_score

from vidface.scores.metrics.ranking import average_precision_at_k, cmc, rank_k_hits


def naive(relevant: list[bool], total: int) -> float:
    hits, score = 0, 0.0
    for rank, right in enumerate(relevant, start=1):
        if right:
            hits += 1
            score += hits / rank
    return score / total


lists = st.lists(st.booleans(), max_size=120)


@given(lists, st.integers(0, 300))
def test_agrees_with_a_naive_loop(relevant: list[bool], missed: int) -> None:
    total = max(1, sum(relevant) + missed)
    assert average_precision_at_k([relevant], [total])[0] == pytest.approx(naive(relevant, total), abs=1e-14)


def test_the_denominator_is_full_above_the_cut() -> None:
    assert average_precision_at_k(np.ones((1, 100), bool), [250])[0] == pytest.approx(0.4)
    assert average_precision_at_k([[True, False, True]], [4])[0] == pytest.approx((1 + 2 / 3) / 4)


def test_agrees_with_ranx_on_cut_lists() -> None:
    """Ranx divides by all relevant items too. Its function is called uncompiled: compiling takes a minute."""
    random = np.random.default_rng(1)
    relevant, totals, expected = [], [], []
    for _ in range(20):
        wanted, ranking = random.choice(400, 130, replace=False), random.permutation(400)[:110]
        truth = np.stack([wanted, np.ones_like(wanted)], axis=1)
        run = np.stack([ranking, np.arange(110, 0, -1)], axis=1)
        expected.append(_average_precision.py_func(truth, run, 100, 1))
        relevant.append(np.isin(ranking[:100], wanted))
        totals.append(len(wanted))
    assert average_precision_at_k(relevant, totals) == pytest.approx(expected, abs=1e-12)


def test_agrees_with_scikit_learn_where_nothing_is_missed() -> None:
    random = np.random.default_rng(2)
    relevant = random.random((20, 80)) < 0.2
    relevant[:, 3] = True
    falling = -np.arange(80.0)
    expected = [average_precision_score(row, falling) for row in relevant]
    assert average_precision_at_k(relevant, relevant.sum(axis=1)) == pytest.approx(expected, abs=1e-12)


def test_nothing_found_is_zero() -> None:
    for ranks in (5, 0):
        assert average_precision_at_k(np.zeros((2, ranks), bool), [1, 7]).tolist() == [0, 0]
        assert rank_k_hits(np.zeros((2, ranks), bool), 1).tolist() == [False] * 2
    assert average_precision_at_k(np.zeros((0, 5), bool), np.zeros(0, int)).shape == (0,)
    assert rank_k_hits(np.zeros((0, 5), bool), 1).shape == (0,)


def test_rank_k_rates_agree_with_a_naive_loop() -> None:
    relevant = np.random.default_rng(0).random((40, 12)) < 0.1
    for k in (1, 2, 5, 12, 20):
        hits = rank_k_hits(relevant, k)
        assert hits.tolist() == [any(row[:k]) for row in relevant.tolist()]
        if k <= 12:
            assert cmc(relevant)[k - 1] == hits.mean()
    assert len(cmc(relevant)) == 12


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        (average_precision_at_k, ([[True], [False]], [1, 0]), "query 1 has no relevant"),
        (average_precision_at_k, ([[True, True]], [1]), "query 0 has more hits"),
        (average_precision_at_k, ([True], [1]), r"\[Q, K\]"),
        (average_precision_at_k, ([[True]], [1, 1]), r"n_relevant must be \[1\]"),
        (rank_k_hits, ([[True]], 0), "k must be at least 1"),
        (rank_k_hits, ([True], 1), "2 axes"),
        (cmc, ([True],), "2 axes"),
        (cmc, (np.zeros((0, 5), bool),), "at least one query"),
    ],
)
def test_wrong_calls(function: Any, arguments: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        function(*arguments)
