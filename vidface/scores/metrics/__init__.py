"""Scores, one metric a file: pure functions on arrays, each with its definition in its docstring."""
