"""A comparison as files: one page with overlaid curves, Markdown, LaTeX, and the data of all of it as CSV.

The page is one file that fetches nothing (`vidface.report.drawing.html`); figures and CSV files lie beside it and are
linked. Tested in ``tests/report/comparison/test_compare_page.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vidface
from vidface.errors import StoreError, UsageError
from vidface.files.atomic import write_atomic
from vidface.files.locks import exclusive_folder
from vidface.report.comparison.text import latex, made_with_text, markdown, method, value_texts
from vidface.report.drawing.csv_files import write_table
from vidface.report.drawing.figures_curves import cmc_figure, det_figure, roc_figure
from vidface.report.drawing.figures_drawing import (
    COLOURS,
    SERIES,
    Drawing,
    drawn,
    label,
    legend,
    new_figure,
    write_drawing,
)
from vidface.report.drawing.html import environment, page_table, render, shown
from vidface.report.run.content import Cell, Cmc, Curves, OperatingPoint, Table
from vidface.runs.compare_result import SHOWN, Comparison, tpr_label, verdict
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.protocols.iqiyi import CUT_OFF

__all__ = ["check_output", "write_comparison"]

DATA, FIGURES = "data", "figures"
CSV_OF = {"differences": "differences", "roc": "rates", "det": "rates", "cmc": "cmc"}  # of every figure
TABLES = ("differences", "made-with", "people", "videos", "cmc", "rates")


def check_output(folder: Path) -> None:
    """Look at what can be known before hours of work.

    Raises:
        UsageError: another page stands in the folder, or jinja2 or matplotlib is not installed.
    """
    environment()
    with new_figure():
        pass
    if (folder / "index.html").exists() and not (folder / "compare.md").exists():
        raise UsageError(f"{folder}: holds another page already; name another folder with -o")


def write_comparison(found: Comparison, folder: Path) -> list[Path]:
    """Write ``index.html``, ``compare.md``, ``compare.tex``, ``data/*.csv`` and ``figures/*``.

    What an earlier comparison left in the same folder is replaced, or gone where this one has no such part.

    Returns:
        The paths, the page last: where it stands, everything that it links to is there.

    Raises:
        UsageError: as `check_output` raises, or another run writes this comparison now.
        StoreError: something cannot be written.
    """
    data, figures = folder / DATA, folder / FIGURES
    check_output(folder)
    tables, drawings = _tables(found), _drawings(found)
    page = _page(found, tables, drawings)
    with exclusive_folder(folder, DATA, FIGURES):
        try:
            # The page goes first and comes last: it never stands beside the data of another comparison.
            for old in [
                folder / "index.html",
                *(data / f"{name}.csv" for name in TABLES),
                *(figures / f"{name}.{suffix}" for name in CSV_OF for suffix in ("svg", "png")),
            ]:
                old.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{error.filename}: {error.strerror}; name another folder with -o") from None
        written = [write_table(data, table) for table in tables.values()]
        for drawing in drawings:
            written += write_drawing(figures, drawing)
        texts = {"compare.md": markdown(found), "compare.tex": latex(found)}
        for name, content in [
            *((name, text.encode("utf-8", "backslashreplace")) for name, text in texts.items()),
            ("index.html", page),
        ]:
            written.append(folder / name)
            with write_atomic(written[-1]) as handle:
                handle.write(content)
    return written


def _page(found: Comparison, tables: dict[str, Table], drawings: Sequence[Drawing]) -> bytes:
    base, *others = (run.name for run in found.runs)
    sections = [("measures", "Measures"), ("made-with", "What differs")]
    sections += [("figures", "Figures")] if drawings else []
    sections += [("people", "People"), ("videos", "Videos")] if found.wanted.names else []
    sections += [("method", "Method")]
    shown_tables = {
        name: page_table(table, f"{DATA}/{table.name}.csv", SHOWN * found.comparisons)
        for name, table in tables.items()
    }
    return render(
        "compare.html.j2",
        title=f"{', '.join(map(shown, others))} against {shown(base)}",
        lede=f"{len(found.runs)} runs on the {found.counts['videos']:,} videos of {shown(found.manifest.path.name)}.",
        sections=sections,
        made_by=f"Made by vidface {vidface.__version__}.",
        base=base,
        runs=found.runs,
        measures=[
            {
                "name": measure.name,
                "rows": [
                    {
                        "run": run.name,
                        "value": value_texts(value)[0],
                        "interval": value_texts(value)[1],
                        "words": verdict(gain) if number else "the baseline",
                        "beside": "".join(measure.beside[number : number + 1]),
                        "sign": 0 if gain is None else gain.verdict,
                    }
                    for number, (run, value, gain) in enumerate(
                        zip(found.runs, measure.values, measure.differences, strict=True)
                    )
                ],
            }
            for measure in found.measures
        ],
        tables=shown_tables,
        figures=[(drawing, [f"{DATA}/{CSV_OF[drawing.name]}.csv"]) for drawing in drawings],
        warnings=found.warnings,
        method=method(found),
        counts=[(name.replace("_", " "), f"{count:,}") for name, count in found.counts.items()],
        definitions=list(found.definitions.items()),
        options=[(name.replace("_", " "), _listed(value)) for name, value in found.options.items()],
        same=[(name.replace("_", " "), made_with_text(value)) for name, value in found.same.items()],
    )


def _listed(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _tables(found: Comparison) -> dict[str, Table]:
    """All data, by the name of its CSV file."""
    names = [run.name for run in found.runs]
    rows: list[list[Cell]] = []
    for measure in found.measures:
        for number, (name, value, gain) in enumerate(
            zip(names, measure.values, measure.differences, strict=True)
        ):
            numbers = [*(value or [None] * 3), *(gain[:3] if gain else [None] * 3)]
            rows.append([measure.name, name, *numbers, verdict(gain) if number else ""])
    columns = ["measure", "run", "value", "low", "high", "difference", "difference low", "difference high"]
    tables = [
        Table("differences", "All measures", [*columns, "verdict"], rows),
        Table(
            "made-with",
            "What the runs were not all made with alike",
            ["made with", *names],
            [[name, *map(made_with_text, values)] for name, values in found.differs.items()],
            "A question mark: the file does not say.",
        ),
    ]
    if found.wanted.names:
        tables += [_people(found, names), _videos(found, names), _cmc_table(found, names)]
    if found.edges is not None:
        tables.append(_rates_table(found, names))
    return {table.name: table for table in tables}


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


def _cmc_table(found: Comparison, names: list[str]) -> Table:
    rates = _cmc(found)
    rows: list[list[Cell]] = [[k + 1, *rates[:, k].tolist()] for k in range(CUT_OFF)]
    return Table("cmc", "Identities with a hit by rank", ["rank", *names], rows)


def _rates_table(found: Comparison, names: list[str]) -> Table:
    assert found.edges is not None
    columns = ["cosine", *(f"{rate} {name}" for name in names for rate in ("FPR", "TPR"))]
    rates = np.stack([found.fpr, found.tpr], axis=1).reshape(2 * len(names), -1)
    rows: list[list[Cell]] = [
        [edge, *(None if np.isnan(rate) else rate for rate in column)]
        for edge, column in zip(found.edges.tolist(), rates.T.tolist(), strict=True)
    ]
    return Table("rates", "Rates of all pairs at every cosine", columns, rows)


def _drawings(found: Comparison) -> list[Drawing]:
    drawings = [_differences_figure(found)] if _gains(found) else []
    if curves := _curves(found):
        drawings += [roc_figure(curves), det_figure(curves)]
    if found.wanted.names:
        ranks = np.arange(1, CUT_OFF + 1)
        runs = zip(found.runs, _cmc(found), strict=True)
        drawings.append(
            cmc_figure([(shown(run.name), Cmc(ranks, rate, len(found.wanted.names))) for run, rate in runs])
        )
    return drawings


def _curves(found: Comparison) -> list[tuple[str, Curves]]:
    """The curves of the runs that have embeddings."""
    if found.edges is None:
        return []
    values = {measure.name: measure.values for measure in found.measures}
    curves = []
    for number, (run, fpr, tpr) in enumerate(zip(found.runs, found.fpr, found.tpr, strict=True)):
        if np.isnan(fpr).any() or np.isnan(tpr).any():
            continue
        points = []
        for target in found.options["targets"]:
            value = values.get(tpr_label(target), [None] * len(found.runs))[number]
            tpr_there, low, high = value or (None, None, None)
            points.append(
                OperatingPoint(target, float(fpr_fraction(target)), tpr_there, low, high, threshold=None)
            )
        pairs = found.counts["genuine_pairs"], found.counts["impostor_pairs"]
        curve = Curves(found.edges[::-1], fpr[::-1], tpr[::-1], *pairs, points, "")
        curves.append((shown(run.name), curve))
    return curves


def _gains(found: Comparison) -> list[tuple[str, int, Any]]:
    """(measure, run, difference) of all whose difference has an interval, in the order of the table."""
    return [
        (measure.name, run, gain)
        for measure in found.measures
        for run, gain in enumerate(measure.differences)
        if gain is not None and gain.low is not None
    ]


def _differences_figure(found: Comparison) -> Drawing:
    gains = _gains(found)
    names = list(dict.fromkeys(name for name, _, _ in gains))
    place = {name: at for at, name in enumerate(names)}
    shift = 0.6 / found.comparisons
    with new_figure((5.4, max(3.0, 0.6 + 0.2 * len(gains) + 0.25 * len(names)))) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=COLOURS["ink"], linewidth=1)
        entries = []
        for run in range(1, len(found.runs)):
            mine = [(place[name], gain) for name, number, gain in gains if number == run]
            if not mine:
                continue
            colour, _, mark = _series(run)
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
        return drawn(
            figure, "differences", f"Differences to {shown(found.runs[0].name)} with their intervals", summary
        )


def _series(run: int) -> tuple[str, Any, str]:
    return SERIES[run % len(SERIES)]
