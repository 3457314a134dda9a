"""Scores by IJB-B and IJB-C as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidface.scores.text import columns, counts_line, interval, number, rate, rule_line, tpr_label

__all__ = ["template_lines"]


def template_lines(scores: Mapping[str, Any]) -> str:
    """1:1 as a table of TPR with the FPR really reached, 1:N as one of both galleries and their mean."""
    lines = [f"{scores['protocol']}: {scores['variant']}", ""]
    if scores["tpr@fpr"]:
        rows = [("1:1", "value", "FPR reached")]
        for target, value in scores["tpr@fpr"].items():
            reached = scores["fpr_reached"][target]
            rows.append(
                (
                    tpr_label(target, scores["fpr_rule"]),
                    number(value),
                    rate(reached),
                )
            )
        lines += [columns(rows), ""]
    if scores["identification"]:
        lines += [columns(_search_rows(scores)), ""]
    lines += [counts_line(scores["counts"]), rule_line(scores)]
    lines += [f"warning: {warning}" for warning in scores["warnings"]]
    return "\n".join(lines)


def _search_rows(scores: Mapping[str, Any]) -> list[tuple[str, ...]]:
    galleries, mean = scores["identification"]["galleries"], scores["identification"]["mean"]
    intervals = scores["ci95"]["identification"]
    head = [cell for name in galleries for cell in (f"gallery {name}", "95 % interval")]
    rows: list[tuple[str, ...]] = [("1:N", *head, "mean")]
    for target, value in mean["tpir@fpir"].items():
        cells = [
            cell
            for name, each in galleries.items()
            for cell in (
                number(each["tpir@fpir"][target]),
                interval(intervals[name]["tpir@fpir"][target]),
            )
        ]
        rows.append((f"TPIR at FPIR {target}", *cells, number(value)))
    for rank in ("rank1", "rank5", "rank10"):
        cells = [
            cell
            for name, each in galleries.items()
            for cell in (number(each[rank]), interval(intervals[name][rank]))
        ]
        rows.append((rank, *cells, number(mean[rank])))
    return rows
