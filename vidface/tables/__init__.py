"""Results as plain text for people: aligned columns, numbers with their intervals."""

from __future__ import annotations

from vidface.tables.faces import faces_line
from vidface.tables.scores import score_lines, sweep_table
from vidface.tables.text import columns

__all__ = ["columns", "faces_line", "score_lines", "sweep_table"]
