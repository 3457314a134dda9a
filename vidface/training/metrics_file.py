"""Metrics of a stage as JSON Lines, and for TensorBoard where a recipe asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

from vidface.errors import UsageError
from vidface.files.atomic import write_atomic

__all__ = ["METRICS", "MetricsFile", "read_metrics"]

METRICS = "metrics.jsonl"


class MetricsFile:
    """Lines that are added as training goes on; after a kill those after the checkpoint are written again.

    ``lines`` is how many lines the checkpoint knows of; ``speaks`` is False on all ranks but the first, which write
    nothing.
    """

    def __init__(self, folder: Path, lines: int, *, tensorboard: bool, speaks: bool) -> None:
        self.lines = lines
        self._handle: BinaryIO | None = None
        self._board: Any = None
        if not speaks:
            return
        path = folder / METRICS
        kept = path.read_bytes().splitlines(keepends=True)[:lines] if path.is_file() else []
        with write_atomic(path) as whole:
            whole.writelines(kept)
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise UsageError(
                    "tensorboard = true, but it is not installed: pip install -e '.[train]', or take it out of the "
                    "recipe"
                ) from None
            purge = json.loads(kept[-1])["step"] + 1 if kept else None
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
        self._handle = path.open("ab")

    def add(self, step: int, values: dict[str, Any]) -> None:
        """One line; `step` counts the batches of the stage."""
        self.lines += 1
        if self._handle is None:
            return
        self._handle.write(json.dumps({"step": step, **values}).encode() + b"\n")
        self._handle.flush()
        if self._board is not None:
            for name, value in _numbers(values):
                self._board.add_scalar(name, value, step)

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *_error: object) -> None:
        for open_one in (self._handle, self._board):
            if open_one is not None:
                open_one.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of a stage's metrics; none where it has not begun."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.is_file() else []


def _numbers(values: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and name != "epoch":
            found.append((f"{prefix}{name}", float(value)))
    return found
