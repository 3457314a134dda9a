"""Whether a JSON file has the form that ``vidface score`` or ``vidface sweep`` gives it, before it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from vidface.scores.protocols.challenges import ranked
from vidface.scores.protocols.table import load


def is_score(value: dict[str, Any]) -> bool:
    """Whether all that reports read of a score object is there and of its type, and rates lie from 0 to 1."""
    return _holds(_is_score, value)


def is_sweep(value: dict[str, Any]) -> bool:
    """Likewise of a sweep: rows that are score objects of the same measures, each with its threshold."""
    return _holds(_is_sweep, value)


def _holds(check: Callable[[dict[str, Any]], bool], value: dict[str, Any]) -> bool:
    """Whether a check holds; what is missing or of another type would end it with one of these errors."""
    try:
        return check(value)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


def _is_score(value: dict[str, Any]) -> bool:
    protocol = load(value["protocol"])
    measures = protocol.measures(value)
    protocol.lines(value)
    counts: list[Any] = []
    for count in value["counts"].values():
        counts += count.values() if isinstance(count, dict) else [count]
    return (
        isinstance(value["warnings"], list)
        and all(isinstance(text, str) for text in (*value["warnings"], *value["definitions"].values()))
        and all(type(count) is int for count in counts)
        and all(_is_rate(each.value) and _is_interval(each.interval) for each in measures)
        and isinstance(value["ci95"], dict)
        and (not protocol.figures or _has_figures(value))
    )


def _has_figures(value: dict[str, Any]) -> bool:
    """Whether what the figures of rankings and of all pairs are drawn from is there."""
    people, rates = value.get("per_identity"), value.get("tpr@fpr")
    return (
        (people is None or all(rate is not None and _is_rate(rate) for rate in people.values()))
        and all(value["ci95"][name] for name in ranked(value).values() if value[name] is not None)
        and (rates is None or all(_is_number(value["threshold@fpr"][target]) for target in rates))
    )


def _is_sweep(value: dict[str, Any]) -> bool:
    rows = value["rows"]
    return (
        bool(rows)
        and all(isinstance(text, str) for text in value["best"].values())
        and all(
            isinstance(row["threshold"], str)
            and _is_rate(row["kept"])
            and _is_score(row)
            and _labels(row) == _labels(rows[0])
            for row in rows
        )
    )


def _labels(row: dict[str, Any]) -> list[str]:
    return [each.label for each in load(row["protocol"]).measures(row)]


def _is_number(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))


def _is_rate(value: Any) -> bool:
    return _is_number(value) and (value is None or 0 <= value <= 1)


def _is_interval(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and len(value) == 2 and None not in value and all(map(_is_rate, value))
