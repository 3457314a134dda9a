"""Folds that are cut or given, and VAL at FAR: against loops and scikit-learn's KFold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from vidface.scores.metrics.folds import THRESHOLDS, given_folds, ten_folds, val_at_far


def by_loops(
    distances: np.ndarray, same: np.ndarray, fold: np.ndarray, thresholds: np.ndarray
) -> tuple[list[float], list[float], list[int]]:
    """One fold after the other, one threshold after the other, one pair after the other."""

    def right(keep: np.ndarray, threshold: float) -> int:
        return sum(bool(d < threshold) == bool(s) for d, s in zip(distances[keep], same[keep], strict=True))

    accuracies, chosen = [], []
    for number in sorted(set(fold.tolist())):
        counts = [right(fold != number, threshold) for threshold in thresholds]
        chosen.append(thresholds[counts.index(max(counts))])
        accuracies.append(right(fold == number, chosen[-1]) / int((fold == number).sum()))
    return accuracies, chosen, [right(fold == fold, threshold) for threshold in thresholds]


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(3, 30))
    distances = np.array(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count))) / 10
    same = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    fold = np.array(
        draw(st.lists(st.sampled_from([-3, 0, 1, 7, 10]), min_size=count, max_size=count)), np.int64
    )
    same[:2], fold[0], fold[1] = [True, False], 2, 5
    return distances, same, fold


@given(cases())
def test_folds_of_any_number_and_size_in_any_order(case: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    distances, same, fold = case
    thresholds = np.arange(0, 4, 0.25)  # distances at a threshold are the rule
    accuracies, chosen, overall = by_loops(distances, same, fold, thresholds)
    ours = given_folds(distances, same, fold, thresholds=thresholds)
    assert np.allclose(ours.accuracies, accuracies, rtol=0, atol=1e-12)
    assert ours.thresholds.tolist() == chosen
    assert ours.accuracy == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert ours.std == pytest.approx(np.std(accuracies), abs=1e-12)
    assert ours.best_accuracy == max(overall) / len(same)
    assert ours.best_threshold == thresholds[overall.index(max(overall))]
    assert ours.standard_error == pytest.approx(
        np.std(accuracies, ddof=1) / len(accuracies) ** 0.5, abs=1e-12
    )


def test_folds_of_the_reference_size() -> None:
    """6,003 pairs (folds of two sizes) and the 400 thresholds of the public sets, with whole-array numpy."""
    random = np.random.default_rng(1)
    same = random.random(6003) < 0.5
    distances = np.clip(random.normal(np.where(same, 1.0, 1.9), 0.35), 0, 4)
    right = (distances[:, None] < np.arange(0, 4, 0.01)) == same[:, None]
    accuracies = [
        right[test][:, right[train].mean(axis=0).argmax()].mean()
        for train, test in KFold(n_splits=10, shuffle=False).split(distances)
    ]
    ours = ten_folds(distances, same)
    assert np.allclose(ours.accuracies, accuracies, rtol=0, atol=1e-12)
    assert 0.8 < ours.accuracy < 0.99


def test_by_hand() -> None:
    # Two folds of two pairs. Fold 2 calls for a threshold above 0.5 (the first is 0.51), fold 1 for one above 0.2.
    ours = ten_folds([0.2, 3.0, 0.5, 3.5], [True, False, True, False], folds=2)
    assert ours.thresholds.round(10).tolist() == [0.51, 0.21]
    assert ours.accuracies.tolist() == [1.0, 0.5]
    assert (ours.accuracy, ours.std, ours.standard_error) == (0.75, 0.25, 0.25)
    assert (round(ours.best_threshold, 10), ours.best_accuracy) == (0.51, 1.0)


def test_a_distance_at_the_threshold_is_another_person() -> None:
    ours = ten_folds([1.0, 1.0], [True, False], folds=2, thresholds=[1.0])
    assert ours.accuracies.tolist() == [0.0, 1.0]


def test_the_thresholds_of_the_protocol() -> None:
    assert len(THRESHOLDS) == 400 and THRESHOLDS[0] == 0 and THRESHOLDS[-1] == pytest.approx(3.99)


def test_folds_in_order_are_those_that_are_cut() -> None:
    random = np.random.default_rng(3)
    distances, same = random.uniform(0, 4, 100), random.random(100) < 0.5
    fold = np.repeat(np.arange(10), 10)
    mixed = random.permutation(100)
    cut, given_ = ten_folds(distances, same), given_folds(distances[mixed], same[mixed], fold[mixed])
    assert cut.accuracies.tolist() == given_.accuracies.tolist()
    assert cut.thresholds.tolist() == given_.thresholds.tolist()


def test_a_threshold_is_never_chosen_on_its_own_fold() -> None:
    """Each fold is perfect with its own threshold, 1 or 2, and half right with the other's."""
    distances = [0.5, 1.5, 1.5, 2.5]
    same = [True, False, True, False]
    ours = given_folds(distances, same, [1, 1, 2, 2], thresholds=[1.0, 2.0])
    assert ours.thresholds.tolist() == [2.0, 1.0]
    assert ours.accuracies.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("distances", "same", "options", "said"),
    [
        ([0.0] * 9, [True, False] * 4 + [True], {}, "9 pairs cannot be cut into 10 folds"),
        ([0.0] * 9, [True, False] * 4 + [True], {"folds": 1}, "into 1 folds"),
        ([0.0] * 10, [True] * 10, {}, "all pairs are of the same person"),
        ([0.0] * 10, [False] * 10, {}, "all pairs are of different people"),
        ([float("nan")] * 10, [True, False] * 5, {}, "not finite"),
        ([0.0] * 10, [True, False] * 4, {}, r"same must be \[10\]"),
        ([[0.0]] * 10, [[True]] * 10, {}, r"distances must be \[n\]"),
        (
            [0.0, 121.0] * 5,
            [True, False] * 5,
            {},
            r"0 to 121: .* lie in 0\.\.4; divide every row by its length",
        ),
        ([0.0, -1.0] * 5, [True, False] * 5, {}, r"-1 to 0: .* lie in 0\.\.4"),
        ([0.0] * 10, [0.5] * 10, {}, "true or false"),
        ([0.0] * 10, [True, False] * 5, {"thresholds": [2, 1]}, "ascend"),
        ([], [], {}, "0 pairs cannot be cut"),
    ],
)
def test_what_has_no_accuracy(
    distances: list[Any], same: list[Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        ten_folds(distances, same, **options)


@pytest.mark.parametrize(
    ("fold", "said"), [([1, 1], "two folds"), ([1, 2, 3], r"fold must be \[2\]"), ([1.5, 2], "whole numbers")]
)
def test_no_folds(fold: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        given_folds([0.0, 1.0], [True, False], fold)


def test_val_at_far_takes_the_threshold_of_the_other_folds() -> None:
    """The threshold is walked for: the lowest score that lets at most a tenth of the others' impostors through."""
    random = np.random.default_rng(8)
    same = random.random(400) < 0.5
    scores = random.normal(np.where(same, 1.2, 0.0), 1.0)
    fold = random.integers(0, 5, 400)
    rates = []
    for number in range(5):
        train, test = fold != number, fold == number
        impostors = sum(train & ~same)
        threshold = min(t for t in scores[train] if sum(scores[train & ~same] >= t) * 10 <= impostors)
        rates.append([np.mean(scores[test & same] >= threshold), np.mean(scores[test & ~same] >= threshold)])
    ours = val_at_far(scores, same, fold, "0.1")
    assert ours is not None
    assert (ours.val, ours.far) == pytest.approx(tuple(np.mean(rates, axis=0)), abs=1e-12)
    assert ours.standard_error == pytest.approx(np.std([r[0] for r in rates], ddof=1) / 5**0.5, abs=1e-12)
    assert val_at_far(scores, same, fold, "1e-3") is None  # too few impostors
    assert val_at_far(scores, same, fold, "0.1", "interpolated") is None  # no threshold
    assert val_at_far(scores, same, np.where(same, 0, 1), "0.1") is None  # folds of one kind


def test_a_score_at_the_threshold_is_accepted() -> None:
    """The others' lowest accepted score is 1; an impostor of the fold itself has just that."""
    scores = [5.0, 1.0, 0.0] * 2
    same = [True, False, False] * 2
    ours = val_at_far(scores, same, [0] * 3 + [1] * 3, "0.5")
    assert ours is not None and (ours.val, ours.far) == (1.0, 0.5)


def test_val_where_no_score_may_be_accepted() -> None:
    """The two best impostors tie, and one only may be let through: no threshold does that, so nothing is accepted."""
    scores = [9.0, 9.0, 1.0, 5.0] * 2
    same = [False, False, False, True] * 2
    ours = val_at_far(scores, same, [0] * 4 + [1] * 4, "0.34")
    assert ours is not None and (ours.val, ours.far) == (0.0, 0.0)
