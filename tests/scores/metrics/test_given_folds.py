"""Folds that a list gives, VAL at FAR, and the equal error rate."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vidface.scores.metrics.folds import given_folds, ten_folds, val_at_far
from vidface.scores.metrics.listed_pairs import equal_error_rate


def by_loops(
    distances: np.ndarray, same: np.ndarray, fold: np.ndarray, thresholds: np.ndarray
) -> tuple[list[float], list[float]]:
    """One fold after the other, one threshold after the other, one pair after the other."""

    def right(keep: np.ndarray, threshold: float) -> int:
        return sum(bool(d < threshold) == bool(s) for d, s in zip(distances[keep], same[keep], strict=True))

    accuracies, chosen = [], []
    for number in sorted(set(fold.tolist())):
        counts = [right(fold != number, threshold) for threshold in thresholds]
        chosen.append(thresholds[counts.index(max(counts))])
        accuracies.append(right(fold == number, chosen[-1]) / int((fold == number).sum()))
    return accuracies, chosen


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
    thresholds = np.arange(0, 4, 0.25)
    accuracies, chosen = by_loops(distances, same, fold, thresholds)
    ours = given_folds(distances, same, fold, thresholds=thresholds)
    assert np.allclose(ours.accuracies, accuracies, rtol=0, atol=1e-12)
    assert ours.thresholds.tolist() == chosen
    assert ours.accuracy == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert ours.standard_error == pytest.approx(
        np.std(accuracies, ddof=1) / len(accuracies) ** 0.5, abs=1e-12
    )


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
    ("distances", "same", "fold", "said"),
    [
        ([0.0, 1.0], [True, False], [1, 1], "two folds"),
        ([0.0, 1.0], [True, False], [1, 2, 3], r"fold must be \[2\]"),
        ([], [], [], "two folds"),
        ([0.0, 1.0], [True, True], [1, 2], "all pairs are of the same person"),
    ],
)
def test_no_folds(distances: list[float], same: list[bool], fold: list[int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        given_folds(distances, same, fold)


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


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=50))
def test_the_equal_error_rate_against_the_curve_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    """The crossing is looked for on a fine grid along every straight piece of the curve."""
    scores = np.array([0, *[score for score, _ in pairs], 1], float)
    same = np.array([True, *[label for _, label in pairs], False])
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    share = np.linspace(0, 1, 2001)
    along = (fpr[:-1, None] + share * np.diff(fpr)[:, None]).ravel()
    missed = 1 - (tpr[:-1, None] + share * np.diff(tpr)[:, None]).ravel()
    nearest = along[np.argmin(np.abs(along - missed))]
    assert equal_error_rate(scores, same) == pytest.approx(nearest, abs=1e-3)


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=50))
def test_the_equal_error_rate_is_its_definition_in_fractions(pairs: list[tuple[int, bool]]) -> None:
    """Every threshold in turn, the highest first: the line from the last point with FPR < FNR to the next one."""
    pairs = [(0, True), (1, False), *pairs]
    genuine, impostor = ([score for score, same in pairs if same is kind] for kind in (True, False))
    fpr, fnr = Fraction(0), Fraction(1)
    for threshold in sorted({score for score, _ in pairs}, reverse=True):
        before = fpr, fnr
        fpr = Fraction(sum(score >= threshold for score in impostor), len(impostor))
        fnr = Fraction(sum(score < threshold for score in genuine), len(genuine))
        if fpr >= fnr:
            break
    # fpr0 + s (fpr1 - fpr0) = fnr0 - s (fnr0 - fnr1)
    share = (before[1] - before[0]) / ((before[1] - before[0]) + (fpr - fnr))
    wanted = before[0] + share * (fpr - before[0])
    assert wanted == before[1] + share * (fnr - before[1])
    scores, same = zip(*pairs, strict=True)
    assert equal_error_rate(scores, same) == pytest.approx(float(wanted), abs=1e-12)


def test_the_equal_error_rate_by_hand() -> None:
    # Thresholds 4, 3, 2, 1: FPR 0, 0, 1/2, 1; FNR 1/2, 1/2, 0, 0 (after nothing accepted: 0, 1).
    assert equal_error_rate([4.0, 2.0, 2.0, 1.0], [True, True, False, False]) == 0.25
    assert equal_error_rate([2.0, 1.0], [True, False]) == 0.0
    assert equal_error_rate([1.0, 2.0], [True, False]) == 1.0
    assert equal_error_rate([1.0, 1.0], [True, False]) == 0.5
    with pytest.raises(ValueError, match="both"):
        equal_error_rate([1.0], [True])
