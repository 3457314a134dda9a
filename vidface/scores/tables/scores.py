"""Scores by the two challenges' protocols, and sweeps, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.tables.image_track import image_track_lines
from vidface.scores.tables.open_set import open_set_lines
from vidface.scores.tables.pairs import pair_lines
from vidface.scores.tables.templates import template_lines
from vidface.scores.text import columns, counts_line, interval, number, rule_line, tpr_label


def score_lines(scores: Mapping[str, Any]) -> str:
    """A score object as a table of measures with 95 % intervals, then its counts and warnings."""
    if scores.get("protocol") in ("ijbb", "ijbc"):
        return template_lines(scores)
    if scores.get("protocol") in ("pairs", "folds", "ytf"):
        return pair_lines(scores)
    if scores.get("protocol") == "openset":
        return open_set_lines(scores)
    if scores.get("protocol") == "trillionpairs":
        return image_track_lines(scores)
    intervals = scores["ci95"]
    rows = [("measure", "value", "95 % interval")]
    for name in ("mAP@100", "rank1", "rank5", "rank10"):
        if scores[name] is not None:
            rows.append((name, number(scores[name]), interval(intervals[name])))
    rule = scores.get("fpr_rule", DEFAULT_RULE)
    for target, value in (scores["tpr@fpr"] or {}).items():
        rows.append((tpr_label(target, rule), number(value), interval(intervals["tpr@fpr"][target])))
    lines = [columns(rows), "", counts_line(scores["counts"])]
    lines += [rule_line(scores)] if scores["tpr@fpr"] else []
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
            cells += [_starred(row["mAP@100"], row, sweep, "mAP@100"), number(row["rank1"])]
        cells += [_starred(row["tpr@fpr"][target], row, sweep, f"tpr@fpr={target}") for target in targets]
        table.append(cells)
    warnings = dict.fromkeys(warning for row in rows for warning in row["warnings"])
    notes = ["* best of its column"]
    if targets:  # what is reached differs from row to row: it is in the JSON
        notes.append(rule_line({"fpr_rule": rows[0].get("fpr_rule", DEFAULT_RULE)}))
    return "\n".join([columns(table), "", *notes, *(f"warning: {text}" for text in warnings)])


def _starred(value: float | None, row: Mapping[str, Any], sweep: Mapping[str, Any], name: str) -> str:
    return number(value) + ("*" if sweep["best"].get(name) == row["threshold"] else " ")
