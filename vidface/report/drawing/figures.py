"""Figures of one run: the sweep of thresholds, the cosines of all pairs, the map of the embeddings."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.report.drawing import figures_drawing
from vidface.report.drawing.figures_drawing import COLOURS, MAP_COLOURS, Drawing, drawn, label, series
from vidface.report.drawing.html import shown
from vidface.report.run.content import Histogram, Map, Sweep
from vidface.scores.text import counted

BARS = 120  # bins of a drawn histogram, at most; its CSV has all
VECTOR_POINTS = 2000  # a map of more points is a picture within its SVG
MAP_POINTS = 5000
MARKS = "os^Dv"
_BESIDE: Any = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


def sweep_figure(sweep: Sweep) -> Drawing:
    """Measures over the thresholds, below them the share of kept frames; a line at the chosen threshold."""
    places = _places(sweep.thresholds)
    on_scale = np.array([_is_number(text) for text in sweep.thresholds])
    with figures_drawing.new_figure((5.4, 4.6)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 1])
        entries = []
        for at, (name, values) in enumerate(sweep.measures.items()):
            entries.append((_thresholds_line(upper, places, on_scale, values, series(at)), name))
        _thresholds_line(lower, places, on_scale, sweep.kept, (COLOURS["muted"], "-", "o"))
        chosen = sweep.thresholds.index(sweep.chosen) if sweep.chosen in sweep.thresholds else None
        if chosen is not None:
            for axes in (upper, lower):
                axes.axvline(places[chosen], color=COLOURS["bad"], linewidth=1.2, dashes=(4, 2), zorder=1)
            words = f"chosen: {label(sweep.thresholds[chosen])}"
            at_the_top = {"ha": "center", "fontsize": 9, "color": COLOURS["bad"]}
            upper.annotate(words, (places[chosen], 1), (0, 3), **_BESIDE, **at_the_top)
        ticks = _ticks(sweep.thresholds, chosen)
        lower.set_xticks([places[at] for at in ticks], [label(sweep.thresholds[at]) for at in ticks])
        lower.set_ylim(0, 1.04)
        lower.set_xlabel("threshold of clustering (cosine)")
        lower.set_ylabel("frames kept")
        upper.set_ylabel("measure")
        looks = {"ncols": min(len(entries), 2), "fontsize": 9, "handlelength": 3.2}
        figures_drawing.legend(figure, entries, loc="outside upper center", **looks)
        return drawn(figure, "sweep", "Thresholds of clustering", _sweep_words(sweep, chosen))


def histogram_figure(histogram: Histogram) -> Drawing:
    """How many pairs have which cosine, on a log axis; bins are joined to at most `BARS`."""
    edges, same, different = _joined(histogram)
    with figures_drawing.new_figure() as figure:
        axes = figure.add_subplot()
        entries = []
        for counts, words, (colour, dashes, _) in (
            (different, "pairs of two people", series(1)),
            (same, "pairs of one person", series(0)),
        ):
            bars = {"values": np.maximum(counts, 0.1), "edges": edges, "baseline": 0.1, "color": colour}
            axes.stairs(fill=True, alpha=0.18, **bars)
            entries.append((axes.stairs(linestyle=dashes, linewidth=1.5, **bars), words))
        axes.set_yscale("log")
        axes.set_ylim(0.5, 3 * max(int(different.max(initial=1)), int(same.max(initial=1)), 1))
        used = np.flatnonzero(same + different)
        if len(used):
            axes.set_xlim(edges[used[0]], edges[used[-1] + 1])
        low, high = axes.get_xlim()
        for cosine, words in _close_together(histogram.thresholds, (high - low) / 30):
            axes.axvline(cosine, color=COLOURS["ink"], linewidth=0.9, dashes=(1, 1.5))
            upright = {"rotation": 90, "ha": "right", "va": "top", "fontsize": 8}
            axes.annotate(f"FPR {label(words)}", (cosine, 0.98), (-3, 0), **_BESIDE, **upright)
        figures_drawing.legend(figure, entries, loc="outside upper center", ncols=2)
        axes.set_yticks(*_powers(axes.get_ylim()[1]))
        axes.minorticks_off()
        axes.set_xlabel("cosine of two videos")
        axes.set_ylabel("pairs")
        return drawn(figure, "histogram", "Cosines of all pairs", _histogram_words(histogram))


def map_figure(points: Map) -> Drawing:
    """The embeddings in the plane: a thin line from each video to the middle of its person's, as colours repeat.

    At most `MAP_POINTS` are drawn; up to `VECTOR_POINTS`, each says who it is under the pointer.
    """
    from matplotlib.collections import LineCollection

    xy, identities, ids = points.xy[:MAP_POINTS], points.identities[:MAP_POINTS], points.video_ids
    names, person = np.unique(np.array([*identities, ""], dtype=object), return_inverse=True)
    person = person[:-1]
    known = names[person] != ""
    # Colours and marks go round by the sorted names, so that a run drawn again has the same ones.
    look = np.where(known, person % (len(MAP_COLOURS) * len(MARKS)), -1)
    raster = len(xy) > VECTOR_POINTS
    size = float(np.clip(6000 / max(len(xy), 1), 4, 26))
    titles: dict[str, list[str]] = {}
    with figures_drawing.new_figure((5.4, 4.8)) as figure:
        axes = figure.add_subplot()
        stars = np.stack([xy, _middles(xy, person, len(names))[person]], axis=1)[known]
        shades = [MAP_COLOURS[at % len(MAP_COLOURS)] for at in look[known]]
        lines = LineCollection(list(stars), colors=shades, linewidths=0.5, alpha=0.6, rasterized=raster)
        axes.add_collection(lines)
        for at in np.unique(look):
            mine = np.flatnonzero(look == at)
            group = f"points-{at + 1}"
            mark, colour = MARKS[at // len(MAP_COLOURS)], MAP_COLOURS[at % len(MAP_COLOURS)]
            if at < 0:
                mark, colour = "X", MAP_COLOURS[5]
            looks = {"c": colour, "marker": mark, "linewidths": 0, "rasterized": raster, "gid": group}
            axes.scatter(*xy[mine].T, s=size, **looks)
            if not raster:
                titles[group] = [f"{shown(ids[row])}: {shown(identities[row]) or 'unknown'}" for row in mine]
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.03)
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        return drawn(figure, "map", "Map of the embeddings", _map_words(points, known, person), titles=titles)


def _middles(xy: Array, person: npt.NDArray[np.int64], people: int) -> Array:
    counts = np.maximum(np.bincount(person, minlength=people), 1)
    return np.stack([np.bincount(person, axis, people) / counts for axis in xy.T], axis=1)


def _map_words(points: Map, known: npt.NDArray[np.bool_], person: npt.NDArray[np.int64]) -> str:
    drawn_points = len(known)
    people = len(np.unique(person[known]))
    words = f"{drawn_points:,} videos of {people:,} people"
    if strangers := drawn_points - int(known.sum()):
        words += f", {strangers:,} of them of nobody known (grey crosses)"
    if drawn_points < points.shown_of:
        words += f"; {points.shown_of:,} videos have an embedding"
    return (
        f"{words}. A line joins each video to the middle of its person's videos; long lines are videos that lie apart."
        f" Only who is near to whom means something, distances and directions do not. {points.method}."
        + (f" Shown: {points.note}." if points.note else "")
    )


def _places(thresholds: list[str]) -> Array:
    """Where thresholds stand: numbers as they are, others a step before the first of them; all in a row if none is."""
    on_scale = np.array([_is_number(text) for text in thresholds])
    if not on_scale.any():
        return np.arange(len(thresholds), dtype=float)
    values = np.array([float(text) for text in thresholds if _is_number(text)])
    step = float(np.median(np.diff(np.sort(values)))) if len(values) > 1 else 0.1
    places = values.min() - np.cumsum(~on_scale[::-1])[::-1] * (step or 0.1)
    places[on_scale] = values
    return np.asarray(places)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text) is not None


def _thresholds_line(
    axes: Any,
    places: Array,
    on_scale: npt.NDArray[np.bool_],
    values: list[float | None],
    look: tuple[str, Any, str],
) -> Any:
    """A line through the numbers; what is no number, such as ``none``, is a mark beside it."""
    colour, dashes, mark = look
    heights = np.array(values, np.float64)  # None is NaN
    axes.plot(places[~on_scale], heights[~on_scale], mark, color=colour, markersize=4.5)
    looks = {"marker": mark, "linestyle": dashes, "color": colour, "markersize": 4.5, "linewidth": 1.6}
    (line,) = axes.plot(places[on_scale], heights[on_scale], **looks)
    return line


def _ticks(thresholds: list[str], chosen: int | None) -> list[int]:
    """At most 13 labels; words and the chosen threshold always have theirs."""
    every = -(-len(thresholds) // 13)
    numbers = [at for at, text in enumerate(thresholds) if _is_number(text)]
    kept = numbers[::every]
    if chosen is not None:
        kept = [at for at in kept if abs(at - chosen) >= every] + [chosen]
    return sorted({*kept, *(at for at, text in enumerate(thresholds) if not _is_number(text))})


def _sweep_words(sweep: Sweep, chosen: int | None) -> str:
    parts = []
    for name, values in sweep.measures.items():
        sign, end = (-1, "lowest") if name in sweep.smaller else (1, "highest")
        known = [(sign * value, -at) for at, value in enumerate(values) if value is not None]
        if known:
            best, at = max(known)
            here = values[chosen] if chosen is not None else None
            words = f"{name} is {end} at {sweep.thresholds[-at]} ({sign * best:.4f})"
            parts.append(words + (f", {here:.4f} at the chosen one" if here is not None else ""))
    if chosen is not None:
        kept = sweep.kept[chosen]
        share = f", where {kept:.1%} of the frames are kept" if kept is not None else ""
        parts.append(f"the chosen threshold is {sweep.thresholds[chosen]}{share}")
    return shown("; ".join(parts), 2000) + "."


def _joined(histogram: Histogram) -> tuple[Array, Counts, Counts]:
    used = np.flatnonzero(histogram.same + histogram.different)
    first, last = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, len(histogram.same))
    width = -(-(last - first) // BARS)
    starts = np.arange(first, last, width)
    edges = np.append(histogram.edges[starts], histogram.edges[last])
    same, different = (
        np.add.reduceat(counts[:last], starts) for counts in (histogram.same, histogram.different)
    )
    return edges, same, different


def _close_together(thresholds: dict[str, float], gap: float) -> list[tuple[float, str]]:
    """Lines to draw, from the left; those closer than ``gap`` share one label, at the last of them."""
    lines: list[tuple[float, str]] = []
    for target, cosine in sorted(thresholds.items(), key=lambda item: (item[1], item[0])):
        if lines and cosine - lines[-1][0] < gap:
            lines[-1] = (cosine, f"{lines[-1][1]}, {target}")
        else:
            lines.append((cosine, target))
    return lines


def _powers(top: float) -> tuple[list[float], list[str]]:
    last = max(int(np.log10(top)), 0)
    every = -(-(last + 1) // 7)
    powers = range(0, last + 1, every)
    names = [f"{10**power:,}" if power < 4 else f"1e{power}" for power in powers]
    return [10.0**power for power in powers], names


def _histogram_words(histogram: Histogram) -> str:
    parts = []
    for counts, whose in ((histogram.same, "one person"), (histogram.different, "two people")):
        total = int(counts.sum())
        if total:
            middle = int(np.searchsorted(np.cumsum(counts), total / 2))
            centre = (histogram.edges[middle] + histogram.edges[middle + 1]) / 2
            parts.append(f"{counted(total, 'pair')} of {whose}, half of them above {centre:.3f}")
        else:
            parts.append(f"no pairs of {whose}")
    if histogram.same.any() and histogram.different.any():
        highest = int(np.flatnonzero(histogram.different)[-1])
        below = histogram.same[: highest + 1].sum() / histogram.same.sum()
        parts.append(f"{below:.1%} of those of one person lie no higher than the highest of two people")
    lines = ", ".join(f"{target} at {cosine:.3f}" for target, cosine in histogram.thresholds.items())
    return "; ".join(parts) + "." + (f" Lines: thresholds of FPR {lines}." if lines else "")
