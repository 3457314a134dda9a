from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from vidface.scores.metrics.bootstrap import bootstrap_mean, bootstrap_ratio, draw, mean_replicates


def test_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).beta(5, 1, 150)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    low, high = bootstrap_mean(values, replicates=5000)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=1.5e-3)


def test_ratio_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    totals = random.integers(1, 60, 120)
    hits = random.binomial(totals, random.beta(4, 1, 120))

    def ratio(h: np.ndarray, t: np.ndarray, axis: int) -> np.ndarray:
        return h.sum(axis=axis) / t.sum(axis=axis)

    expected = stats.bootstrap(
        (hits, totals), ratio, n_resamples=20_000, method="percentile", paired=True, rng=1
    )
    low, high = bootstrap_ratio(hits, totals, replicates=5000)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval), abs=3e-3)


def test_the_seed_alone_decides() -> None:
    values = np.random.default_rng(0).random(30)
    assert bootstrap_mean(values) == bootstrap_mean(values, seed=0, replicates=2000)
    assert bootstrap_mean(values) != bootstrap_mean(values, seed=1)
    assert bootstrap_ratio(values, np.ones(30)) == pytest.approx(bootstrap_mean(values))


@pytest.mark.parametrize("people", [7, 70_000])  # many replicates at a time, one at a time
def test_who_is_drawn_is_who_compare_draws(people: int) -> None:
    """A replicate is the mean of those that `draw` counts, one after the other."""
    values = np.random.default_rng(1).random(people)
    columns = draw(people, replicates=9, seed=3).T
    wanted = [np.repeat(values, column).mean() for column in columns]
    assert mean_replicates(values, seed=3, replicates=9) == pytest.approx(wanted, abs=1e-12)
    ratios = [(column * values).sum() / (column * (1 + values)).sum() for column in columns]
    low, high = bootstrap_ratio(values, 1 + values, seed=3, replicates=9)
    assert (low, high) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), abs=1e-12)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_mean(random.random(60), replicates=200)
        covered += low <= 0.5 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_identities_without_pairs_are_left_out() -> None:
    assert bootstrap_ratio([3, 0, 5], [4, 0, 9]) == bootstrap_ratio([3, 5], [4, 9])
    assert bootstrap_ratio([0, 2], [0, 4]) == (0.5, 0.5)
    assert bootstrap_mean([0.25]) == (0.25, 0.25)
