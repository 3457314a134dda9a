"""Curves of one run or of several over one another: ROC, DET, CMC.

Curves are drawn as the steps that they are, at most `LIMIT` of them: those that are left out lie within a three
hundredth of the axes of their neighbours, which is a pixel. The points at the targets are exact, whatever the steps
are. Martin et al., The DET Curve in Assessment of Detection Task Performance, Eurospeech 1997. Tested in
``tests/report/drawing/test_figures.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.report.drawing.figures_drawing import COLOURS, SERIES, Drawing, drawn, legend, new_figure
from vidface.report.drawing.html import interval
from vidface.report.run.content import Cmc, Curves
from vidface.scores.metrics.listed_pairs import equal_error_rate_of_curve
from vidface.scores.protocols.protocol import RANKS
from vidface.scores.text import counted

__all__ = ["LIMIT", "cmc_figure", "det_figure", "roc_figure", "thinned"]

LIMIT = 600
Array = npt.NDArray[np.float64]
_DEVIATE_TICKS = [
    *(10.0**-power for power in range(9, 2, -1)),
    *(0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 0.999),
]


def roc_figure(runs: Sequence[tuple[str, Curves]]) -> Drawing:
    """TPR over FPR on a log axis, the exact points at the targets with their intervals.

    Args:
        runs: (name, curves); a single one needs no name, several get a legend.
    """
    left = min(_left_end(curves) for _, curves in runs)
    lowest = 1.0
    with new_figure() as figure:
        axes = figure.add_subplot()
        lines = []
        for (name, curves), (colour, dashes, mark) in zip(runs, _series(len(runs)), strict=True):
            x = np.maximum(curves.fpr, left / 3)
            shown = thinned(np.log10(x), curves.tpr)
            (line,) = axes.plot(
                x[shown], curves.tpr[shown], linestyle=dashes, color=colour, drawstyle="steps-post"
            )
            lines.append((line, name))
            lowest = min(lowest, *_heights(axes, curves, colour, mark, several=len(runs) > 1))
            lowest = min(lowest, *curves.tpr[curves.fpr <= left][-1:], 1.0)
        axes.set_xscale("log")
        axes.set_xlim(left, 1.0)
        axes.set_xticks(*_decades(left))
        axes.minorticks_off()
        axes.set_xlabel("false positive rate (FPR)")
        _rate_axis(axes, "true positive rate (TPR)", lowest)
        if len(runs) > 1:
            legend(axes, lines, loc="lower right")
        summary = " ".join(_each(name, _roc_words(curves)) for name, curves in runs)
        return drawn(figure, "roc", "ROC curve", summary)


def det_figure(runs: Sequence[tuple[str, Curves]]) -> Drawing:
    """FNMR (1 - TPR) over FPR, both on normal deviate axes; dotted where both are equal."""
    left = min(_left_end(curves) for _, curves in runs)
    floor = max(min(1 / max(curves.genuine_pairs, 1) for _, curves in runs), 1e-6)
    low = max(tick for tick in _DEVIATE_TICKS[:8] if tick <= floor)
    highest, empty = 0.1, True
    with new_figure() as figure:
        axes = figure.add_subplot()
        lines = []
        for (name, curves), (colour, dashes, mark) in zip(runs, _series(len(runs)), strict=True):
            fnmr = 1 - curves.tpr
            x, y = _deviate(np.clip(curves.fpr, left / 3, 0.9)), _deviate(np.clip(fnmr, low / 3, 0.9999))
            shown = thinned(x, y)
            (line,) = axes.plot(x[shown], y[shown], linestyle=dashes, color=colour, drawstyle="steps-post")
            lines.append((line, name))
            empty &= not ((curves.fpr > 0) & (curves.fpr < 1) & (fnmr > 0)).any()
            highest = max([highest, *fnmr[curves.fpr <= left][-1:]])
            known = [point for point in curves.points if point.tpr is not None and 0 < point.tpr < 1]
            axes.plot(
                _deviate(np.array([point.fpr for point in known])),
                _deviate(np.array([1 - (point.tpr or 0.0) for point in known])),
                mark,
                color=colour,
                markersize=5,
            )
        high = min((tick for tick in _DEVIATE_TICKS if tick > highest), default=0.999)
        _deviate_axis(axes.set_xlim, axes.set_xticks, left, 0.5)
        _deviate_axis(axes.set_ylim, axes.set_yticks, low, high)
        ends = _deviate(np.array([max(left, low), min(0.5, high)]))
        axes.plot(ends, ends, ":", color=COLOURS["muted"], linewidth=1)
        if empty:
            axes.text(0.5, 0.5, "no threshold makes both errors", transform=axes.transAxes, ha="center")
        axes.set_xlabel("false positive rate (FPR), normal deviates")
        axes.set_ylabel("false negative rate (1 - TPR)")
        if len(runs) > 1:
            legend(axes, lines, loc="upper right")
        summary = " ".join(_each(name, _det_words(curves)) for name, curves in runs)
        return drawn(figure, "det", "DET curve", f"{summary} The dotted line is where both errors are equal.")


def cmc_figure(runs: Sequence[tuple[str, Cmc]]) -> Drawing:
    """Share of the identities that have a hit among the first k, over k."""
    with new_figure() as figure:
        axes = figure.add_subplot()
        lines = []
        for (name, cmc), (colour, dashes, mark) in zip(runs, _series(len(runs)), strict=True):
            (line,) = axes.plot(cmc.ranks, cmc.rate, linestyle=dashes, color=colour, drawstyle="steps-post")
            lines.append((line, name))
            for rank, rate in _marked(cmc):
                axes.plot(rank, rate, mark, color=colour, markersize=5)
                if len(runs) == 1:
                    axes.annotate(
                        f"{rate:.4f}", (rank, rate), (3, -13), textcoords="offset points", fontsize=9
                    )
        last = max(int(cmc.ranks[-1]) for _, cmc in runs)
        lowest = min(float(cmc.rate[0]) for _, cmc in runs)
        axes.set_xscale("log")
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= last]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlim(0.9, max(last, 2) * 1.1)
        axes.set_xlabel("rank k")
        _rate_axis(axes, "identities with a hit by rank k", lowest)
        if len(runs) > 1:
            legend(axes, lines, loc="lower right")
        summary = " ".join(_each(name, _cmc_words(cmc)) for name, cmc in runs)
        return drawn(figure, "cmc", "Cumulative match characteristic", summary)


def thinned(x: Array, y: Array, limit: int = LIMIT) -> npt.NDArray[np.int64]:
    """Choose at most ``limit`` points of a curve, evenly along its way, the first and the last among them.

    Args:
        x, y: float64 [P], finite, in the units of the axes that they are drawn on.
        limit: at least 2.

    Returns:
        int64, rising: rows of the points.
    """
    if len(x) <= limit:
        return np.arange(len(x))
    steps = sum(np.abs(np.diff(values)) / (np.ptp(values) or 1.0) for values in (x, y))
    way = np.concatenate([[0.0], np.cumsum(steps)])
    chosen = np.searchsorted(way, np.linspace(0, way[-1], limit - 1))
    return np.unique(np.append(chosen, len(x) - 1))


def _series(count: int) -> list[tuple[str, Any, str]]:
    return [SERIES[at % len(SERIES)] for at in range(count)]


def _left_end(curves: Curves) -> float:
    """One decade below the lowest target, but not below one impostor pair."""
    known = [point.fpr for point in curves.points if point.tpr is not None]
    lowest = max(min(known, default=1e-3) / 10, 1 / max(curves.impostor_pairs, 1), 1e-9)
    return float(min(10.0 ** math.floor(math.log10(lowest) + 1e-9), 0.1))


def _heights(axes: Any, curves: Curves, colour: str, mark: str, *, several: bool) -> list[float]:
    """Draw the points at the targets, and return how low they and their intervals reach."""
    reached = [1.0]
    for point in curves.points:
        if point.tpr is None:
            continue
        if point.low is not None and point.high is not None:
            axes.plot([point.fpr] * 2, [point.low, point.high], color=colour, linewidth=1.1)
            reached.append(point.low)
        axes.plot(point.fpr, point.tpr, mark, color=colour, markersize=5)
        if not several:
            axes.annotate(
                f"{point.tpr:.4f}",
                (point.fpr, point.tpr),
                (5, -12),
                textcoords="offset points",
                fontsize=9,
            )
        reached.append(point.tpr)
    return reached


def _rate_axis(axes: Any, label: str, lowest: float) -> None:
    """Rates upwards, from 0.9, 0.5 or 0, as high as the lowest one allows; a label says where it is not 0."""
    bottom = 0.0 if lowest < 0.5 else 0.5 if lowest < 0.9 else 0.9
    axes.set_ylim(bottom, 1.0 + 0.02 * (1 - bottom))
    axes.set_ylabel(label + (f", from {bottom}" if bottom else ""))


def _decades(left: float) -> tuple[list[float], list[str]]:
    powers = range(round(math.log10(left)), 1)
    return [10.0**power for power in powers], [_rate(10.0**power) for power in powers]


def _rate(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-") if value < 0.01 else f"{value:g}"


def _deviate(rates: Array) -> Array:
    return np.array([NormalDist().inv_cdf(rate) for rate in rates])


def _deviate_axis(
    set_ends: Callable[[float, float], Any], set_ticks: Callable[..., Any], low: float, high: float
) -> None:
    ticks = [tick for tick in _DEVIATE_TICKS if low * 0.99 <= tick <= high]
    set_ticks(_deviate(np.array(ticks)), [_rate(tick) for tick in ticks])
    first, last = _deviate(np.array([low, high]))
    set_ends(float(first), float(last))


def _marked(cmc: Cmc) -> list[tuple[int, float]]:
    return [
        (int(rank), float(rate)) for rank, rate in zip(cmc.ranks, cmc.rate, strict=True) if int(rank) in RANKS
    ]


def _each(name: str, words: str) -> str:
    return f"{name}: {words}" if name else words


def _roc_words(curves: Curves) -> str:
    parts = []
    for point in curves.points:
        if point.tpr is not None:
            ends = interval(point.low, point.high)
            parts.append(f"{point.tpr:.4f} at FPR {point.target}" + (f" ({ends})" if ends else ""))
    known = f"TPR {', '.join(parts)}" if parts else "Too few pairs for a point at any target"
    known += f" (FPR rule {curves.rule})" if parts else ""
    return (
        f"{known}; {counted(curves.genuine_pairs, 'pair')} of one person, {curves.impostor_pairs:,} of two."
    )


def _det_words(curves: Curves) -> str:
    if not len(curves.fpr):
        return "No pairs."
    return f"Equal error rate {equal_error_rate_of_curve(curves.fpr, 1 - curves.tpr):.4f}."


def _cmc_words(cmc: Cmc) -> str:
    parts = [f"{rate:.4f} by rank {rank}" for rank, rate in _marked(cmc)]
    return f"Identities with a hit: {', '.join(parts)}, of {cmc.identities:,}."
