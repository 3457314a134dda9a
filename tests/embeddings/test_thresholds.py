from __future__ import annotations

import pytest

from vidface.embeddings.thresholds import parse_thresholds, threshold_text
from vidface.errors import UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", [None]),
        ("0.4", [0.4]),
        ("none,0.2:0.6:0.05", [None, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]),
        ("0.3,0.3,0.2:0.25:0.1", [0.3, 0.2]),
        ("-1:1:1", [-1.0, 0.0, 1.0]),
    ],
)
def test_thresholds_read_as_they_are_said(text: str, expected: list[float | None]) -> None:
    assert parse_thresholds(text) == expected
    assert parse_thresholds(",".join(threshold_text(value) for value in expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "high", "0.2:0.6", "0.6:0.2:0.1", "0.2:0.6:0", "1.5", "nan", "0.2:0.6:-0.1"]
)
def test_thresholds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="threshold"):
        parse_thresholds(text)
