"""Clustering thresholds as text: how they are said and how they are written."""

from __future__ import annotations

import math

from vidface.errors import UsageError


def threshold_text(threshold: float | None) -> str:
    """How a threshold is written in files and tables: ``none`` or the shortest decimal."""
    return "none" if threshold is None else repr(float(threshold))


def parse_thresholds(text: str) -> list[float | None]:
    """Read ``none``, ``0.4``, ``0.2:0.6:0.05`` (both ends included), or a comma-separated list of them.

    Raises:
        UsageError: not a threshold, outside -1..1, or a step that is not positive.
    """
    thresholds: list[float | None] = []
    for item in text.split(","):
        parts = item.strip().split(":")
        try:
            if item.strip().lower() == "none":
                thresholds.append(None)
            elif len(parts) == 1:
                thresholds.append(float(parts[0]))
            else:
                start, stop, step = (float(part) for part in parts)
                if step <= 0 or stop < start:
                    raise ValueError
                # The end belongs to the range although 0.2 + 8 * 0.05 is not quite 0.6.
                count = math.floor((stop - start) / step + 1e-6) + 1
                thresholds += [round(start + k * step, 10) for k in range(count)]
        except ValueError:
            raise UsageError(
                f"threshold: cannot read '{item}'; say none, 0.4, or a range such as 0.2:0.6:0.05"
            ) from None
    wrong = [value for value in thresholds if value is not None and not -1 <= value <= 1]
    if wrong:
        raise UsageError(f"threshold: a cosine lies in -1..1, not {wrong[0]}")
    return list(dict.fromkeys(thresholds))
