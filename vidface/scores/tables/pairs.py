"""Scores over listed pairs as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.scores.text import columns, interval, number, rate, rule_line, tpr_label

SHOWN = 5  # problems of a list; all are in the JSON


def pair_lines(scores: Mapping[str, Any]) -> str:
    """Measures with intervals, folds, counts, warnings, and the first problems of the list."""
    intervals, rule = scores["ci95"], scores["fpr_rule"]
    rows = [("measure", "value", "95 % interval")]
    if "accuracy" in scores:
        rows.append(("accuracy by folds", number(scores["accuracy"]), interval(intervals["accuracy"])))
        rows.append(("  std over folds", number(scores["std"]), "-"))
        rows.append(("  standard error", number(scores["standard_error"]), "-"))
    if scores.get("val@far"):
        val = scores["val@far"]
        rows.append((f"VAL at FAR {val['target']} by folds", number(val["val"]), "-"))
        rows.append(("  FAR reached", rate(val["far"]), "-"))
    rows += [(name.upper(), number(scores[name]), interval(intervals[name])) for name in ("auc", "eer")]
    for target, value in scores["tpr@fpr"].items():
        rows.append((tpr_label(target, rule), number(value), interval(intervals["tpr@fpr"][target])))
    lines = [columns(rows), ""]
    if "folds" in scores:
        lines += [_folds(scores), ""]
    counts = scores["counts"]
    lines.append(
        f"{counts['pairs']} pairs ({counts['same']} same, {counts['different']} different) of {counts['listed']} "
        f"listed, {counts['videos']} videos"
    )
    lines.append(rule_line(scores))
    if scores["protocol"] == "ytf":
        lines.append(f"frames: {scores['definitions']['frames']}")
    lines += [f"warning: {warning}" for warning in scores["warnings"]]
    problems = scores["problems"]
    lines += problems[:SHOWN]
    if len(problems) > SHOWN:
        lines.append(f"... {len(problems) - SHOWN} more lines of the list are named in the JSON (-o, --json)")
    return "\n".join(lines)


def _folds(scores: Mapping[str, Any]) -> str:
    """A row a fold: thresholds as squared distance, and as the cosine that this is."""
    rows = [("fold", "pairs", "same", "accuracy", "threshold d2", "as cosine")]
    for row in scores["folds"]:
        rows.append(
            (
                str(row["fold"]),
                str(row["pairs"]),
                str(row["same"]),
                number(row["accuracy"]),
                f"{row['threshold']:.2f}",
                f"{1 - row['threshold'] / 2:.3f}",
            )
        )
    return columns(rows)
