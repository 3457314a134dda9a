"""The engine of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vidface.engines.contract import Engine
from vidface.errors import UsageError


@contextmanager
def ray_engine(workers: int | None, address: str | None) -> Iterator[Engine]:
    """The engine of a cluster; see `vidface.engines.open_engine`."""
    raise UsageError("not there yet")
    yield
