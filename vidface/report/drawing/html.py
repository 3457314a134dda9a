"""What every page is made with: templates that escape all they are given, numbers and foreign text made readable.

Pages are one file each, with styles, SVG and pictures inside and no script. The policy in `templates/base.html.j2`
makes browsers refuse everything else, so even text that slipped through could run nothing and fetch nothing.
"""

from __future__ import annotations

import base64
import io
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from vidface.errors import UsageError, printable
from vidface.frames.frame import Pixels
from vidface.report.run.content import Cell, Table

if TYPE_CHECKING:
    import jinja2

TEXT_LIMIT = 120  # letters of an id that a page shows; its CSV has all of them
JPEG_QUALITY = 72


class PageTable(NamedTuple):
    """A table as a page shows it: cells as text, ``total`` rows in ``data``, the page's link to its CSV file."""

    name: str
    title: str
    note: str
    columns: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    total: int
    data: str | None


def environment() -> jinja2.Environment:
    """The templates' environment: autoescape, undefined names are errors; UsageError if jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("pages need jinja2: pip install -e '.[report]'") from None
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("vidface.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(shown=shown, number=number, digits=digits, pieces=pieces, picture=picture)
    templates.globals.update(interval=interval)
    return templates


def render(template: str, **values: object) -> bytes:
    """A page as UTF-8; what UTF-8 cannot hold is written as an escape."""
    return environment().get_template(template).render(**values).encode("utf-8", "backslashreplace")


def shown(text: str, limit: int = TEXT_LIMIT) -> str:
    """Foreign text in one line, with escapes for what steers a reader or terminal, but not HTML; long text is cut."""
    line = printable(text)
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


def digits(value: float | None, places: int) -> str:
    """A measure or a cosine with so many digits, no ``-0.00``; a dash for None."""
    return "–" if value is None or not math.isfinite(value) else f"{round(value, places) + 0.0:.{places}f}"


def pieces(text: str) -> list[str]:
    """A name in pieces between which a narrow line may break: after its ``_ . / -``; joined, they are the name."""
    return re.split("(?<=[_./-])(?=[^_./-])", text)


def number(value: Cell) -> str:
    """A cell of a table: whole numbers with thousands, others with as many digits as mean something."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size != 0 and size < 1e-3:
        return f"{value:.3g}"
    return f"{value:.4f}" if size < 10 else f"{value:,.2f}" if size < 10_000 else f"{value:,.0f}"


def interval(low: float | None, high: float | None) -> str:
    """``0.901 to 0.955``; one more digit if three would hardly tell the ends apart; empty for None."""
    if low is None or high is None:
        return ""
    digits = 3 if high - low >= 0.005 else 4
    return f"{low:.{digits}f} to {high:.{digits}f}"


def page_table(table: Table, data: str | None, limit: int = 50) -> PageTable:
    """The first ``limit`` rows of a table as text. A column of numbers alone is numeric, and set to the right."""
    known = [[row[at] for row in table.rows if row[at] is not None] for at in range(len(table.columns))]
    numeric = [bool(cells) and not any(isinstance(cell, str) for cell in cells) for cells in known]
    columns = [shown(column) for column in table.columns]
    rows = [[number(cell) for cell in row] for row in table.rows[:limit]]
    return PageTable(table.name, table.title, table.note, columns, numeric, rows, len(table.rows), data)


def picture(pixels: Pixels) -> str:
    """Return uint8 [H, W, 3] RGB as a JPEG in a data URI; the same pixels give the same text."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
