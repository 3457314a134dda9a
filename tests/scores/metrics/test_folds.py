from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from vidface.scores.metrics.folds import THRESHOLDS, ten_folds
from vidface.scores.metrics.listed_pairs import auc, tpr_of_listed_pairs


def by_loops(distances: np.ndarray, same: np.ndarray, folds: int, thresholds: np.ndarray) -> dict[str, Any]:
    """The protocol as it is written: scikit-learn's folds, one threshold after the other, one pair after the other."""

    def accuracy(rows: np.ndarray, threshold: float) -> float:
        return sum((distances[row] < threshold) == same[row] for row in rows) / len(rows)

    chosen, accuracies = [], []
    for train, test in KFold(n_splits=folds, shuffle=False).split(distances):
        on_train = [accuracy(train, threshold) for threshold in thresholds]
        best = on_train.index(max(on_train))
        chosen.append(thresholds[best])
        accuracies.append(accuracy(test, thresholds[best]))
    on_all = [accuracy(np.arange(len(same)), threshold) for threshold in thresholds]
    return {
        "accuracies": accuracies,
        "thresholds": chosen,
        "best_threshold": thresholds[on_all.index(max(on_all))],
        "best_accuracy": max(on_all),
    }


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Few different distances and thresholds, so that ties and distances at a threshold are the rule."""
    folds = draw(st.integers(2, 5))
    count = draw(st.integers(folds, 23))
    levels = draw(st.sampled_from([4, 40]))
    values = st.integers(0, levels).map(lambda step: step / (levels / 4))
    distances = np.array(draw(st.lists(values, min_size=count, max_size=count)))
    same = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    same[0], same[-1] = True, False
    thresholds = np.array(sorted(draw(st.lists(values, min_size=1, max_size=9))))
    return distances, same, folds, thresholds


@given(cases())
def test_folds_against_loops(case: tuple[np.ndarray, np.ndarray, int, np.ndarray]) -> None:
    distances, same, folds, thresholds = case
    ours = ten_folds(distances, same, folds=folds, thresholds=thresholds)
    expected = by_loops(distances, same, folds, thresholds)
    assert np.allclose(ours.accuracies, expected["accuracies"], rtol=0, atol=1e-12)
    assert ours.thresholds.tolist() == expected["thresholds"]
    assert ours.best_threshold == expected["best_threshold"]
    assert ours.best_accuracy == pytest.approx(expected["best_accuracy"], abs=1e-12)
    assert ours.accuracy == pytest.approx(np.mean(expected["accuracies"]), abs=1e-12)
    assert ours.std == pytest.approx(np.std(expected["accuracies"]), abs=1e-12)
    sample = np.std(expected["accuracies"], ddof=1)
    assert ours.standard_error == pytest.approx(sample / np.sqrt(folds), abs=1e-12)


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


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(2, 60))
    scores = draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))
    same = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    same[0], same[-1] = True, False
    return np.array(scores, float), same


TARGETS = ["0.01", "0.1", "1/3", "0.5", "0.9"]


@given(scored())
def test_tpr_at_fpr_and_auc_against_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, same = case
    fpr, tpr, thresholds = roc_curve(same, scores, drop_intermediate=False)
    impostors = int((~same).sum())
    for point in tpr_of_listed_pairs(scores, same, TARGETS):
        numerator, _, denominator = point.target.partition("/")
        target = float(numerator) / float(denominator or 1)
        if target * impostors < 1 - 1e-9:
            assert point.tpr is None and point.threshold is None
            continue
        best = np.flatnonzero(fpr <= target + 1e-12)[-1]
        assert point.tpr == pytest.approx(tpr[best], abs=1e-12)
        # Of the thresholds with that TPR and an allowed FPR the lowest is told; infinite: no pair at all.
        assert point.threshold == (None if np.isinf(thresholds[best]) else thresholds[best])
    assert auc(scores, same) == pytest.approx(roc_auc_score(same, scores), abs=1e-12)


def test_a_target_is_exact() -> None:
    """29 of 100 may be accepted at 0.29, although 0.29 * 100 is 28.999999999999996 in floats."""
    scores = np.array([70.5, 71.5, 98.5, *range(100)])
    same = np.array([True] * 3 + [False] * 100)
    (point,) = tpr_of_listed_pairs(scores, same, ["0.29"])
    assert (point.tpr, point.threshold) == (1.0, 70.5)
    (point,) = tpr_of_listed_pairs(scores, same, ["0.01"])
    assert (point.tpr, point.threshold) == (1 / 3, 98.5)


@pytest.mark.parametrize("target", ["0", "1", "-0.1", "x", "1/0", "nan"])
def test_targets_outside_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="an FPR target"):
        tpr_of_listed_pairs([1.0, 0.0], [True, False], [target])


@pytest.mark.parametrize(
    ("scores", "same", "said"),
    [
        ([1.0, 2.0], [True, True], "both"),
        ([1.0, float("inf")], [True, False], "not finite"),
        ([1.0], [True, False], r"same must be \[1\]"),
    ],
)
def test_no_curve(scores: list[float], same: list[bool], said: str) -> None:
    for measure in (auc, lambda *case: tpr_of_listed_pairs(*case, ["0.5"])):
        with pytest.raises(ValueError, match=said):
            measure(scores, same)
