"""Aligned columns, numbers and intervals as text."""

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


def number(value: float | None) -> str:
    """Four places; - where there is none."""
    return "-" if value is None else f"{value:.4f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Both ends; - where there is none."""
    return "-" if bounds is None else f"{bounds[0]:.4f} .. {bounds[1]:.4f}"


def counts_line(counts: Mapping[str, Any]) -> str:
    """What numbers rest on: ``191 identities, 18,145 genuine pairs``; what is told elsewhere is left out."""
    told = ("status", "zero_embeddings")
    return ", ".join(
        f"{value} {name.replace('_', ' ')}" for name, value in counts.items() if name not in told
    )
