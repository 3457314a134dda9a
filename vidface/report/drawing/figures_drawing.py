"""From a matplotlib figure to three forms of it: SVG in a page's colours, SVG as a file, PNG.

Figures use only the colours of `COLOURS`. Files keep these, on white; in a page each becomes the CSS variable of its
name (`templates/style.css`), so that dark mode and print choose their own, and letters are text in the page's font.
The same figure gives the same bytes, whatever the time, the matplotlib settings or what was drawn before.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from vidface.errors import UsageError
from vidface.report.drawing.html import shown

# As in style.css, light.
COLOURS = {
    "ink": "#18212d",
    "muted": "#4f5b6b",
    "rule": "#cfd6df",
    "grid": "#e3e7ec",
    "good": "#1a7f45",
    "bad": "#c22531",
    "s1": "#0b61b8",
    "s2": "#b84c00",
    "s3": "#0a7a5c",
    "s4": "#8b3bab",
    "s5": "#8a6a00",
    "s6": "#5a6675",
}
# Series differ in colour, in dashes and in marks, so that none is told by colour alone.
SERIES = [
    (COLOURS["s1"], "-", "o"),
    (COLOURS["s2"], "--", "s"),
    (COLOURS["s3"], "-.", "^"),
    (COLOURS["s4"], ":", "D"),
    (COLOURS["s5"], (0, (8, 2)), "v"),
    (COLOURS["s6"], (0, (3, 1, 1, 1, 1, 1)), "P"),
]
# Middle tones: a contrast of 3 on white and on the dark page, for what is rasterised and cannot change.
MAP_COLOURS = [
    *("#2f7fd6", "#c07a10", "#0f9c7c", "#b06be0", "#d6568f"),
    *("#7c8594", "#5f8f1f", "#d2603a", "#6f74e0", "#1295b5"),
]
SIZE = (5.4, 3.7)  # inches; letters of 10 points stay readable if a page shows it 370 pixels wide
DPI = 200
LABEL_LIMIT = 40

_SETTINGS: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["muted"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": False,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters everywhere
    "font.size": 10.0,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # letters stay text: smaller, searchable, in the page's own font
    "svg.hashsalt": "vidface",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,  # a $ in a name is a $
    "xtick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
}
_FONTS = "system-ui, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


class Drawing(NamedTuple):
    """A figure in all its forms; ``name`` is the stem of its files, ``summary`` says in words what it shows."""

    name: str
    title: str
    summary: str
    inline: str
    svg: bytes
    png: bytes


@contextlib.contextmanager
def new_figure(size: tuple[float, float] = SIZE) -> Iterator[Any]:
    """An empty figure, with matplotlib set up within the block; UsageError if matplotlib is not installed."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("figures need matplotlib: pip install -e '.[report]'") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # what a user's matplotlibrc says is no part of a report
        matplotlib.rcParams.update(_SETTINGS)
        yield Figure(figsize=size, layout="constrained")


def drawn(
    figure: Any, name: str, title: str, summary: str, titles: Mapping[str, Sequence[str]] | None = None
) -> Drawing:
    """Draw a figure in its three forms, within `new_figure`; ``titles``: ``gid`` -> tooltips of its group of marks."""
    with warnings.catch_warnings():
        # A page's own font has letters that DejaVu lacks; only the PNG shows a box in their place.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        vector, raster = io.BytesIO(), io.BytesIO()
        figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None}, dpi=DPI)
        # On white: viewers show PNG files on any ground.
        figure.savefig(raster, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    text = vector.getvalue().decode("utf-8")
    for group, texts in (titles or {}).items():
        text = _titled(text, group, texts)
    # Several figures share one page: every id gets the figure's name.
    text = _in_tags(text, lambda tag: re.sub(r'(?<= id=")|(?<=url\(#)|(?<=href="#)', f"{name}-", tag))
    return Drawing(name, title, summary, _inline(text, title), _standalone(text).encode(), raster.getvalue())


def label(text: str) -> str:
    """Foreign text for a figure: one line, short, nothing that is not printable."""
    return shown(text, LABEL_LIMIT)


def series(at: int) -> tuple[str, Any, str]:
    """Colour, dashes and mark of a series; they go round."""
    return SERIES[at % len(SERIES)]


def legend(axes: Any, entries: Sequence[tuple[Any, str]], **options: Any) -> None:
    """A legend whose texts are shown as they are: matplotlib itself leaves out those that begin with ``_``."""
    if not entries:
        return
    box = axes.legend([line for line, _ in entries], [str(at) for at in range(len(entries))], **options)
    for text, (_, words) in zip(box.get_texts(), entries, strict=True):
        text.set_text(label(words))


def _titled(svg: str, group: str, texts: Sequence[str]) -> str:
    """Give the first marks of a group, one after another, a text; matplotlib draws them in the order of the data."""
    start = svg.index(f'<g id="{group}">')
    words = iter(texts)

    def titled(mark: re.Match[str]) -> str:
        return f"<use {mark[1]}><title>{escape(next(words))}</title></use>"

    return svg[:start] + re.sub(r"<use ([^<>]*)/>", titled, svg[start:], count=len(texts))


def _in_tags(svg: str, change: Callable[[str], str]) -> str:
    """Change the tags alone: what stands between them is foreign text, with ``<`` and ``>`` escaped."""
    return re.sub("<[a-zA-Z][^<>]*>", lambda tag: change(tag[0]), svg)


def _standalone(svg: str) -> str:
    """A file on a white ground, in fonts that most machines have."""
    svg = _in_tags(svg, lambda tag: tag.replace("'DejaVu Sans'", _FONTS))
    start = svg.index(">", svg.index("<svg")) + 1
    return f'{svg[:start]}\n <rect width="100%" height="100%" style="fill: #ffffff"/>{svg[start:]}'


def _inline(svg: str, title: str) -> str:
    """The element alone, in the page's colours, as one image to a screen reader: the caption has its words."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    # Its rule for all elements would hold for the whole page; style.css has it for figures.
    for element in ("style", "metadata"):
        body = re.sub(rf"<{element}.*?</{element}>", "", body, count=1, flags=re.DOTALL)
    named = {colour: f"var(--{name})" for name, colour in COLOURS.items()}
    body = _in_tags(
        body, lambda tag: re.sub("#[0-9a-f]{6}", lambda found: named.get(found[0], found[0]), tag)
    )
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None, "matplotlib always writes it"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {box[0]}'
    return f'{head} role="img" aria-label={quoteattr(title)} focusable="false">{body}'
