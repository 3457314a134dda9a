"""Results as plain text for people: aligned columns, numbers with their intervals."""

from __future__ import annotations

from vidface.scores.tables.scores import score_lines, sweep_table
from vidface.scores.tables.text import columns, faces_line

__all__ = ["columns", "faces_line", "score_lines", "sweep_table"]
