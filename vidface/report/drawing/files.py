"""A page on the disk, with its figures as files and its data as CSV files that a spreadsheet cannot be made to run.

    folder/index.html, folder/figures/NAME.svg and .png, folder/data/NAME.csv

Spreadsheets take a cell that begins with ``= + - @``, a tab or a line's end for a formula, quoted or not. Such a text
gets one ``'`` before it, and so does a text that begins with ``'``: take one away and the text is back. Numbers are
numbers. See OWASP, "CSV Injection".
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vidface.errors import StoreError
from vidface.files.atomic import write_atomic
from vidface.files.locks import exclusive_folder
from vidface.report.drawing.figures_drawing import Drawing
from vidface.report.run.content import Cell

# Leading signs that are not seen, and that some programs drop; a tab and a line's end are dangerous themselves.
BLANKS = " \x0b\x0c\x85\xa0\u1680\u202f\u205f\u2060\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x2010)))

_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")

Data = tuple[str, Sequence[str], Iterable[Sequence[Cell]]]  # name, columns, rows


def write_page(
    folder: Path,
    page: bytes,
    data: Iterable[Data],
    drawings: Iterable[Drawing],
    *,
    earlier: Sequence[Path],
    texts: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a page as ``index.html`` of a folder, its data, its figures and other texts; all paths, the page first.

    The page goes first and comes last: it never stands beside the data of another one. ``earlier`` are paths within the
    folder that an earlier page may have left there and this one may not have.

    Raises:
        StoreError: the folder or a file cannot be written.
        UsageError: another run writes this page now.
    """
    index = folder / "index.html"
    with exclusive_folder(folder, "data", "figures"):
        try:
            for old in (index, *(folder / path for path in earlier)):
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}; name another folder with -o") from None
        written = [write_csv(folder / "data" / f"{name}.csv", columns, rows) for name, columns, rows in data]
        for drawing in drawings:
            written += write_drawing(folder / "figures", drawing)
        for name, text in (texts or {}).items():
            written.append(_write(folder / name, text.encode("utf-8", "backslashreplace")))
        return [_write(index, page), *written]


def write_drawing(folder: Path, drawing: Drawing) -> list[Path]:
    """Write ``<name>.svg`` and ``<name>.png``, and return their paths."""
    forms = (("svg", drawing.svg), ("png", drawing.png))
    return [_write(folder / f"{drawing.name}.{suffix}", content) for suffix, content in forms]


def _write(path: Path, content: bytes) -> Path:
    with write_atomic(path) as handle:
        handle.write(content)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    """Write UTF-8 CSV, whole or not at all; floats are written so that they read back to the same bits.

    None and NaN become empty cells. Lone surrogates, which broken file names hold, become escapes.
    """
    with write_atomic(path) as handle:
        for row in itertools.chain([columns], rows):
            handle.write(_line(row).encode("utf-8", "backslashreplace"))
    return path


def _line(row: Sequence[Cell]) -> str:
    """RFC 4180, with a bare line feed; csv.writer leaves a lone carriage return unquoted, which readers break at."""
    cells = [csv_cell(cell) for cell in row]
    special = re.compile('[,"\r\n]')
    quoted = ['"{}"'.format(cell.replace('"', '""')) if special.search(cell) else cell for cell in cells]
    return (",".join(quoted) or '""') + "\n"  # an empty line would be no row


def csv_cell(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if not isinstance(cell, str):
        return repr(cell) if isinstance(cell, float) else str(cell)
    # Full-width signs count as well: some programs fold them first.
    first = unicodedata.normalize("NFKC", cell.lstrip(BLANKS)[:1])[:1]
    dangerous = first in {"=", "+", "-", "@", "\t", "\r", "\n", "'"} and first != ""
    return f"'{cell}" if dangerous and not _PLAIN_NUMBER.fullmatch(cell) else cell
