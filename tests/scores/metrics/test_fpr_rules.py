"""Over listed pairs: TPR at FPR by the three rules, AUC and EER, against scikit-learn's curve and by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT, FPR_RULES
from vidface.scores.metrics.listed_pairs import auc, equal_error_rate, tpr_of_listed_pairs

# Few levels, so that there are ties within both kinds and between them.
LEVELS = st.integers(0, 12)
GENUINE, IMPOSTOR = st.lists(LEVELS, min_size=1, max_size=30), st.lists(LEVELS, min_size=1, max_size=60)
TARGETS = st.sampled_from(["0.5", "0.25", "0.1", "1/3", "0.07", "0.9"])


def sets(genuine: list[int], impostor: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.float64(genuine + impostor), np.repeat([True, False], [len(genuine), len(impostor)])


@given(GENUINE, IMPOSTOR, TARGETS)
def test_nearest_is_the_reference_formula(genuine: list[int], impostor: list[int], target: str) -> None:
    scores, same = sets(genuine, impostor)
    (point,) = tpr_of_listed_pairs(scores, same, [target], "nearest")
    if Fraction(target) * len(impostor) < 1:
        assert point == (target, None, None, None)
        return
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    aim = Fraction(target)
    exact = [Fraction(round(rate * len(impostor)), len(impostor)) for rate in fpr.tolist()]
    # As the templates' reference does it: from the high end, the first with the least distance.
    _, place = min((abs(rate - aim), -i) for i, rate in enumerate(exact))
    assert point.tpr == pytest.approx(tpr[-place])
    assert point.fpr == pytest.approx(fpr[-place])


@given(GENUINE, IMPOSTOR, TARGETS, st.booleans())
def test_interpolated_is_the_line_of_the_curve(
    genuine: list[int], impostor: list[int], target: str, dropped: bool
) -> None:
    scores, same = sets(genuine, impostor)
    (point,) = tpr_of_listed_pairs(scores, same, [target], "interpolated")
    aim = Fraction(target) * len(impostor)
    if aim < 1:
        assert point.tpr is None
        return
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=dropped)
    counts = np.rint(fpr * len(impostor))
    if aim.denominator == 1 and int(aim) in counts:  # np.interp takes any of the points one above the other
        expected = tpr[counts == int(aim)].max()
    else:
        expected = np.interp(float(aim), counts, tpr)
    assert point.tpr == pytest.approx(expected)
    assert point.threshold is None and point.fpr == pytest.approx(float(Fraction(target)))


@given(GENUINE, IMPOSTOR, TARGETS, st.sampled_from(["at-most", "nearest"]))
def test_the_threshold_gives_the_rates(
    genuine: list[int], impostor: list[int], target: str, rule: str
) -> None:
    scores, same = sets(genuine, impostor)
    (point,) = tpr_of_listed_pairs(scores, same, [target], rule)
    if point.tpr is None:
        return
    accepted = scores >= (np.inf if point.threshold is None else point.threshold)
    assert point.tpr == pytest.approx(accepted[same].mean())
    assert point.fpr == pytest.approx(accepted[~same].mean())


def test_nearest_goes_beyond_the_target_where_at_most_does_not() -> None:
    # 10 impostors, the target allows 1.6 of them: 1 is 0.6 away, 2 are 0.4 away.
    scores, same = sets([95, 85, 75, 5], [90, 80, 70, 60, 50, 40, 30, 20, 10, 0])
    points = {rule: tpr_of_listed_pairs(scores, same, ["0.16"], rule)[0] for rule in FPR_RULES}
    assert points["at-most"] == ("0.16", 0.5, 85.0, 0.1)
    assert points["nearest"] == ("0.16", 0.75, 75.0, 0.2)
    assert points["interpolated"].tpr == 0.5  # the curve is level up to the second impostor, and rises there
    assert points["interpolated"].threshold is None


def test_of_two_equally_near_the_larger() -> None:
    scores, same = sets([95, 85, 75], [90, 80, 70, 60])
    assert tpr_of_listed_pairs(scores, same, ["0.375"], "nearest")[0].fpr == 0.5  # between 1/4 and 2/4


def test_every_rule_has_its_words() -> None:
    assert all(FPR_RULE_TEXT[rule].startswith(f"{rule}: ") for rule in FPR_RULES)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(2, 60))
    scores = draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))
    same = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    same[0], same[-1] = True, False
    return np.array(scores, float), same


@given(scored())
def test_tpr_at_fpr_and_auc_against_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    scores, same = case
    fpr, tpr, thresholds = roc_curve(same, scores, drop_intermediate=False)
    impostors = int((~same).sum())
    for point in tpr_of_listed_pairs(scores, same, ["0.01", "0.1", "1/3", "0.5", "0.9"]):
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


@pytest.mark.parametrize("target", ["0", "1", "-0.1", "x", "1/0", "nan", ""])
def test_targets_outside_are_refused(target: str) -> None:
    with pytest.raises(ValueError, match="an FPR target"):
        tpr_of_listed_pairs([1.0, 0.0], [True, False], [target])


@pytest.mark.parametrize(
    "measure", [auc, equal_error_rate, lambda *case: tpr_of_listed_pairs(*case, ["0.5"])]
)
def test_pairs_of_one_kind_have_no_curve(measure: Any) -> None:
    with pytest.raises(ValueError, match="both"):
        measure([1.0, 2.0], [True, True])


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
