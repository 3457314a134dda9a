"""One report on the disk: ``index.html``, its figures as files, and the data of all that it shows.

    output/index.html            self-contained: may be moved and opened alone; its links go to the rest
    output/figures/NAME.svg,png
    output/data/NAME.csv

The same content gives the same bytes. Tested in ``tests/report/run/test_page.py``, and in a real browser in
``tests/end_to_end/test_report_browser.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from vidface import __version__
from vidface.errors import StoreError, visible
from vidface.files.atomic import write_atomic
from vidface.files.locks import exclusive_folder
from vidface.report.drawing.csv_files import write_csv, write_table
from vidface.report.drawing.figures import histogram_figure, map_figure, sweep_figure
from vidface.report.drawing.figures_curves import cmc_figure, det_figure, roc_figure
from vidface.report.drawing.figures_drawing import Drawing, write_drawing
from vidface.report.drawing.html import PageTable, number, page_table, render, shown
from vidface.report.run.content import Cell, Content, Curves, Number, Pair, Sweep, Table
from vidface.scores.metrics.fpr_rules import FPR_RULE_TEXT

__all__ = ["write_report"]

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
PARTS = ("sweep", "curves", "operating-points", "histogram", "cmc", "map", "strips", "lowest-ap", "rankings")
FIGURES = ("sweep", "roc", "det", "histogram", "cmc", "map")


def write_report(content: Content, output: Path) -> list[Path]:
    """Write a report; what an earlier one left in the same folder is replaced, or gone where this one has no such part.

    Args:
        content: what it says.
        output: its folder, made where it is not there.

    Returns:
        All files, ``index.html`` first; it is written last.

    Raises:
        StoreError: the folder or a file cannot be written.
        UsageError: jinja2 or matplotlib is not installed, or another run writes this report now.
    """
    page = output / "index.html"
    data, pictures = output / "data", output / "figures"
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
    with exclusive_folder(output, data.name, pictures.name):
        try:
            # The page goes first and comes last: it never stands beside the data of another report.
            for old in [
                page,
                *(data / f"{name}.csv" for name in PARTS),
                *(pictures / f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")),
            ]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}; name another folder with -o") from None
        files = _write_data(content, data)
        files += [path for drawing in drawings.values() for path in write_drawing(pictures, drawing)]
        with write_atomic(page) as handle:
            handle.write(html)
    return [page, *files]


def _drawings(content: Content) -> Iterable[Drawing]:
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


def _page_tables(content: Content) -> dict[str, PageTable]:
    """Tables of the page by the part that they stand in."""
    whole = {
        "counts": content.counts,
        "made-with": content.made_with,
        "fault-counts": content.fault_counts,
        "faults": content.faults,
    }
    if content.curves:
        whole["operating-points"] = _operating_points(content.curves)
    tables = {part: page_table(table, f"data/{table.name}.csv") for part, table in whole.items()}
    if content.sweep:
        tables["sweep"] = _starred(content.sweep)
    return tables


def _starred(sweep: Sweep) -> PageTable:
    """A row a threshold; the best of each measure has a star, the chosen threshold an arrow."""
    best: dict[str, float | None] = {}
    for name, values in sweep.measures.items():
        known = {value for value in values if value is not None}
        # Where all thresholds tie, none is the best.
        best[name] = (min if name in sweep.smaller else max)(known) if len(known) > 1 else None
    rows = []
    for at, threshold in enumerate(sweep.thresholds):
        kept = sweep.kept[at]
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


_AIMED = {"at-most": "at most", "nearest": "nearest to", "interpolated": "interpolated at"}


def _operating_points(curves: Curves) -> Table:
    return Table(
        "operating-points",
        f"TPR at the FPR targets, exact over all pairs; rule {FPR_RULE_TEXT[curves.rule]}",
        [f"FPR {_AIMED[curves.rule]}", "TPR", "95 % from", "95 % to", "threshold (cosine)"],
        [[point.target, point.tpr, point.low, point.high, point.threshold] for point in curves.points],
    )


def _write_data(content: Content, folder: Path) -> list[Path]:
    """Everything that the page shows, as CSV; lists are whole there."""
    files = [
        write_csv(
            folder / "headline.csv",
            ["measure", "value", "low", "high", "note"],
            [list(each) for each in content.headline],
        )
    ]
    files += [
        write_table(folder, table)
        for table in (content.counts, content.made_with, content.fault_counts, content.faults)
    ]
    if content.curves:
        files.append(write_table(folder, _operating_points(content.curves)))
    for name, columns, rows in _columns(content):
        files.append(write_csv(folder / f"{name}.csv", columns, rows))
    return files


def _columns(content: Content) -> Iterable[tuple[str, Sequence[str], Iterable[Sequence[Cell]]]]:
    """Name, columns and rows of the CSV files that no `Table` stands for."""
    if sweep := content.sweep:
        values = zip(sweep.thresholds, sweep.kept, *sweep.measures.values(), strict=True)
        yield "sweep", ["threshold", "kept", *sweep.measures], values
    if curves := content.curves:
        columns = (curves.thresholds, curves.fpr, curves.tpr, 1 - curves.tpr)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        yield "curves", ["threshold", "fpr", "tpr", "fnmr"], rows
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
        yield (
            "strips",
            ["why", "video_id", "identity", "row", "seconds", "cluster", "kept", "cosine", "track"],
            (
                [
                    *(strip.why, strip.video_id, strip.identity, frame.row, frame.seconds, frame.label),
                    *(int(frame.kept), frame.cosine, frame.track),
                ]
                for strip in content.strips
                for frame in strip.frames
            ),
        )
    if content.confused:
        yield (
            "lowest-ap",
            ["identity", "ap", "enrolled", "videos", "found"],
            ([one.identity, one.ap, one.enrolled, one.videos, one.found] for one in content.confused),
        )
        yield (
            "rankings",
            ["query", "rank", "video_id", "identity", "cosine", "relevant"],
            (
                [one.identity, hit.rank, hit.video_id, hit.identity, hit.cosine, int(hit.relevant)]
                for one in content.confused
                for hit in one.ranked
            ),
        )
    yield "impostor-pairs", _PAIR, _pair_rows(content.impostors)
    yield "genuine-pairs", _PAIR, _pair_rows(content.genuine)


_PAIR = ["cosine", "a_id", "a_identity", "b_id", "b_identity"]


def _pair_rows(pairs: Sequence[Pair]) -> Iterable[Sequence[Cell]]:
    return ([pair.cosine, pair.a_id, pair.a_identity, pair.b_id, pair.b_identity] for pair in pairs)
