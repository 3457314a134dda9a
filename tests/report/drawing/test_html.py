"""What every page is made with: foreign text, numbers, intervals, pictures, tables."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from vidface.report.drawing.html import (
    digits,
    environment,
    interval,
    number,
    page_table,
    picture,
    pieces,
    render,
    shown,
)
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
    ],
)
def test_foreign_text_is_one_line_that_steers_nothing(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_a_long_id_is_cut_in_its_middle_and_keeps_its_ends() -> None:
    text = "a" * 500 + "b" * 500
    short = shown(text)
    assert len(short) == 120
    assert short.startswith("a" * 70) and short.endswith("b" * 30) and short.count("…") == 1
    assert shown("x" * 120) == "x" * 120


@pytest.mark.parametrize(
    ("value", "expected"),
    [
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
    ],
)
def test_numbers(value: str | int | float | None, expected: str) -> None:
    assert number(value) == expected


def test_intervals_have_as_many_digits_as_tell_their_ends_apart() -> None:
    assert interval(0.9012, 0.9553) == "0.901 to 0.955"
    assert interval(0.99912, 0.99987) == "0.9991 to 0.9999"
    assert interval(None, 0.5) == interval(0.5, None) == ""


def test_digits_have_no_negative_zero_and_a_dash_for_nothing() -> None:
    assert [digits(value, 2) for value in (-0.001, -0.006, 0.5, None, math.inf)] == [
        *("0.00", "-0.01", "0.50", "–", "–"),
    ]


def test_names_may_break_after_their_marks() -> None:
    assert pieces("a_b-c/d.e") == ["a_", "b-", "c/", "d.", "e"]
    assert pieces("plain__") == ["plain__"] and pieces("") == [""]


def test_a_picture_is_a_small_jpeg_of_the_same_colours() -> None:
    pixels = np.full((64, 64, 3), (200, 40, 90), np.uint8)
    uri = picture(pixels)
    head, _, body = uri.partition(",")
    assert head == "data:image/jpeg;base64" and len(uri) < 1500
    with Image.open(io.BytesIO(base64.b64decode(body, validate=True))) as image:
        assert (image.format, image.size) == ("JPEG", (64, 64))
        assert np.abs(np.asarray(image, int) - pixels).max() <= 6
    assert picture(pixels) == uri


def test_a_table_shows_its_first_rows_and_says_how_many_there_are() -> None:
    table = Table(
        "t", "T", ["name", "count", "mixed"], [[f"v{i}", i, i if i % 2 else "x"] for i in range(80)]
    )
    found = page_table(table, "data/t.csv")
    assert (len(found.rows), found.total) == (50, 80)
    assert found.numeric == [False, True, False]
    assert found.rows[3] == ["v3", "3", "3"]


def test_templates_escape_what_they_are_given() -> None:
    hostile = "<script>alert(1)</script>\"'{{ 7*7 }}{% raw %}"
    page = environment().from_string("{{ text|shown }}").render(text=hostile)
    assert "<" not in page and "&lt;script&gt;" in page and "49" not in page and "{{ 7*7 }}" in page


def test_a_page_without_parts_has_the_frame_of_every_page() -> None:
    page = render("base.html.j2", title="a <b>", lede="", sections=[("x", "X & Y")], made_by="me").decode()
    assert page.startswith("<!doctype html>")
    assert "<title>a &lt;b&gt;</title>" in page and '<a href="#x">X &amp; Y</a>' in page
    assert "default-src 'none'" in page and "<script" not in page


def test_a_surrogate_does_not_break_a_page() -> None:
    page = render("base.html.j2", title="t", lede="broken \udcff", sections=[], made_by="")
    assert b"broken \\udcff" in page
