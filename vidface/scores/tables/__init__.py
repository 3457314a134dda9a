"""Results as plain text for people: aligned columns, numbers with their intervals."""

from __future__ import annotations

from vidface.scores.tables.scores import score_lines, sweep_table

__all__ = ["score_lines", "sweep_table"]
