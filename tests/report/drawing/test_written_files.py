"""CSV files hold what they were given, and nothing in them is a formula."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.report.drawing.files import csv_cell, write_csv

FORMULAS = ["=A(1)", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1", "\n=1", " =1", "＝1+1", "'=1"]


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_text(text: str) -> None:
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize(
    "text", ["-0.25", "+3", "-1e-6", "video=1", "0144686", "a-b", "", "<script>", "none"]
)
def test_what_is_no_formula_stays(text: str) -> None:
    assert csv_cell(text) == text


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=5)
)
def test_any_text_comes_back_and_none_is_a_formula(rows: list[list[str]]) -> None:
    with TemporaryDirectory() as folder:
        found = read(write_csv(Path(folder) / "t.csv", ["a", "b"], rows))
    assert found[0] == ["a", "b"]
    assert [[cell.removeprefix("'") for cell in row] for row in found[1:]] == rows
    assert not any(cell.startswith(("=", "@", "\t", "\r")) for row in found for cell in row)


def test_numbers_keep_all_their_bits_and_what_is_absent_is_empty(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-300, -0.0, 1 / 3]
    rows = read(write_csv(tmp_path / "t.csv", ["v", "n", "x"], [[v, 2**62, None] for v in values]))[1:]
    assert [float(row[0]) for row in rows] == values
    assert {row[1] for row in rows} == {str(2**62)} and {row[2] for row in rows} == {""}
    assert csv_cell(math.nan) == ""
    rows = read(write_csv(tmp_path / "t.csv", ["id"], [["a\udcff"], [""], [None]]))[1:]
    assert rows == [["a\\udcff"], [""], [""]]  # a broken file name, and one empty cell, which is a row


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def rows() -> Iterator[list[str]]:
        yield ["a"]
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        write_csv(tmp_path / "t.csv", ["id"], rows())
    assert list(tmp_path.iterdir()) == []
