"""Frame features as one array, with a CSV that says whose row each is."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, printable
from vidface.features.foreign.foreign import AS_GIVEN, FPS, Foreign
from vidface.files.atomic import require_regular
from vidface.files.npy import open_matrix
from vidface.files.store import offsets_of
from vidface.manifest.names import NameIndex
from vidface.manifest.rows import show

_COLUMNS = (["video_id"], ["video_id", "time"])
_LONGEST_TIME = 1e7  # seconds: 115 days


def read_arrays(features: Path, index: Path, video_ids: Sequence[str]) -> Foreign:
    """Read a ``.npy`` of frame features [R, D], see `vidface.files.npy.open_matrix`, and its index.

    The index is a CSV with the header ``video_id`` or ``video_id,time``, its lines in the order of the rows. The lines
    of a video may stand apart: they are put together, in the order of their times, else in that of the file. It may
    have the manifest's ids in the other Unicode form, or with the suffix of the media.

    The array is mapped, the index is read as a stream: memory holds some 30 bytes a row.

    Raises:
        StoreError: a file is missing or damaged; two names mean one video; a line of the index is not of this form
            (named by its number); or the two files have different numbers of rows.
    """
    matrix = open_matrix(features, rows="frames")
    names, codes, times = _read_index(index)
    if len(codes) != len(matrix):
        raise StoreError(
            f"{index}: lists {len(codes)} frames, but {features} has {len(matrix)} rows; one line a row is needed"
        )
    of_name = _places(index, names, video_ids)
    places = of_name[codes]
    seconds = np.zeros(len(codes), np.float32) if times is None else times
    order = np.lexsort((seconds, places))  # stable: rows of one time stay in the file's order
    order = order[np.searchsorted(places[order], 0) :]
    counts = np.bincount(places[order], minlength=len(video_ids))
    offsets = offsets_of(counts)
    if times is None:
        seconds[order] = (np.arange(len(order)) - np.repeat(offsets[:-1], counts)) / FPS
    rows_of_name = np.bincount(codes, minlength=len(names))
    unlisted = {name: int(rows_of_name[code]) for code, name in enumerate(names) if of_name[code] < 0}
    return Foreign(
        features=matrix,
        times=seconds,
        order=order,
        offsets=offsets,
        dtype="float16" if matrix.dtype.itemsize == 2 else "float32",
        faults={},
        unlisted=unlisted,
        counts={"read": len(codes), "not_in_manifest": sum(unlisted.values())},
        times_are=AS_GIVEN if times is not None else f"number within the video / {FPS:g}",
    )


def _places(path: Path, names: Sequence[str], video_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """int64, the video that each name means; -1 for none."""
    index = NameIndex(video_ids)
    found = [index.find(name) for name in names]
    places = np.array([where[0] if len(where) == 1 else -1 for where in found], np.int64)
    first: dict[int, str] = {}
    for name, place in zip(names, places.tolist(), strict=True):
        other = first.setdefault(place, name)
        if place >= 0 and other != name:  # their rows would be mixed up
            raise StoreError(
                f"{path}: {other!a} and {name!a} both mean the video {video_ids[place]!a} of the manifest; write one"
            )
    return places


def _read_index(path: Path) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float32] | None]:
    """The names, in the order in which they come up; int64 [R], which of them each row is of; float32 [R], seconds."""
    code: dict[str, int] = {}
    codes = array("q")
    times = array("f")
    for line, row in _lines(path):
        codes.append(code.setdefault(row[0], len(code)))
        if len(row) == 2:
            times.append(_seconds(row[1], path, line))
    if not len(codes):
        raise StoreError(f"{path}: lists no frame")
    return list(code), np.array(codes, np.int64), np.array(times, np.float32) if len(times) else None


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The fields of every line below the header, with its number; blank lines are skipped."""
    header: list[str] | None = None
    line = 1
    try:
        with require_regular(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row and header is None:
                    header = row
                    if header not in _COLUMNS:
                        found = show(",".join(header))
                        raise StoreError(
                            f"{path}:{line}: the header is {found}; it must be video_id or video_id,time"
                        )
                elif row:
                    columns = len(header or ())
                    if len(row) != columns:
                        raise StoreError(f"{path}:{line}: {len(row)} fields, where the header has {columns}")
                    if not row[0]:
                        raise StoreError(f"{path}:{line}: no video_id")
                    yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise StoreError(f"{path}:{line}: not CSV: {printable(str(error))}") from None
    except UnicodeDecodeError:
        raise StoreError(f"{path}:{line} or after: not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None


def _seconds(text: str, path: Path, line: int) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_TIME:
        raise StoreError(f"{path}:{line}: time {show(text)} is not a number of seconds")
    return seconds
