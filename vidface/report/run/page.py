"""One report on disk: ``index.html``, which may be moved and opened alone, and its figures and data as files.

The same content gives the same bytes. Tested also in a real browser: ``tests/end_to_end/test_report_browser.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vidface import __version__
from vidface.errors import visible
from vidface.report.drawing.figures import histogram_figure, map_figure, sweep_figure
from vidface.report.drawing.figures_curves import cmc_figure, det_figure, roc_figure
from vidface.report.drawing.figures_drawing import Drawing
from vidface.report.drawing.files import Data, write_page
from vidface.report.drawing.html import PageTable, number, page_table, render, shown
from vidface.report.run.content import Content, Curves, Number, Pair, Sweep, Table
from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT

SECTIONS = [
    ("result", "Result"),
    ("clustering", "Thresholds of clustering"),
    ("curves", "Pairs and ranks"),
    ("frames", "Frames and clusters"),
    ("hard", "Hard cases"),
    ("map", "Map of the embeddings"),
    ("faults", "Faults"),
    ("made", "How it was made"),
]
# What this report may lack and an earlier one may have left.
PARTS = ("sweep", "curves", "operating-points", "histogram", "cmc", "map", "strips", "lowest-ap", "rankings")
FIGURES = ("sweep", "roc", "det", "histogram", "cmc", "map")
EARLIER = [
    *(Path("data", f"{name}.csv") for name in PARTS),
    *(Path("figures", f"{name}.{suffix}") for name in FIGURES for suffix in ("svg", "png")),
]


def write_report(content: Content, output: Path) -> list[Path]:
    """Write a report, replacing an earlier one; returns all files, ``index.html``, written last, first.

    Raises:
        StoreError: the folder or a file cannot be written.
        UsageError: jinja2 or matplotlib is not installed, or another run is writing this report.
    """
    drawings = {drawing.name: drawing for drawing in _drawings(content)}
    html = render(
        "report.html.j2",
        title=f"Report of {content.title}",
        lede="The scores of one run, where it fails, and which frames it used.",
        sections=SECTIONS,
        made_by=f"Made by vidface {__version__}. This file needs no network and runs no scripts; its figures and data"
        " lie beside it in figures/ and data/.",
        content=content,
        lines=[visible(line) for line in content.lines.split("\n")],
        drawings=drawings,
        numbers={name: at for at, name in enumerate(drawings, 1)},
        tables=_page_tables(content),
        scale=_scale(content.headline),
    )
    return write_page(output, html, _data(content), drawings.values(), earlier=EARLIER)


def _drawings(content: Content) -> Iterator[Drawing]:
    if content.sweep:
        yield sweep_figure(content.sweep)
    if content.curves:
        yield roc_figure([("", content.curves)])
        yield det_figure([("", content.curves)])
    if content.histogram:
        yield histogram_figure(content.histogram)
    if content.cmc:
        yield cmc_figure([("", content.cmc)])
    if content.map:
        yield map_figure(content.map)


def _scale(headline: Sequence[Number]) -> float | None:
    """Where the axis beside the numbers begins: as high as all of them allow; None without numbers."""
    ends = [end for one in headline for end in (one.value, one.low) if end is not None]
    return next((start for start in (0.9, 0.5, 0.0) if start <= min(ends)), 0.0) if ends else None


def _tables(content: Content) -> list[Table]:
    tables = [content.counts, content.made_with, content.fault_counts, content.faults]
    return [*tables, _operating_points(content.curves)] if content.curves else tables


def _page_tables(content: Content) -> dict[str, PageTable]:
    tables = {table.name: page_table(table, f"data/{table.name}.csv") for table in _tables(content)}
    return {**tables, "sweep": _starred(content.sweep)} if content.sweep else tables


def _starred(sweep: Sweep) -> PageTable:
    """One row per threshold; the best of each measure has a star, the chosen threshold its word."""
    best: dict[str, float | None] = {}
    for name, values in sweep.measures.items():
        known = {value for value in values if value is not None}
        # Where all thresholds tie, none is the best.
        best[name] = (min if name in sweep.smaller else max)(known) if len(known) > 1 else None
    rows = []
    for at, (threshold, kept) in enumerate(zip(sweep.thresholds, sweep.kept, strict=True)):
        cells = [shown(threshold) + (" (chosen)" if threshold == sweep.chosen else "")]
        cells.append("–" if kept is None else f"{kept:.1%}")
        for name, values in sweep.measures.items():
            star = values[at] is not None and values[at] == best[name]
            cells.append(("* " if star else "") + number(values[at]))
        rows.append(cells)
    columns = ["threshold", "frames kept", *(shown(name) for name in sweep.measures)]
    numeric = [False] + [True] * (len(columns) - 1)
    note = "* the best of its column."
    return PageTable("sweep", "Every threshold", note, columns, numeric, rows, len(rows), "data/sweep.csv")


def _operating_points(curves: Curves) -> Table:
    aimed = {"at-most": "at most", "nearest": "nearest to", "interpolated": "interpolated at"}[curves.rule]
    return Table(
        "operating-points",
        f"TPR at the FPR targets, exact over all pairs; rule {FPR_RULE_TEXT[curves.rule]}",
        [f"FPR {aimed}", "TPR", "95 % from", "95 % to", "threshold (cosine)"],
        [[point.target, point.tpr, point.low, point.high, point.threshold] for point in curves.points],
    )


def _data(content: Content) -> Iterator[Data]:
    """Name, columns and rows of everything that the page shows; lists are whole here."""
    yield "headline", ["measure", "value", "low", "high", "note"], content.headline
    for table in _tables(content):
        yield table.name, table.columns, table.rows
    if sweep := content.sweep:
        values = zip(sweep.thresholds, sweep.kept, *sweep.measures.values(), strict=True)
        yield "sweep", ["threshold", "kept", *sweep.measures], values
    if curves := content.curves:
        rates = np.stack([curves.thresholds, curves.fpr, curves.tpr, 1 - curves.tpr], axis=1)
        yield "curves", ["threshold", "fpr", "tpr", "fnmr"], rates.tolist()
    if histogram := content.histogram:
        bins = (histogram.edges[:-1], histogram.edges[1:], histogram.same, histogram.different)
        rows = zip(*(column.tolist() for column in bins), strict=True)
        yield "histogram", ["from", "to", "same", "different"], rows
    if cmc := content.cmc:
        yield "cmc", ["rank", "rate"], zip(cmc.ranks.tolist(), cmc.rate.tolist(), strict=True)
    if points := content.map:
        rows = zip(points.video_ids, points.identities, *points.xy.T.tolist(), strict=True)
        yield "map", ["video_id", "identity", "x", "y"], rows
    if content.strips:
        frames = (
            (strip.why, strip.video_id, strip.identity, row, seconds, label, int(kept), cosine, track)
            for strip in content.strips
            for row, seconds, label, cosine, kept, _, track in strip.frames
        )
        columns = "why video_id identity row seconds cluster kept cosine track"
        yield "strips", columns.split(), frames
    if content.confused:
        lowest = ((one.identity, one.ap, one.enrolled, one.videos, one.found) for one in content.confused)
        yield "lowest-ap", ["identity", "ap", "enrolled", "videos", "found"], lowest
        hits = (
            (one.identity, hit.rank, hit.video_id, hit.identity, hit.cosine, int(hit.relevant))
            for one in content.confused
            for hit in one.ranked
        )
        yield "rankings", ["query", "rank", "video_id", "identity", "cosine", "relevant"], hits
    for name, pairs in (("impostor-pairs", content.impostors), ("genuine-pairs", content.genuine)):
        yield name, Pair._fields[:5], (pair[:5] for pair in pairs)
