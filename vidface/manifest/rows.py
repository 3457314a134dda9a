"""The rows of a manifest and what can be wrong with them, whichever way they are spelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("video_id", "path", "identity", "split")
_NEEDED = ("video_id", "path")

Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file.

    Attributes:
        line: The line of the file, from 1 (a quoted field may span several: its first); in Parquet files the
            row, from 1; 0 for the file as a whole.
        kind: A word for machines.
        message: What is wrong and what to do, one line, without the file's name.
        warning: It may be as it should: the file can be used, but a look is worth while.
    """

    line: int
    kind: str
    message: str
    warning: bool = False

    def at(self, path: Path) -> str:
        """``file:line: message``, or ``file: message``."""
        return f"{path}:{self.line}: {self.message}" if self.line else f"{path}: {self.message}"


class Parsed(NamedTuple):
    """What a reader found: complete rows, the line of each, and the problems that cost the others."""

    lines: list[int]
    rows: list[Row]
    problems: list[Problem]


def show(text: str) -> str:
    """Quote foreign text for a message: one line, nothing that a terminal obeys, not too long."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def header_problems(names: Sequence[str], line: int) -> list[Problem]:
    """Compare a file's columns with those of a manifest."""
    wanted = "the columns are " + ",".join(COLUMNS)
    problems = [
        Problem(line, "unknown-column", f"unknown column {show(name)}; {wanted}")
        for name in dict.fromkeys(names)
        if name not in COLUMNS
    ]
    for name in COLUMNS:
        if names.count(name) > 1:
            problems.append(
                Problem(line, "duplicate-column", f"column {name} is there {names.count(name)} times")
            )
        elif name in _NEEDED and name not in names:
            problems.append(Problem(line, "missing-column", f"no column {name}; {wanted}"))
    return problems
