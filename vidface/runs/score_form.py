"""Whether a JSON file has the form that ``vidface score`` or ``vidface sweep`` gives it, before it is drawn.

Tested in ``tests/faults/test_result_files.py``.
"""

from __future__ import annotations

import math
from typing import Any

from vidface.scores.protocols import iqiyi

__all__ = ["is_score", "is_sweep"]

_MEASURES = ("mAP@100", *(f"rank{k}" for k in iqiyi.RANKS))


def is_score(value: dict[str, Any]) -> bool:
    """Whether all that reports read of a score object is there and of its type, and rates lie from 0 to 1."""
    rates, thresholds, intervals = (value.get(name) for name in ("tpr@fpr", "threshold@fpr", "ci95"))
    counts, warnings, definitions = (value.get(name) for name in ("counts", "warnings", "definitions"))
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
    people = value.get("per_identity")
    if not (people is None or isinstance(people, dict)) or not all(
        rate is not None and _is_rate(rate) for rate in (people or {}).values()
    ):
        return False
    for name in _MEASURES:
        if not _is_rate(value.get(name)):
            return False
        if value.get(name) is not None and not _is_interval(intervals.get(name)):
            return False
    if rates is None:
        return True
    of_rates = intervals.get("tpr@fpr")
    if not (isinstance(rates, dict) and isinstance(thresholds, dict) and isinstance(of_rates, dict)):
        return False
    return all(
        _is_rate(rate)
        and target in thresholds
        and _is_number(thresholds[target])
        and target in of_rates
        and (of_rates[target] is None or _is_interval(of_rates[target]))
        for target, rate in rates.items()
    )


def is_sweep(value: dict[str, Any]) -> bool:
    """Likewise of a sweep: rows that are score objects of the same targets, each with its threshold."""
    rows, best = value.get("rows"), value.get("best")
    if not (isinstance(rows, list) and rows and isinstance(best, dict)):
        return False
    return all(isinstance(text, str) for text in best.values()) and all(
        isinstance(row, dict)
        and isinstance(row.get("threshold"), str)
        and _is_rate(row.get("kept"))
        and is_score(row)
        and (row["tpr@fpr"] or {}).keys() == (rows[0]["tpr@fpr"] or {}).keys()
        for row in rows
    )


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
