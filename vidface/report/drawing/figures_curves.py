"""Curves of one run or of several over one another: ROC, DET, CMC; the DET curve of open-set identification.

Curves are drawn as steps, at most `LIMIT` of them: those left out lie within a three hundredth of the axes, about a
pixel, of their neighbours. The points at the targets are exact. Martin et al., The DET Curve in Assessment of
Detection Task Performance, Eurospeech 1997.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.files.atomic import write_atomic
from vidface.report.drawing.figures_drawing import COLOURS, Drawing, drawn, legend, new_figure, series
from vidface.report.drawing.files import write_csv
from vidface.report.drawing.html import interval
from vidface.report.run.content import Cmc, Curves
from vidface.scores.metrics.listed_pairs import equal_error_rate_of_curve
from vidface.scores.metrics.open_set import Det
from vidface.scores.protocols.protocol import RANKS
from vidface.scores.text import counted

LIMIT = 600
Array = npt.NDArray[np.float64]
_DEVIATE_TICKS = [
    *(10.0**-power for power in range(9, 2, -1)),
    *(0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999),
]
_SMALL: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}
_NO_ERRORS = "no threshold makes both errors"


def roc_figure(runs: Sequence[tuple[str, Curves]]) -> Drawing:
    """TPR over FPR on a log axis, the exact points at the targets with their intervals; several runs get a legend."""
    left = min(_left_end(curves) for _, curves in runs)
    lowest = 1.0
    with new_figure() as figure:
        axes = figure.add_subplot()
        lines = []
        for at, (name, curves) in enumerate(runs):
            colour, dashes, mark = series(at)
            x = np.maximum(curves.fpr, left / 3)
            kept = thinned(np.log10(x), curves.tpr)
            lines.append((_steps(axes, x[kept], curves.tpr[kept], colour, dashes), name))
            for point in curves.points:
                if point.tpr is None:
                    continue
                if point.low is not None and point.high is not None:
                    axes.plot([point.fpr] * 2, [point.low, point.high], color=colour, linewidth=1.1)
                    lowest = min(lowest, point.low)
                axes.plot(point.fpr, point.tpr, mark, color=colour, markersize=5)
                if len(runs) == 1:
                    axes.annotate(f"{point.tpr:.4f}", (point.fpr, point.tpr), (5, -12), **_SMALL)
                lowest = min(lowest, point.tpr)
            lowest = min(lowest, *curves.tpr[curves.fpr <= left][-1:], 1.0)
        powers = range(round(math.log10(left)), 1)
        axes.set_xscale("log")
        axes.set_xlim(left, 1.0)
        axes.set_xticks([10.0**power for power in powers], [_rate(10.0**power) for power in powers])
        axes.minorticks_off()
        axes.set_xlabel("false positive rate (FPR)")
        _rate_axis(axes, "true positive rate (TPR)", lowest)
        if len(runs) > 1:
            legend(axes, lines, loc="lower right")
        return drawn(figure, "roc", "ROC curve", _each(runs, _roc_words))


def det_figure(runs: Sequence[tuple[str, Curves]]) -> Drawing:
    """FNMR (1 - TPR) over FPR, both on normal deviate axes; dotted where the two are equal."""
    left = min(_left_end(curves) for _, curves in runs)
    floor = max(min(1 / max(curves.genuine_pairs, 1) for _, curves in runs), 1e-6)
    low = max(tick for tick in _DEVIATE_TICKS[:8] if tick <= floor)
    highest, empty = 0.1, True
    with new_figure() as figure:
        axes = figure.add_subplot()
        lines = []
        for at, (name, curves) in enumerate(runs):
            colour, dashes, mark = series(at)
            fnmr = 1 - curves.tpr
            x, y = _deviate(np.clip(curves.fpr, left / 3, 0.9)), _deviate(np.clip(fnmr, low / 3, 0.9999))
            kept = thinned(x, y)
            lines.append((_steps(axes, x[kept], y[kept], colour, dashes), name))
            empty &= not ((curves.fpr > 0) & (curves.fpr < 1) & (fnmr > 0)).any()
            highest = max([highest, *fnmr[curves.fpr <= left][-1:]])
            known = [(each.fpr, 1 - each.tpr) for each in curves.points if each.tpr and each.tpr < 1]
            places = _deviate(np.array(known).reshape(-1, 2).T.ravel()).reshape(2, -1)
            axes.plot(*places, mark, color=colour, markersize=5)
        high = min((tick for tick in _DEVIATE_TICKS if tick > highest), default=0.999)
        for limit, set_ticks, ends in (
            (axes.set_xlim, axes.set_xticks, (left, 0.5)),
            (axes.set_ylim, axes.set_yticks, (low, high)),
        ):
            ticks = [tick for tick in _DEVIATE_TICKS if ends[0] * 0.99 <= tick <= ends[1]]
            set_ticks(_deviate(np.array(ticks)), [_rate(tick) for tick in ticks])
            limit(*_deviate(np.array(ends)))
        both = _deviate(np.array([max(left, low), min(0.5, high)]))
        axes.plot(both, both, ":", color=COLOURS["muted"], linewidth=1)
        if empty:
            axes.text(0.5, 0.5, _NO_ERRORS, transform=axes.transAxes, ha="center")
        axes.set_xlabel("false positive rate (FPR), normal deviates")
        axes.set_ylabel("false negative rate (1 - TPR)")
        if len(runs) > 1:
            legend(axes, lines, loc="upper right")
        words = f"{_each(runs, _det_words)} The dotted line is where both errors are equal."
        return drawn(figure, "det", "DET curve", words)


def cmc_figure(runs: Sequence[tuple[str, Cmc]]) -> Drawing:
    """Share of the identities that have a hit among the first k, over k."""
    with new_figure() as figure:
        axes = figure.add_subplot()
        lines = []
        for at, (name, cmc) in enumerate(runs):
            colour, dashes, mark = series(at)
            lines.append((_steps(axes, cmc.ranks, cmc.rate, colour, dashes), name))
            for rank, rate in _marked(cmc):
                axes.plot(rank, rate, mark, color=colour, markersize=5)
                if len(runs) == 1:
                    axes.annotate(f"{rate:.4f}", (rank, rate), (3, -13), **_SMALL)
        last = max(int(cmc.ranks[-1]) for _, cmc in runs)
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= last]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(0.9, max(last, 2) * 1.1)
        axes.set_xlabel("rank k")
        _rate_axis(axes, "identities with a hit by rank k", min(float(cmc.rate[0]) for _, cmc in runs))
        if len(runs) > 1:
            legend(axes, lines, loc="lower right")
        return drawn(figure, "cmc", "Cumulative match characteristic", _each(runs, _cmc_words))


def write_open_set_curve(path: Path, curve: Det | None, scores: Mapping[str, Any]) -> None:
    """Write the DET curve of the result ``scores``: every point as ``.csv``, a figure as ``.svg`` or ``.png``.

    UsageError without a curve or matplotlib; StoreError if the file cannot be written.
    """
    if curve is None:
        counts = scores["counts"]
        raise UsageError(
            f"{path}: there is no DET curve: {counts['mated_searches']} mated and {counts['non_mated_searches']} "
            "non-mated searches; leave out --det"
        )
    suffix = path.suffix.lower()
    if suffix == ".csv":
        levels = [
            None,
            *curve.threshold[1:].tolist(),
        ]  # nothing is accepted at the first point: an empty cell
        rows = zip(levels, curve.fpir.tolist(), curve.fnir.tolist(), strict=True)
        write_csv(path, ["threshold", "fpir", "fnir"], rows)
        return
    drawing = open_set_figure(curve, scores)
    with write_atomic(path) as handle:
        handle.write(drawing.svg if suffix == ".svg" else drawing.png)


def open_set_figure(curve: Det, scores: Mapping[str, Any]) -> Drawing:
    """FNIR over FPIR, both logarithmic, down to one search; marks at the targets."""
    counts = scores["counts"]
    # One search is the least that can be seen; what is 0 is drawn below it, outside the axes.
    left, low = 1 / counts["non_mated_searches"], 1 / counts["mated_searches"]
    x, y = np.maximum(curve.fpir, left / 10), np.maximum(curve.fnir, low / 10)
    colour, dashes, mark = series(0)
    with new_figure() as figure:
        axes = figure.add_subplot()
        kept = thinned(np.log10(x), np.log10(y))
        _steps(axes, x[kept], y[kept], colour, dashes)
        for target, fnir in scores["fnir@fpir"].items():
            if fnir and (fpir := scores["fpir_reached"][target]):
                axes.plot(fpir, fnir, mark, color=colour, markersize=5)
                axes.annotate(f"{fnir:.4f}", (fpir, fnir), (5, 5), **_SMALL)
        axes.set_xscale("log")
        axes.set_yscale("log")
        seen = curve.fnir[(curve.fpir < 1) & (curve.fnir > 0)].min()
        for limit, ticks, (lowest, highest) in (
            (axes.set_xlim, axes.set_xticks, (left / 1.3, 1.0)),
            (axes.set_ylim, axes.set_yticks, (seen / 1.3, 1.05)),
        ):
            limit(lowest, highest)
            decade = range(math.floor(math.log10(lowest)), 1)
            digits = (1,) if len(decade) > 2 else (1, 2, 5)
            places = [digit * 10.0**power for power in decade for digit in digits]
            places = [place for place in places if lowest <= place <= highest]
            ticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        if not ((curve.fpir >= left) & (curve.fpir < 1) & (curve.fnir > 0)).any():
            axes.text(0.5, 0.5, _NO_ERRORS, transform=axes.transAxes, ha="center")
        axes.set_xlabel(f"FPIR, of {counts['non_mated_searches']:,} non-mated searches")
        axes.set_ylabel(f"FNIR, of {counts['mated_searches']:,} mated searches")
        enrolled = f"{counts['enrolled_identities']:,} enrolled identities"
        axes.set_title(enrolled, fontsize=10, color=COLOURS["muted"])
        return drawn(figure, "det-open-set", "DET curve of open-set identification", "")


def thinned(x: Array, y: Array) -> npt.NDArray[np.int64]:
    """Ascending rows of at most `LIMIT` points, evenly along a finite curve in axis units, with the first and last."""
    if len(x) <= LIMIT:
        return np.arange(len(x))
    steps = sum(np.abs(np.diff(values)) / (np.ptp(values) or 1.0) for values in (x, y))
    way = np.concatenate([[0.0], np.cumsum(steps)])
    chosen = np.searchsorted(way, np.linspace(0, way[-1], LIMIT - 1))
    return np.unique(np.append(chosen, len(x) - 1))


def _steps(axes: Any, x: npt.NDArray[Any], y: Array, colour: str, dashes: Any) -> Any:
    (line,) = axes.plot(x, y, linestyle=dashes, color=colour, drawstyle="steps-post")
    return line


def _left_end(curves: Curves) -> float:
    """One decade below the lowest target, but not below one impostor pair."""
    known = [point.fpr for point in curves.points if point.tpr is not None]
    lowest = max(min(known, default=1e-3) / 10, 1 / max(curves.impostor_pairs, 1), 1e-9)
    return float(min(10.0 ** math.floor(math.log10(lowest) + 1e-9), 0.1))


def _rate_axis(axes: Any, label: str, lowest: float) -> None:
    """Rates upwards from 0.9, 0.5 or 0, as high as the lowest one allows; a label says so if it is not 0."""
    bottom = 0.0 if lowest < 0.5 else 0.5 if lowest < 0.9 else 0.9
    axes.set_ylim(bottom, 1.0 + 0.02 * (1 - bottom))
    axes.set_ylabel(label + (f", from {bottom}" if bottom else ""))


def _rate(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.01 else f"{value:g}"


def _deviate(rates: Array) -> Array:
    return np.array([NormalDist().inv_cdf(rate) for rate in rates])


def _marked(cmc: Cmc) -> list[tuple[int, float]]:
    both = zip(cmc.ranks.tolist(), cmc.rate.tolist(), strict=True)
    return [(rank, rate) for rank, rate in both if rank in RANKS]


def _each(runs: Sequence[tuple[str, Any]], words: Callable[[Any], str]) -> str:
    return " ".join(f"{name}: {words(each)}" if name else words(each) for name, each in runs)


def _roc_words(curves: Curves) -> str:
    parts = []
    for point in curves.points:
        if point.tpr is not None:
            ends = interval(point.low, point.high)
            parts.append(f"{point.tpr:.4f} at FPR {point.target}" + (f" ({ends})" if ends else ""))
    known = "Too few pairs for a point at any target"
    if parts:
        known = f"TPR {', '.join(parts)} (FPR rule {curves.rule})"
    pairs = counted(curves.genuine_pairs, "pair")
    return f"{known}; {pairs} of one person, {curves.impostor_pairs:,} of two."


def _det_words(curves: Curves) -> str:
    if not len(curves.fpr):
        return "No pairs."
    return f"Equal error rate {equal_error_rate_of_curve(curves.fpr, 1 - curves.tpr):.4f}."


def _cmc_words(cmc: Cmc) -> str:
    parts = [f"{rate:.4f} by rank {rank}" for rank, rate in _marked(cmc)]
    return f"Identities with a hit: {', '.join(parts)}, of {cmc.identities:,}."
