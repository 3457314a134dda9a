"""A comparison as files: one page with overlaid curves that fetches nothing, the same as Markdown, all data as CSV."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vidface
from vidface.errors import UsageError
from vidface.report.comparison.text import made_with_text, markdown, method, value_texts
from vidface.report.drawing.figures_curves import cmc_figure, det_figure, roc_figure
from vidface.report.drawing.figures_drawing import COLOURS, Drawing, drawn, label, legend, new_figure, series
from vidface.report.drawing.files import write_page
from vidface.report.drawing.html import environment, page_table, render, shown
from vidface.report.run.content import Cell, Cmc, Curves, OperatingPoint, Table
from vidface.runs.compare_result import SHOWN, Comparison, Measure, tpr_label, verdict
from vidface.scores.metrics.bootstrap import Difference
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.protocols.iqiyi import CUT_OFF

CSV_OF = {"differences": "differences", "roc": "rates", "det": "rates", "cmc": "cmc"}  # of every figure
TABLES = ("differences", "made-with", "people", "videos", "cmc", "rates")
EARLIER = [
    Path("compare.tex"),  # of versions before
    *(Path("data", f"{name}.csv") for name in TABLES),
    *(Path("figures", f"{name}.{suffix}") for name in CSV_OF for suffix in ("svg", "png")),
]


def check_output(folder: Path) -> None:
    """Raise UsageError, before hours of work, if another page is in the folder, or jinja2 or matplotlib is missing."""
    environment()
    with new_figure():
        pass
    if (folder / "index.html").exists() and not (folder / "compare.md").exists():
        raise UsageError(f"{folder}: holds another page already; name another folder with -o")


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write ``index.html`` (last; its path comes first), ``compare.md``, ``data/*.csv`` and ``figures/*``.

    Whatever an earlier comparison left is replaced or removed. UsageError as `check_output` raises, or if another run
    writes this comparison; StoreError if something cannot be written.
    """
    check_output(folder)
    tables, drawings = {table.name: table for table in _tables(found)}, list(_drawings(found))
    page = _page(found, tables, drawings)
    data = [(name, table.columns, table.rows) for name, table in tables.items()]
    return write_page(folder, page, data, drawings, earlier=EARLIER, texts={"compare.md": markdown(found)})


def _page(found: Comparison, tables: dict[str, Table], drawings: Sequence[Drawing]) -> bytes:
    base, *others = (run.name for run in found.runs)
    sections = [("measures", "Measures"), ("made-with", "What differs")]
    sections += [("figures", "Figures")] if drawings else []
    sections += [("people", "People"), ("videos", "Videos")] if found.wanted.names else []
    sections += [("method", "Method")]
    most = SHOWN * found.comparisons
    return render(
        "compare.html.j2",
        title=f"{', '.join(map(shown, others))} against {shown(base)}",
        lede=f"{len(found.runs)} runs on the {found.counts['videos']:,} videos of {shown(found.manifest.path.name)}.",
        sections=sections,
        made_by=f"Made by vidface {vidface.__version__}.",
        base=base,
        measures=[{"name": measure.name, "rows": _rows(found, measure)} for measure in found.measures],
        tables={name: page_table(table, f"data/{name}.csv", most) for name, table in tables.items()},
        figures=[(drawing, [f"data/{CSV_OF[drawing.name]}.csv"]) for drawing in drawings],
        warnings=found.warnings,
        method=method(found),
        counts=_named(found.counts, "{:,}".format),
        definitions=list(found.definitions.items()),
        options=_named(
            found.options, lambda value: ", ".join(value) if isinstance(value, list) else str(value)
        ),
        same=_named(found.same, made_with_text),
    )


def _named(values: dict[str, Any], text: Callable[[Any], str]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), text(value)) for name, value in values.items()]


def _rows(found: Comparison, measure: Measure) -> list[dict[str, Any]]:
    """A measure on the page, one row per run."""
    rows = []
    for run, value, gain, beside in zip(found.runs, *measure[1:], strict=True):
        number, interval = value_texts(value)
        words = "the baseline" if run is found.runs[0] else verdict(gain)
        row = {"run": run.name, "value": number, "interval": interval, "words": words}
        rows.append({**row, "beside": beside, "sign": gain.verdict if gain else 0})
    return rows


def _tables(found: Comparison) -> Iterator[Table]:
    """All data, by the name of its CSV file."""
    names = [run.name for run in found.runs]
    columns = ["measure", "run", "value", "low", "high", "difference", "difference low", "difference high"]
    rows: list[list[Cell]] = []
    for measure in found.measures:
        for name, value, gain in zip(names, measure.values, measure.differences, strict=True):
            numbers = [*(value or [None] * 3), *(gain[:3] if gain else [None] * 3)]
            rows.append([measure.name, name, *numbers, "" if name == names[0] else verdict(gain)])
    yield Table("differences", "All measures", [*columns, "verdict"], rows)
    rows = [[name, *map(made_with_text, values)] for name, values in found.differs.items()]
    title, note = "What the runs were not all made with alike", "A question mark: the file does not say."
    yield Table("made-with", title, ["made with", *names], rows, note)
    if found.wanted.names:
        yield _people(found, names)
        yield _videos(found, names)
        rows = [[k, *rates] for k, rates in enumerate(_cmc(found).T.tolist(), 1)]
        yield Table("cmc", "Identities with a hit by rank", ["rank", *names], rows)
    if found.edges is not None:
        rates = np.stack([found.fpr, found.tpr], axis=1).reshape(2 * len(names), -1)  # NaN is an empty cell
        columns = ["cosine", *(f"{rate} {name}" for name in names for rate in ("FPR", "TPR"))]
        rows = np.vstack([found.edges, rates]).T.tolist()
        yield Table("rates", "Rates of all pairs at every cosine", columns, rows)


def _people(found: Comparison, names: list[str]) -> Table:
    order = _most_changed([found.changed_identities(run) for run in range(1, len(names))])
    videos = np.bincount(found.wanted.identity)
    return Table(
        "people",
        "Identities whose AP changed most",
        ["identity", "gallery videos", *(f"AP {name}" for name in names)],
        [[found.wanted.names[i], int(videos[i]), *found.precision[:, i].tolist()] for i in order],
        f"{len(order):,} of {len(found.wanted.names):,} identities have another AP in some run.",
    )


def _videos(found: Comparison, names: list[str]) -> Table:
    order = _most_changed([found.changed_videos(run) for run in range(1, len(names))])
    ranks = found.ranks_among_strangers
    rows: list[list[Cell]] = []
    for n in order:
        video = found.manifest.video_ids[int(found.wanted.videos[n])]
        identity = found.wanted.names[int(found.wanted.identity[n])]
        rows.append([video, identity, *(rank or None for rank in ranks[:, n].tolist())])
    return Table(
        "videos",
        "Videos whose rank changed most",
        ["video", "identity", *(f"rank {name}" for name in names)],
        rows,
        "Rank of a gallery video among the videos of other people in the list of its own identity: 1 if none of them "
        f"is before it; a dash: not ranked. {len(order):,} of {len(found.wanted.videos):,} videos have another rank in "
        "some run. The ratio of two ranks counts: from 1 to 10 is as much as from 100 to 1,000.",
    )


def _most_changed(lists: Sequence[Sequence[int]]) -> list[int]:
    """The most changed of every run first, then the next ones; each once."""
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return list(dict.fromkeys(number for number in turns if number is not None))


def _cmc(found: Comparison) -> NDArray[np.float64]:
    """float64 [S, CUT_OFF]: share of identities with a hit among the first k."""
    best = np.full((len(found.runs), len(found.wanted.names)), np.iinfo(np.int64).max)
    for row, ranks in zip(best, found.ranks, strict=True):
        ranked = ranks > 0
        np.minimum.at(row, found.wanted.identity[ranked], ranks[ranked])
    return np.asarray((best[:, :, None] <= np.arange(1, CUT_OFF + 1)).mean(axis=1))


def _drawings(found: Comparison) -> Iterator[Drawing]:
    gains = [
        (measure.name, run, gain)
        for measure in found.measures
        for run, gain in enumerate(measure.differences)
        if gain is not None and gain.low is not None
    ]
    if gains:
        yield _differences_figure(found, gains)
    if curves := _curves(found):
        yield roc_figure(curves)
        yield det_figure(curves)
    if people := len(found.wanted.names):
        ranks = np.arange(1, CUT_OFF + 1)
        runs = zip(found.runs, _cmc(found), strict=True)
        yield cmc_figure([(shown(run.name), Cmc(ranks, rate, people)) for run, rate in runs])


def _curves(found: Comparison) -> list[tuple[str, Curves]]:
    if found.edges is None:
        return []
    values = {measure.name: measure.values for measure in found.measures}
    curves = []
    for at, (run, fpr, tpr) in enumerate(zip(found.runs, found.fpr, found.tpr, strict=True)):
        if np.isnan(fpr).any() or np.isnan(tpr).any():
            continue
        points = []
        for target in found.options["targets"]:
            of_runs = values.get(tpr_label(target))
            tpr_there, low, high = (of_runs and of_runs[at]) or (None, None, None)
            points.append(OperatingPoint(target, float(fpr_fraction(target)), tpr_there, low, high, None))
        pairs = found.counts["genuine_pairs"], found.counts["impostor_pairs"]
        curves.append((shown(run.name), Curves(found.edges[::-1], fpr[::-1], tpr[::-1], *pairs, points, "")))
    return curves


def _differences_figure(found: Comparison, gains: Sequence[tuple[str, int, Difference]]) -> Drawing:
    """All differences that have an interval, (measure, run, difference), in the order of the table."""
    names = list(dict.fromkeys(name for name, _, _ in gains))
    shift = 0.6 / found.comparisons
    with new_figure((5.4, max(3.0, 0.6 + 0.2 * len(gains) + 0.25 * len(names)))) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=COLOURS["ink"], linewidth=1)
        entries = []
        for run in range(1, len(found.runs)):
            mine = [(names.index(name), gain) for name, number, gain in gains if number == run]
            if not mine:
                continue
            colour, _, mark = series(run)
            heights = [at + (run - 1 - (found.comparisons - 1) / 2) * shift for at, _ in mine]
            ends = [[gain.low for _, gain in mine], [gain.high for _, gain in mine]]
            axes.hlines(heights, *ends, color=colour, linewidth=2)
            (line,) = axes.plot([gain.value for _, gain in mine], heights, mark, color=colour, markersize=5)
            entries.append((line, found.runs[run].name))
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(f"difference to {label(found.runs[0].name)}; right: better")
        if found.comparisons > 1:
            legend(axes, entries, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        better = sum(gain.verdict > 0 for _, _, gain in gains)
        worse = sum(gain.verdict < 0 for _, _, gain in gains)
        summary = (
            f"Of {len(gains)} differences {better} are to the better, {worse} to the worse, and of "
            f"{len(gains) - better - worse} it cannot be told. The table has the numbers."
        )
        title = f"Differences to {shown(found.runs[0].name)} with their intervals"
        return drawn(figure, "differences", title, summary)
