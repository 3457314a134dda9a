"""The file that a stage writes: held, already there or refused, written whole, with its faults beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidface.errors import ChangedError
from vidface.files.atomic import spare_inputs
from vidface.files.faults import record_faults
from vidface.files.locks import exclusive, refuse_changed
from vidface.files.store import Fault


class StageOutput:
    """An output that is held, see `stage_output`; ``already_done``: it is there, made from the same."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        """``overwrite``: what was made otherwise is replaced, not refused."""
        self.already_done = path.exists()
        self._path, self._overwrite = path, overwrite

    def compare(self, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Refuse the file that is there, or have it made again, if it was made otherwise; see `is_same`."""
        self.already_done = is_same(self._path, was, now, overwrite=self._overwrite)

    def list_faults(self, faults: Iterable[Fault]) -> None:
        """List its faults in ``faults.jsonl``. Before the file itself: once that is there, they are there too."""
        record_faults(self._path, faults)


def is_same(path: Path, was: Mapping[str, Any], now: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Whether what is there was made from the same; False only if it may be replaced, else a ChangedError."""
    try:
        refuse_changed(path, was, now, way_on="pass --overwrite to replace it")
    except ChangedError:
        if not overwrite:
            raise
        return False
    return True


@contextmanager
def stage_output(
    path: Path,
    made_from: Mapping[str, Any],
    read: Callable[[Path], Mapping[str, Any]],
    *,
    inputs: Iterable[Path | None] = (),
    overwrite: bool = False,
) -> Iterator[StageOutput]:
    """Hold the file that a stage writes, and say whether it is there already.

    Args:
        path: the file; the stage writes it whole, so what is there stays until it is replaced.
        made_from: what this call makes it from.
        read: gives what the file that is there was made from.
        inputs: what the stage reads: never overwritten.
        overwrite: replace a file that was made otherwise.

    Raises:
        ChangedError: it is there and was made otherwise.
        UsageError: another run is writing it now, its folder does not exist, or it would overwrite an input.
    """
    spare_inputs(path, inputs)
    with exclusive(path):
        output = StageOutput(path, overwrite=overwrite)
        if output.already_done:
            output.compare(read(path), made_from)
        yield output
