"""What every page is made with: foreign text, numbers, intervals, pictures."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from vidface.report.drawing.html import digits, environment, interval, number, page_table, picture, shown
from vidface.report.run.content import Table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("two\nlines\ttab", "two lines tab"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("broken\udcff", "broken\\udcff"),
        ("人物", "人物"),
        ("x" * 120, "x" * 120),
        ("a" * 500 + "b" * 500, "a" * 79 + "…" + "b" * 40),
    ],
)
def test_foreign_text_is_one_line_that_steers_nothing(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_numbers() -> None:
    for value, expected in (
        (None, "–"),
        (math.nan, "–"),
        (20_800_000_000, "20,800,000,000"),
        (0.93124, "0.9312"),
        (0.0, "0.0000"),
        (1.23e-6, "1.23e-06"),
        (-0.25, "-0.2500"),
        (152.348, "152.35"),
        (123456.7, "123,457"),
        (True, "yes"),
        ("0144686", "0144686"),
    ):
        assert number(value) == expected
    # no negative zero, and a dash for nothing
    wanted = ["0.00", "-0.01", "0.50", "–", "–"]
    assert [digits(value, 2) for value in (-0.001, -0.006, 0.5, None, math.inf)] == wanted
    # as many digits as tell the ends apart
    assert interval(0.9012, 0.9553) == "0.901 to 0.955"
    assert interval(0.99912, 0.99987) == "0.9991 to 0.9999"
    assert interval(None, 0.5) == interval(0.5, None) == ""


def test_a_picture_is_a_small_jpeg_of_the_same_colours() -> None:
    pixels = np.full((64, 64, 3), (200, 40, 90), np.uint8)
    uri = picture(pixels)
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64" and len(uri) < 1500 and picture(pixels) == uri
    with Image.open(io.BytesIO(base64.b64decode(body, validate=True))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))
        assert np.abs(np.asarray(image, int) - pixels).max() <= 6


def test_columns_of_numbers_alone_are_numeric() -> None:
    rows = [[f"v{i}", i, i if i % 2 else "x", None] for i in range(80)]
    found = page_table(Table("t", "T", ["name", "count", "mixed", "none"], rows), "data/t.csv")
    assert (len(found.rows), found.total, found.numeric) == (50, 80, [False, True, False, False])
    assert found.rows[3] == ["v3", "3", "3", "–"]


def test_templates_escape_what_they_are_given() -> None:
    hostile = "<script>alert(1)</script>\"'{{ 7*7 }}{% raw %}"
    page = environment().from_string("{{ text|shown }}").render(text=hostile)
    assert "<" not in page and "&lt;script&gt;" in page and "49" not in page and "{{ 7*7 }}" in page
