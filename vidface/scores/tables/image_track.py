"""Scores of LFRC's image track and Trillion-Pairs as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.scores.text import columns, counts_line, interval, number, rate, rule_line, tpr_label

__all__ = ["image_track_lines"]


def image_track_lines(scores: Mapping[str, Any]) -> str:
    """TPR at every FPR of verification and identification with what each reaches, then counts, rule and warnings."""
    rule, search, intervals = scores["fpr_rule"], scores["identification"], scores["ci95"]
    rows: list[tuple[str, ...]] = [("measure", "value", "95 % interval", "FPR reached", "threshold")]
    for name, part, ends in (
        ("verification", scores, intervals),
        ("identification", search, intervals["identification"]),
    ):
        for target, value in part["tpr@fpr"].items():
            reached = part["fpr_reached"][target]
            rows.append(
                (
                    f"{name}, {tpr_label(target, rule)}",
                    number(value),
                    interval(ends["tpr@fpr"][target]),
                    rate(reached),
                    number(part["threshold@fpr"][target]),
                )
            )
    first = intervals["identification"]["rank1"]
    rows.append(("identification, rank 1 at any score", number(search["rank1"]), interval(first), "", ""))
    lines = [columns(rows), "", counts_line(scores["counts"]), rule_line({"fpr_rule": rule})]
    return "\n".join(lines + [f"warning: {warning}" for warning in scores["warnings"]])
