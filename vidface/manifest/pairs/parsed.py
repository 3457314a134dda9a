"""What all formats of pair lists give: lines, and what was wrong with others."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vidface.errors import ManifestError
from vidface.files.atomic import read_regular

MALFORMED = "malformed line"
NOT_SPLIT = ["\0"]  # of a line whose quotes do not close; no line of a list holds NUL

Lines = Sequence[tuple[str, str]]  # "file:line" and text of the lines that have any


class PairLine(NamedTuple):
    """One listed pair: where it stands, the two names as they are written, the label, and the fold if there is one."""

    place: str
    first: str
    second: str
    same: bool
    fold: int | None = None


class Trouble(NamedTuple):
    """A line that gave no pair: where, why in the words that are counted by, and the detail."""

    place: str
    reason: str
    detail: str


@dataclass
class Parsed:
    """A list as it was written.

    ``missing`` counts pairs that the list itself promises but does not hold; ``flat``: ``PERSON/IMAGE`` may stand for
    ``IMAGE`` alone, and the other way; ``labels`` has the label of each of ``lines`` as written, if every line has one.
    """

    form: str
    lines: list[PairLine] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    missing: int = 0
    notes: list[str] = field(default_factory=list)
    sha256: str = ""
    flat: bool = False
    labels: list[str] = field(default_factory=list)

    def trouble(self, place: str, detail: str) -> None:
        """Note a line that is no pair of this format."""
        self.troubles.append(Trouble(place, MALFORMED, detail))


def read_text(path: Path) -> tuple[str, bytes]:
    """The text of a list without its byte order mark, and the bytes it was; a ManifestError if it is not UTF-8."""
    try:
        raw = read_regular(path)
    except OSError as error:
        raise ManifestError(f"{path}: pairs cannot be read: {error.strerror or error}") from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ManifestError(f"{path}: not UTF-8 text but UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ManifestError(
            f"{path}: not UTF-8 text, so no list of pairs; a .bin file of images is for: vidface verify"
        ) from None
    if "\0" in text:
        raise ManifestError(f"{path}: holds NUL characters, so it is no list of pairs; save it as UTF-8 text")
    return text, raw


def split_line(line: str, separator: str | None) -> list[str]:
    """The fields of a line, without quotes and the white space around them; `NOT_SPLIT` if a quote does not close.

    ``separator`` None is any white space.
    """
    try:
        if separator is None:
            (fields,) = csv.reader([" ".join(line.split())], delimiter=" ", strict=True)
        else:
            (fields,) = csv.reader([line], delimiter=separator, strict=True, skipinitialspace=True)
    except csv.Error:
        return list(NOT_SPLIT)
    return [field.strip() for field in fields]


def is_number(text: str) -> bool:
    """Whether a text is a whole number from 0 up, of at most nine digits."""
    return text.isascii() and text.isdecimal() and len(text) < 10
