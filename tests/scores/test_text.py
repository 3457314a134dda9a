"""Numbers and counts as text."""

from __future__ import annotations

import pytest

from vidface.errors import Warned, by_cost
from vidface.scores.protocols.protocol import reason
from vidface.scores.text import counted, number, signed, too_few


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "+0.1235"), (-0.00004, "+0.0000"), (-0.5, "-0.5000"), (0.0, "+0.0000")]
)
def test_a_difference_has_its_sign(value: float, text: str) -> None:
    assert signed(value) == text


def test_one_thing_is_not_several() -> None:
    assert [counted(count, "pair") for count in (0, 1, 18_145)] == ["0 pairs", "1 pair", "18,145 pairs"]


def test_what_cannot_be_had_is_told() -> None:
    assert number(None) == "-" and number(0.12345) == "0.1235"
    words = "TPR at FPR 1e-4 is not measured: 1,728 impostor pairs are fewer than 1/1e-4"
    assert too_few("TPR at FPR", ["1e-4"], 1728, "impostor pairs") == [words]
    assert too_few("TPR at FPR", [], 1728, "impostor pairs") == []


def test_targets_with_too_few_pairs_are_one_sentence_and_what_costs_most_comes_first() -> None:
    rare = too_few("TPR at FPR", ["1e-3", "1e-4", "1e-5"], 900, "impostor pairs")
    small, large = Warned("3 of 9 videos", 3 / 9), Warned("5 of 9 videos", 5 / 9)
    said = by_cost([*rare, small, "a note", *rare, large, small])
    together = "TPR at FPR 1e-3, 1e-4 and 1e-5 is not measured: 900 impostor pairs are fewer than 1/1e-3"
    assert said == [large, small, together, "a note"]
    scores = {"warnings": said}
    assert [reason(scores, target) for target in ("1e-3", "1e-4", "1e-5")] == [together] * 3
    assert reason(scores, "1e-2", "no") == reason(scores, "1", "no") == "no"
