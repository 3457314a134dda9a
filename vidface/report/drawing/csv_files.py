"""Tables as CSV files that a spreadsheet cannot be made to run.

Spreadsheets take a cell that begins with ``= + - @``, a tab or a line's end for a formula, quoted or not. Such a text
gets one ``'`` before it, and so does a text that begins with ``'``: take one away and the text is back. Numbers are
numbers. See OWASP, "CSV Injection". Tested in ``tests/report/drawing/test_csv_files.py``.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from vidface.files.atomic import write_atomic
from vidface.report.run.content import Cell, Table

__all__ = ["csv_cell", "write_csv", "write_table"]

# Leading signs that are not seen, and that some programs drop; a tab and a line's end are dangerous themselves.
BLANKS = " \x0b\x0c\x85\xa0\u1680\u202f\u205f\u2060\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x2010)))

_QUOTED = re.compile(r'[,"\r\n]')
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    """Write UTF-8 CSV, whole or not at all; floats are written so that they read back to the same bits.

    None and NaN become empty cells. Lone surrogates, which broken file names hold, become escapes.

    Returns:
        The path.

    Raises:
        StoreError: it cannot be written.
    """
    with write_atomic(path) as handle:
        for row in itertools.chain([columns], rows):
            handle.write(_line(row).encode("utf-8", "backslashreplace"))
    return path


def write_table(folder: Path, table: Table) -> Path:
    """Write a whole table to ``<folder>/<name>.csv``; see `write_csv`."""
    return write_csv(folder / f"{table.name}.csv", table.columns, table.rows)


def _line(row: Sequence[Cell]) -> str:
    """RFC 4180, with a bare line feed; csv.writer leaves a lone carriage return unquoted, which readers break at."""
    cells = [csv_cell(cell) for cell in row]
    quoted = ['"{}"'.format(cell.replace('"', '""')) if _QUOTED.search(cell) else cell for cell in cells]
    return (",".join(quoted) or '""') + "\n"  # an empty line would be no row


def csv_cell(cell: Cell) -> str:
    """One cell as text, see the module's words."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if not isinstance(cell, str):
        return repr(cell) if isinstance(cell, float) else str(cell)
    # Full-width signs count as well: some programs fold them first.
    first = unicodedata.normalize("NFKC", cell.lstrip(BLANKS)[:1])[:1]
    dangerous = first in {"=", "+", "-", "@", "\t", "\r", "\n", "'"} and first != ""
    return f"'{cell}" if dangerous and not _PLAIN_NUMBER.fullmatch(cell) else cell
