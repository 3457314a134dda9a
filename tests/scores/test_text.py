"""Numbers and counts as text."""

from __future__ import annotations

import pytest

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
    assert too_few("TPR at FPR", "1e-4", 1728, "impostor pairs") == words
