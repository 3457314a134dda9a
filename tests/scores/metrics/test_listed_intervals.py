from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from vidface.scores.metrics.bootstrap import auc_eer_intervals, draw


def made(seed: int, people: int, pairs: int) -> tuple[Any, ...]:
    """Random pairs of people, a third of them of one person; whole numbers as scores, so that many tie."""
    random = np.random.default_rng(seed)
    first = random.integers(0, people, pairs)
    second = np.where(random.random(pairs) < 1 / 3, first, random.integers(0, people, pairs))
    same = first == second
    ease = random.normal(size=people)  # pairs of one person are hard or easy together
    scores = np.rint(3 * random.normal(np.where(same, 1.5 + ease[first], 0.0)))
    return scores, same, first, second


def test_against_the_weighted_curve_of_scikit_learn() -> None:
    scores, same, first, second = made(1, people=15, pairs=200)
    drawn = draw(15, replicates=60, seed=3).astype(int)
    areas, rates = [], []
    for times in drawn.T:
        weights = np.array(
            [times[a] if a == b else times[a] * times[b] for a, b in zip(first, second, strict=True)]
        )
        areas.append(roc_auc_score(same, scores, sample_weight=weights))
        # The curve of pairs that are really repeated.
        fpr, tpr, _ = roc_curve(np.repeat(same, weights), np.repeat(scores, weights), drop_intermediate=False)
        share = np.linspace(0, 1, 20001)
        at = int(np.argmax(fpr >= 1 - tpr))
        line = fpr[at - 1] + share * (fpr[at] - fpr[at - 1])
        missed = 1 - (tpr[at - 1] + share * (tpr[at] - tpr[at - 1]))
        rates.append(line[np.argmin(np.abs(line - missed))])
    found = auc_eer_intervals(scores, same, first, second, seed=3, replicates=60)
    assert found is not None
    assert found[0] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=1e-12)
    assert found[1] == pytest.approx(np.quantile(rates, [0.025, 0.975]), abs=1e-4)
    assert found[0][0] < roc_auc_score(same, scores) < found[0][1]


def test_numbers_of_people_do_not_matter() -> None:
    scores, same, first, second = made(2, people=9, pairs=100)
    plain = auc_eer_intervals(scores, same, first, second, replicates=50)
    assert plain == auc_eer_intervals(scores, same, 7 * first + 3, 7 * second + 3, replicates=50)


def test_people_are_drawn_not_pairs() -> None:
    """The same number of pairs of few people says less."""
    widths = []
    for people in (6, 200):
        (low, high), _ = auc_eer_intervals(*made(4, people, 2000), replicates=300) or ((0, 0), (0, 0))
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 0


def test_two_people_have_no_interval() -> None:
    """In half of the replicates only one of them is there, and no pair of two."""
    first, second = np.array([0, 1, 0, 0]), np.array([0, 1, 1, 1])
    assert auc_eer_intervals([3.0, 2.0, 1.0, 0.0], first == second, first, second) is None


def test_perfect_scores_stay_perfect() -> None:
    first, second = np.arange(40) % 20, np.where(np.arange(40) < 20, np.arange(40), (np.arange(40) + 1) % 20)
    same = first == second
    assert auc_eer_intervals(same.astype(float), same, first, second) == ((1.0, 1.0), (0.0, 0.0))
