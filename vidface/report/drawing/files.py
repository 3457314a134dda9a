"""A page on disk: ``index.html``, ``figures/NAME.svg`` and ``.png``, ``data/NAME.csv``.

Spreadsheets take a cell that begins with ``= + - @``, a tab or a line end for a formula, quoted or not. Such a text,
and one that begins with ``'``, gets one ``'`` before it: take it away and the text is back. Numbers stay numbers. See
OWASP, "CSV Injection".
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
    """Write a page with its data, figures and other texts into a folder; returns all paths, ``index.html`` first.

    The old page is removed first and the new one written last: a page never stands beside another one's data. Files in
    ``earlier`` that this page lacks are removed. StoreError if a file cannot be written, UsageError if another run
    writes this page.
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
    forms = (("svg", drawing.svg), ("png", drawing.png))
    return [_write(folder / f"{drawing.name}.{suffix}", content) for suffix, content in forms]


def _write(path: Path, content: bytes) -> Path:
    with write_atomic(path) as handle:
        handle.write(content)
    return path


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    """Write UTF-8 CSV, whole or not at all; floats read back to the same bits.

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
