"""The table of faults and the tests say the same: every row has its test, every test of this folder its row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "faults.md"
CODE = r"–|(0|1|2|3|130|143)(, (0|1|2|3|130|143))*"


def rows() -> list[list[str]]:
    """The cells of all rows of tables of faults; a bar within a cell is escaped."""
    found, within = [], False
    for line in PAGE.read_text("utf-8").splitlines():
        within = line.startswith("| fault |") or (within and line.startswith("|"))
        if within and line.startswith("| ") and not line.startswith("| fault |"):
            found.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def functions(path: Path) -> set[str]:
    body = ast.parse(path.read_text("utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def named() -> set[tuple[str, str, str]]:
    """(file, function, case or nothing) of all tests that rows name."""
    found = {name for row in rows() for name in re.findall(r"`([^`]+)`", row[3])}
    return {re.fullmatch(r"(.+)::(\w+)(?:\[(.+)\])?", name).groups("") for name in found}  # type: ignore[union-attr,misc]


def test_rows_are_whole() -> None:
    assert len(rows()) > 100
    for row in rows():
        assert len(row) == 4 and all(row) and re.fullmatch(CODE, row[2]), row


@pytest.mark.parametrize("file", sorted({file for file, _, _ in named()}))
def test_what_a_row_names_is_there(file: str) -> None:
    """The function, and the text of its case."""
    tests = [(test, case) for path, test, case in named() if path == file]
    assert {test for test, _ in tests} <= functions(TESTS / file)
    nodes = ast.walk(ast.parse((TESTS / file).read_text("utf-8")))
    texts = {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert {case for _, case in tests if case} <= texts


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.name)
def test_every_test_of_faults_has_a_row(path: Path) -> None:
    if path != Path(__file__):
        tests = {name for name in functions(path) if name.startswith("test_")}
        assert tests and tests <= {test for file, test, _ in named() if file == f"faults/{path.name}"}
