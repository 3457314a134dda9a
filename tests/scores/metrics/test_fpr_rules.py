"""TPR at FPR by the three rules, against scikit-learn's curve and numbers worked out by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT, FPR_RULES
from vidface.scores.metrics.listed_pairs import tpr_of_listed_pairs

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
