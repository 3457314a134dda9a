"""Results as plain text for people: aligned columns, percentages with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Align the cells of all rows: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def score_lines(scores: Mapping[str, Any]) -> str:
    """A score object as a table of measures with 95 % intervals, then its counts and warnings."""
    intervals = scores["ci95"]
    rows = [("measure", "value", "95 % interval")]
    for name in ("mAP@100", "rank1", "rank5", "rank10"):
        if scores[name] is not None:
            rows.append((name, _number(scores[name]), _interval(intervals[name])))
    for target, value in (scores["tpr@fpr"] or {}).items():
        rows.append((f"TPR at FPR {target}", _number(value), _interval(intervals["tpr@fpr"][target])))
    counts = {
        name: value for name, value in scores["counts"].items() if name not in ("status", "zero_embeddings")
    }
    lines = [
        columns(rows),
        "",
        ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items()),
    ]
    lines += [f"warning: {warning}" for warning in scores["warnings"]]
    return "\n".join(lines)


def sweep_table(sweep: Mapping[str, Any]) -> str:
    """A sweep as the paper's table 5: a row a threshold; the best of each column has a star."""
    rows = sweep["rows"]
    targets = [t for t in (rows[0]["tpr@fpr"] or {}) if any(row["tpr@fpr"][t] is not None for row in rows)]
    has_map = rows[0]["mAP@100"] is not None
    head = ["threshold", "frames kept", *(["mAP@100", "rank1"] if has_map else [])]
    table = [[*head, *(f"TPR@FPR={target}" for target in targets)]]
    for row in rows:
        kept = "-" if row["kept"] is None else f"{row['kept']:.1%}"
        cells = [row["threshold"], kept]
        if has_map:
            cells += [_starred(row["mAP@100"], row, sweep, "mAP@100"), _number(row["rank1"])]
        cells += [_starred(row["tpr@fpr"][target], row, sweep, f"tpr@fpr={target}") for target in targets]
        table.append(cells)
    warnings = dict.fromkeys(warning for row in rows for warning in row["warnings"])
    return "\n".join([columns(table), "", "* best of its column", *(f"warning: {text}" for text in warnings)])


def _starred(value: float | None, row: Mapping[str, Any], sweep: Mapping[str, Any], name: str) -> str:
    return _number(value) + ("*" if sweep["best"].get(name) == row["threshold"] else " ")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.4f} .. {bounds[1]:.4f}"


def faces_line(counts: Mapping[str, int], kept: int) -> str:
    """What became of the faces that were found, from `vidface.store.FACE_COUNTS`: those left out by reason."""
    reasons = {
        "too_small": "too small",
        "turned": "turned away",
        "blurred": "blurred",
        "not_finite": "without usable features",
        "other_track": "of others than the main person",
    }
    parts = [f"{counts['found']} found", f"{kept} kept"]
    parts += [f"{counts[name]} {reason}" for name, reason in reasons.items() if counts[name]]
    return f"faces: {', '.join(parts)}; {counts['without_face']} of {counts['frames']} frames show none"
