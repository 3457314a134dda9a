"""The DET curve of open-set identification, FNIR over FPIR: every step as CSV, or drawn on logarithmic axes.

Tested in ``tests/end_to_end/test_open_set_command.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vidface.errors import UsageError
from vidface.files.atomic import write_atomic

if TYPE_CHECKING:
    from vidface.report.drawing.figures_drawing import Drawing
    from vidface.scores.metrics.open_set import Det

__all__ = ["det_drawing", "write_curve"]


def write_curve(path: Path, curve: Det | None, scores: Mapping[str, Any]) -> None:
    """Write the curve in the form that the suffix says.

    Args:
        path: ``.csv`` for every point, ``.svg`` or ``.png`` for a figure.
        curve: from `vidface.scores.protocols.open_set`.
        scores: the result that it belongs to.

    Raises:
        UsageError: there is no curve, or matplotlib is not installed.
        StoreError: the file cannot be written.
    """
    if curve is None:
        counts = scores["counts"]
        raise UsageError(
            f"{path}: there is no DET curve: {counts['mated_searches']} mated and {counts['non_mated_searches']} "
            "non-mated searches; leave out --det"
        )
    if path.suffix.lower() == ".csv":
        from vidface.report.drawing.csv_files import write_csv

        # Nothing is accepted at the first point: an empty cell.
        levels = [None, *curve.threshold[1:].tolist()]
        rows = zip(levels, curve.fpir.tolist(), curve.fnir.tolist(), strict=True)
        write_csv(path, ["threshold", "fpir", "fnir"], rows)
        return
    drawing = det_drawing(curve, scores)
    with write_atomic(path) as handle:
        handle.write(drawing.svg if path.suffix.lower() == ".svg" else drawing.png)


def det_drawing(curve: Det, scores: Mapping[str, Any]) -> Drawing:
    """FNIR over FPIR, both logarithmic, down to one search; marks at the targets."""
    from vidface.report.drawing.figures_curves import thinned
    from vidface.report.drawing.figures_drawing import COLOURS, SERIES, drawn, new_figure

    counts = scores["counts"]
    # One search is the least that can be seen; what is 0 is drawn below it, outside the axes.
    left, low = 1 / counts["non_mated_searches"], 1 / counts["mated_searches"]
    x, y = np.maximum(curve.fpir, left / 10), np.maximum(curve.fnir, low / 10)
    chosen = thinned(np.log10(x), np.log10(y))
    colour, _, mark = SERIES[0]
    points = [
        (scores["fpir_reached"][target], fnir)
        for target, fnir in scores["fnir@fpir"].items()
        if fnir and scores["fpir_reached"][target]
    ]
    with new_figure() as figure:
        axes = figure.add_subplot()
        axes.plot(x[chosen], y[chosen], color=colour, drawstyle="steps-post")
        for fpir, fnir in points:
            axes.plot(fpir, fnir, mark, color=colour, markersize=5)
            axes.annotate(f"{fnir:.4f}", (fpir, fnir), (5, 5), textcoords="offset points", fontsize=9)
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
            axes.text(0.5, 0.5, "no threshold makes both errors", transform=axes.transAxes, ha="center")
        axes.set_xlabel(f"FPIR, of {counts['non_mated_searches']:,} non-mated searches")
        axes.set_ylabel(f"FNIR, of {counts['mated_searches']:,} mated searches")
        axes.set_title(
            f"{counts['enrolled_identities']:,} enrolled identities", fontsize=10, color=COLOURS["muted"]
        )
        return drawn(figure, "det-open-set", "DET curve of open-set identification", "")
