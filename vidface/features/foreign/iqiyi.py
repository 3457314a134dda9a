"""The official feature pickles of iQIYI-VID 2019: {video name: [[frame, box, score, quality, vector], ...]}.

Python 2 wrote them. The frame is a number, or text that is one; the box is x1, y1, x2, y2; the vector float16, of 512
numbers or 2,048. Several faces of one frame are several entries. Read as the public code of the challenge's third
place reads them (github LegenDong/IQIYI_VID_FACE_2019, ``utils``), with what it asserts made into faults of a video.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError
from vidface.features.foreign.foreign import FPS, Foreign
from vidface.features.rows import UNUSABLE, usable_rows
from vidface.features.rows import left_out as why_left_out
from vidface.files.atomic import disk_is_full, require_regular
from vidface.files.store import offsets_of
from vidface.files.unpickle import load_plain
from vidface.manifest.rows import show

_FIELDS = 5
_MOST_FRAMES = 10**7  # float32 holds the times of so many
_NAMES = {"below_min_score": "--min-score", "below_min_quality": "--min-quality"}

Vectors = npt.NDArray[Any]


def iqiyi_names(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """The names of the videos in feature pickles, as they stand there, with the file of each; a file at a time.

    Raises:
        StoreError: a file is missing, damaged, wants to run anything, or is something else.
    """
    for path in paths:
        for name in _load(path):
            yield path, _text(name)


def read_iqiyi_features(
    paths: Sequence[Path],
    video_ids: Sequence[str],
    folder: Path,
    *,
    min_score: float | None = None,
    min_quality: float | None = None,
) -> Foreign:
    """Read feature pickles, one after the other; the vectors go to a plain file in ``folder`` and are mapped.

    A pickle is held whole while it is read: see ``docs/protocols/foreign.md`` for what that takes. ``.mp4`` at the end
    of a name may be there or not, on both sides. An entry that is not of the form is left out and is a fault of its
    video; faces of lower scores than the least ones are left out.

    Raises:
        StoreError: a file is missing, damaged, wants to run anything, or is something else; a video is there twice; or
            the files hold vectors of different lengths.
    """
    places = {video: i for i, video in enumerate(video_ids)}
    spool = folder / "vectors"
    times = array("f")
    spans: dict[int, tuple[int, int, Path]] = {}  # place -> rows, and the pickle that they are from
    faults: dict[int, list[tuple[str, str]]] = {}
    unlisted: dict[str, int] = {}
    limits = {"below_min_score": (2, min_score), "below_min_quality": (3, min_quality)}
    filters = {name: (field, least) for name, (field, least) in limits.items() if least is not None}
    counts = Counter(dict.fromkeys(("read", "not_in_manifest", "malformed", "not_finite", *filters), 0))
    form: tuple[int, np.dtype[Any]] | None = None
    with _open_spool(spool) as file:
        for path in paths:
            videos = _load(path)
            form = _one_form(path, videos, form)
            while videos:  # each is let go of as soon as it is written
                key, entries = videos.popitem()
                name = _text(key)
                spelled = (name, name.removesuffix(".mp4"), name + ".mp4")
                at = next((places[each] for each in spelled if each in places), None)
                rows = len(entries) if isinstance(entries, list | tuple) else 0
                counts["read"] += rows
                if at is None:
                    unlisted[name] = rows
                    counts["not_in_manifest"] += rows
                    continue
                if at in spans:
                    raise StoreError(
                        f"{path}: video {show(name)} again: it is in {spans[at][2]} already; leave one out"
                    )
                frames, vectors, left_out = _faces(entries, *form, filters)
                counts.update({name: n for name, n in left_out.items() if ": " not in name})
                if said := _faults(entries, rows, len(frames), left_out):
                    faults[at] = said
                spans[at] = (len(times), len(times) + len(frames), path)
                times.extend((frames / FPS).tolist())
                file.write(vectors.tobytes())
    if form is None:
        raise StoreError("no feature pickles are named")
    dimension, dtype = form
    listed = [spans.get(i, (0, 0))[:2] for i in range(len(video_ids))]
    order = [np.arange(start, stop, dtype=np.int64) for start, stop in listed]
    shape = len(times), dimension
    return Foreign(
        features=np.memmap(spool, dtype, "r", shape=shape) if times else np.empty(shape, dtype),
        times=np.array(times, np.float32),
        order=np.concatenate([np.empty(0, np.int64), *order]),
        offsets=offsets_of([stop - start for start, stop in listed]),
        dtype=dtype.name,
        faults=faults,
        unlisted=unlisted,
        counts=dict(counts),
        times_are=f"frame number / {FPS:g}",
    )


@contextmanager
def _open_spool(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("wb") as file:
            yield file
    except OSError as error:
        if not disk_is_full(error):
            raise
        raise StoreError(f"{path}: not written: no space left; make room and run again") from None


def _load(path: Path) -> dict[Any, Any]:
    try:
        with require_regular(path).open("rb") as file:
            # Text of Python 2 as bytes: decoded, every vector would be there once more.
            value = load_plain(file, source=str(path), encoding="bytes")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not isinstance(value, dict) or not value:
        what = "an empty dictionary" if value == {} else f"a {type(value).__name__}"
        raise StoreError(f"{path}: holds {what}, not the faces of videos by their names")
    return value


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)


def _one_form(
    path: Path, videos: dict[Any, Any], known: tuple[int, np.dtype[Any]] | None
) -> tuple[int, np.dtype[Any]]:
    """The length that most vectors of a file have, and float16 if all of these are; as in the files before."""
    lengths: Counter[int] = Counter()
    wide: set[int] = set()
    for entries in videos.values():
        for entry in entries if isinstance(entries, list | tuple) else ():
            vector = entry[-1] if isinstance(entry, list | tuple) and len(entry) == _FIELDS else None
            if isinstance(vector, np.ndarray) and vector.ndim == 1 and vector.dtype.kind == "f":
                lengths[len(vector)] += 1
                if vector.dtype.itemsize > 2:
                    wide.add(len(vector))
    if not lengths or not (dimension := max(lengths, key=lambda length: (lengths[length], length))):
        raise StoreError(f"{path}: no face in it has a vector; are these the official features?")
    form = (dimension, np.dtype(np.float32 if dimension in wide else np.float16))
    if known is not None and known != form:
        was, now = (f"{dtype.name} vectors of {length} numbers" for length, dtype in (known, form))
        raise StoreError(f"{path}: holds {now}, the file before it {was}: they cannot be one features file")
    return form


def _faces(
    entries: Any, dimension: int, dtype: np.dtype[Any], filters: dict[str, tuple[int, float]]
) -> tuple[npt.NDArray[np.float64], Vectors, Counter[str]]:
    """The frames [f] and vectors [f, D] of a video's usable faces, in order of time; why the others are left out."""
    left_out: Counter[str] = Counter()
    frames: list[int] = []
    vectors: list[Vectors] = []
    for entry in entries if isinstance(entries, list | tuple) else ():
        if wrong := _what_is_wrong(entry, dimension):
            left_out.update(["malformed", f"malformed: {wrong}"])
        elif low := next((name for name, (field, least) in filters.items() if entry[field] < least), None):
            left_out[low] += 1
        else:
            frames.append(int(entry[0]))
            vectors.append(entry[4])
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is left out below
        stacked = np.array(vectors, dtype).reshape(len(vectors), dimension)
    usable, lost = usable_rows(stacked)
    left_out.update({kind.replace("-", "_"): count for kind, count in lost.items()})
    numbers = np.array(frames, np.float64)[usable]
    order = np.argsort(numbers, kind="stable")
    return numbers[order], stacked[usable][order], left_out


def _what_is_wrong(entry: Any, dimension: int) -> str:
    """Why an entry is not [frame, box, score, quality, vector], in a few words; empty if it is."""
    if not isinstance(entry, list | tuple) or len(entry) != _FIELDS:
        return "not five fields"
    frame, box, score, quality, vector = entry
    if isinstance(box, np.ndarray):
        box = box.tolist()
    if not _is_frame(frame):
        return "no frame number"
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(_is_number, box)):
        return "a box that is not four numbers"
    if box[2] < box[0] or box[3] < box[1]:
        return "a box that ends before it begins"
    if not _is_number(score) or not _is_number(quality):
        return "a score that is no number"
    if not isinstance(vector, np.ndarray) or vector.dtype.kind != "f" or vector.shape != (dimension,):
        return f"a vector that is not {dimension} floats"
    return ""


def _is_frame(value: Any) -> bool:
    if isinstance(value, str | bytes):
        return len(value) <= 8 and value.isdigit() and value.isascii() and int(value) <= _MOST_FRAMES
    number = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(number and 0 <= value <= _MOST_FRAMES)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _faults(entries: Any, rows: int, kept: int, left_out: Counter[str]) -> list[tuple[str, str]]:
    """(kind, detail) of what is to be said of a video; ``filtered`` is no fault of it."""
    if not isinstance(entries, list | tuple):
        return [("malformed", f"holds a {type(entries).__name__}, not a list of faces")]
    said = []
    if reasons := [f"{n} {name.removeprefix('malformed: ')}" for name, n in left_out.items() if ": " in name]:
        said.append(
            ("malformed", f"{left_out['malformed']} of {rows} faces left out: {', '.join(sorted(reasons))}")
        )
    lost = {kind: count for kind in UNUSABLE if (count := left_out[kind.replace("-", "_")])}
    said += why_left_out(lost, rows, "faces have")
    low = ", ".join(f"{left_out[name]} below {option}" for name, option in _NAMES.items() if left_out[name])
    if not rows:
        said.append(("no-faces", "no face is listed"))
    elif low and not kept:
        said.append(("no-faces", f"none of the {rows} faces was kept: {low}"))
    elif low:
        said.append(("filtered", f"of {rows} faces left out: {low}"))
    return said
