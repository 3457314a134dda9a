"""Whether a JSON file has the form that ``vidface score`` or ``vidface sweep`` gives it, before it is drawn.

Tested in ``tests/faults/test_result_files.py``.
"""

from __future__ import annotations

import math
from typing import Any

from vidface.scores.protocols.challenges import ranked
from vidface.scores.protocols.table import TABLE, load

__all__ = ["is_score", "is_sweep"]


def is_score(value: dict[str, Any]) -> bool:
    """Whether all that reports read of a score object is there and of its type, and rates lie from 0 to 1."""
    name, intervals = value.get("protocol"), value.get("ci95")
    counts, warnings, definitions = (value.get(part) for part in ("counts", "warnings", "definitions"))
    if not (isinstance(intervals, dict) and isinstance(counts, dict) and isinstance(definitions, dict)):
        return False
    if not (isinstance(warnings, list) and all(isinstance(text, str) for text in warnings)):
        return False
    if not all(isinstance(text, str) for text in definitions.values()):
        return False
    for count in counts.values():
        parts = count.values() if isinstance(count, dict) else [count]
        if not all(type(part) is int for part in parts):
            return False
    if not (isinstance(name, str) and name in TABLE):
        return False
    protocol = load(name)
    try:
        measures = protocol.measures(value)
        protocol.lines(value)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False
    if not all(
        _is_rate(each.value) and (each.interval is None or _is_interval(each.interval)) for each in measures
    ):
        return False
    return not protocol.figures or _has_figures(value)


def _has_figures(value: dict[str, Any]) -> bool:
    """Whether what the figures of rankings and of all pairs are drawn from is there."""
    people, rates, thresholds = (value.get(name) for name in ("per_identity", "tpr@fpr", "threshold@fpr"))
    if not (people is None or isinstance(people, dict)) or not all(
        rate is not None and _is_rate(rate) for rate in (people or {}).values()
    ):
        return False
    if any(value[name] is not None and value["ci95"][name] is None for name in ranked(value).values()):
        return False
    return rates is None or (
        isinstance(thresholds, dict)
        and all(target in thresholds and _is_number(thresholds[target]) for target in rates)
    )


def is_sweep(value: dict[str, Any]) -> bool:
    """Likewise of a sweep: rows that are score objects of the same measures, each with its threshold."""
    rows, best = value.get("rows"), value.get("best")
    if not (isinstance(rows, list) and rows and isinstance(best, dict)):
        return False
    return all(isinstance(text, str) for text in best.values()) and all(
        isinstance(row, dict)
        and isinstance(row.get("threshold"), str)
        and _is_rate(row.get("kept"))
        and is_score(row)
        and _labels(row) == _labels(rows[0])
        for row in rows
    )


def _labels(row: dict[str, Any]) -> list[str]:
    """What is measured; of an object that is a score object."""
    return [each.label for each in load(row["protocol"]).measures(row)]


def _is_number(value: Any) -> bool:
    if value is None:
        return True
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def _is_rate(value: Any) -> bool:
    return _is_number(value) and (value is None or 0 <= value <= 1)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and None not in value and all(map(_is_rate, value))
