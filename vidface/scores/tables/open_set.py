"""Scores of open-set identification as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.scores.metrics.fpr_rules import DEFAULT_RULE
from vidface.scores.text import columns, counts_line, interval, number, rate

__all__ = ["open_set_lines"]

# What is counted only where there is any.
_RARE = (
    "searches_without_usable_frame",
    "enrolled_without_usable_video",
    "enrolment_videos_without_identity",
    "videos_of_other_splits",
)


def open_set_lines(scores: Mapping[str, Any]) -> str:
    """FNIR at every FPIR, rank-k of the mated searches, and thresholds of single identities beside one for all."""
    rule, intervals = scores["fpr_rule"], scores["ci95"]
    named = "" if rule == DEFAULT_RULE else f" ({rule})"
    rows: list[tuple[str, ...]] = [("measure", "value", "95 % interval", "FPIR reached", "threshold")]
    for target, value in scores["fnir@fpir"].items():
        reached = scores["fpir_reached"][target]
        rows.append(
            (
                f"FNIR at FPIR {target}{named}",
                number(value),
                interval(intervals["fnir@fpir"][target]),
                rate(reached),
                number(scores["threshold@fpir"][target]),
            )
        )
    for name in ("rank1", "rank5", "rank10"):
        rows.append((f"{name} of mated searches", number(scores[name]), interval(intervals[name]), "", ""))
    lines = [columns(rows), ""]
    told = {target: found for target, found in scores["identity_thresholds"].items() if found is not None}
    if told:
        lines += [columns(_threshold_rows(told)), ""]
    counts = {name: n for name, n in scores["counts"].items() if n or name not in _RARE}
    lines += [counts_line(counts), f"FPIR rule {scores['definitions']['fpr_rule']}"]
    lines += [f"warning: {warning}" for warning in scores["warnings"]]
    return "\n".join(lines)


def _threshold_rows(told: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("each identity by itself", "threshold", "missed", "accepts others", "worst")
    ]
    for target, found in told.items():
        own, one = found["own"], found["one"]
        spread = f"{own['lowest']:.4f} .. {own['highest']:.4f}"
        for name, rates, threshold in (
            ("its own threshold", own, spread),
            ("one for all", one, number(one["threshold"])),
        ):
            shares = (number(rates[key]) for key in ("missed", "accepted_others", "accepted_others_worst"))
            rows.append((f"{name}, aim {target}", threshold, *shares))
    return rows
