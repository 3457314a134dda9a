"""Reading features files: what they hold, and their rows in blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, printable
from vidface.files.atomic import require_file
from vidface.files.faces import FACE_COUNTS, NO_FACES, FaceRows
from vidface.files.hdf5 import attributes_of, open_file, read_texts
from vidface.files.store.schema import FeaturesInfo, offsets_of


def read_features(path: Path) -> FeaturesInfo:
    """Open a features file and check it; rows are read later, in blocks.

    Raises:
        StoreError: missing, damaged, not a features file, or of another schema version; so do all that read one.
    """
    return read_info(path, "features")


def read_info(path: Path, *kinds: str) -> FeaturesInfo:
    """Open a file of one of these kinds, ``features`` and ``embeddings``, and check it; its rows stay there."""
    with open_file(path, *kinds) as file:
        return info_of(path, file)


def info_of(path: Path, file: h5py.File) -> FeaturesInfo:
    """What an open features or embeddings file holds, checked."""
    attributes = attributes_of(file)
    if wrong := [name for name in ("dimension", "content_sha256") if name not in attributes]:
        raise StoreError(f"{path}: damaged ({', '.join(wrong)}: not among its attributes)")
    if attributes["kind"] == "features":
        offsets = file["offsets"][:]
    else:
        offsets = offsets_of(file["frames"][:])
    info = FeaturesInfo(
        path=path,
        video_ids=read_texts(file, "video_ids"),
        offsets=offsets,
        status=read_texts(file, "status"),
        attributes=attributes,
    )
    _check_fit(file, info)
    return info


def _check_fit(file: h5py.File, info: FeaturesInfo) -> None:
    """Refuse a file whose arrays do not fit together: its offsets and counts are places in others later on."""
    of_features = file.attrs["kind"] == "features"
    videos, rows = len(info.video_ids), len(file["features" if of_features else "labels"])
    wanted: dict[str, tuple[str, tuple[int, ...]]]  # array -> kinds of numbers, shape
    if of_features:
        wanted = {"features": ("f", (rows, info.dimension)), "timestamps": ("f", (rows,))}
        if "faces" in file.attrs:
            for name, like in zip(FaceRows._fields, NO_FACES, strict=True):
                wanted[name] = ("f" if like.dtype.kind == "f" else "iu", (rows, *like.shape[1:]))
            wanted["face_counts"] = ("iu", (videos, len(FACE_COUNTS)))
    else:
        wanted = {"embeddings": ("f", (videos, info.dimension)), "kept": ("iu", (videos,))}
        wanted |= {"labels": ("iu", (rows,))} | ({"weights": ("f", (rows,))} if "weights" in file else {})
    wrong = [
        name
        for name, (kinds, shape) in wanted.items()
        if file[name].shape != shape
        or file[name].dtype.kind not in kinds
        or (name in ("features", "embeddings") and file[name].dtype.itemsize > 4)
    ]
    if len(info.status) != videos:
        wrong.append("status")
    bounds = info.offsets
    fits = bounds.shape == (videos + 1,) and bounds.dtype.kind in "iu"
    if not (fits and bounds[0] == 0 and bounds[-1] == rows and (np.diff(bounds) >= 0).all()):
        wrong.append("offsets" if of_features else "frames")
    if wrong:
        raise StoreError(f"{info.path}: damaged ({', '.join(wrong)}: not what its videos and rows need)")
    if len(set(info.video_ids)) < videos:
        again, count = Counter(info.video_ids).most_common(1)[0]
        raise StoreError(f"{info.path}: damaged (video {printable(again)} is there {count} times)")
    if unknown := set(info.status) - {"ok", "partial", "failed"}:
        raise StoreError(f"{info.path}: damaged (status: no video is {printable(min(unknown))!r})")


def read_attributes(path: Path, kind: str) -> dict[str, Any]:
    """The attributes of a features or embeddings file: what it was made from."""
    with open_file(path, kind) as file:
        return attributes_of(file)


def read_rows(path: Path, start: int, stop: int) -> npt.NDArray[Any]:
    """Rows ``start`` to ``stop`` (exclusive) of a features file, [rows, D], in its own dtype; refused if not finite."""
    rows = next(row_blocks(path, [start, stop]))
    refuse_not_finite(path, rows, start)
    return rows


def refuse_not_finite(path: Path, rows: npt.NDArray[Any], first: int) -> None:
    """Refuse rows that hold NaN or infinity: they would be noise at any threshold, and nobody would know.

    ``first`` is the number of ``rows[0]`` in the file.
    """
    if not np.isfinite(rows).all():
        raise not_finite(path, first + int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0]))


def not_finite(path: Path, row: int) -> StoreError:
    """What a row of a features file that holds NaN or infinity is refused with."""
    return StoreError(f"{path}: row {row} of its features holds NaN or infinity: extract the videos again")


def read_timestamps(path: Path, start: int, stop: int) -> npt.NDArray[np.float32]:
    """The times of rows ``start`` to ``stop`` (exclusive) of a features file, float32 [rows], seconds."""
    with open_file(path, "features") as file:
        times: npt.NDArray[np.float32] = file["timestamps"][start:stop]
        return times


def row_blocks(path: Path, bounds: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """Rows ``bounds[i]`` to ``bounds[i + 1]`` of a features file, for every i; all blocks may share their memory.

    Rows that lie in the file as they are, as those of our own files do, are read past HDF5: it lets one thread of a
    process read at a time.

    Yields:
        [rows, D] in the file's own dtype, valid until the next is asked for.
    """
    require_file(path)
    stat = path.stat()
    layout = _features_layout(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    if not 0 <= bounds[0] <= bounds[-1] <= layout.rows:
        raise StoreError(f"{path}: damaged (rows {bounds[0]} to {bounds[-1]} of {layout.rows})")
    if layout.begin is None:
        with open_file(path) as file:
            for start, stop in pairwise(bounds):
                yield file["features"][start:stop]
        return
    longest = max((stop - start for start, stop in pairwise(bounds)), default=0)
    buffer = np.empty((longest, layout.dimension), layout.dtype)
    with path.open("rb") as raw:
        raw.seek(layout.begin + bounds[0] * layout.dimension * layout.dtype.itemsize)
        for start, stop in pairwise(bounds):
            block = buffer[: stop - start]
            try:
                count = raw.readinto(block.reshape(-1).view(np.uint8).data)
            except OSError as error:
                raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
            if count < block.nbytes:
                raise StoreError(f"{path}: damaged (it ends before row {stop})")
            yield block


class _Layout(NamedTuple):
    """Of the rows in a features file; ``begin`` is their first byte, None where they are not all in one piece."""

    rows: int
    dimension: int
    dtype: np.dtype[Any]
    begin: int | None


@lru_cache(maxsize=16)
def _features_layout(path: Path, version: tuple[int, ...]) -> _Layout:
    """``version`` tells one state of the file from the next: tasks ask again and again, and HDF5 takes its time."""
    with open_file(path) as file:
        features = file["features"]
        properties = features.id.get_create_plist()
        plain = properties.get_layout() == h5py.h5d.CONTIGUOUS and not properties.get_external_count()
        begin = features.id.get_offset() if plain else None  # None as well if nothing was ever written
        rows, dimension = features.shape
        return _Layout(rows, dimension, features.dtype, begin)


def read_faces(path: Path, start: int, stop: int) -> FaceRows | None:
    """The faces that rows ``start`` to ``stop`` (exclusive) of a features file are of; None: the rows are frames."""
    with open_file(path, "features") as file:
        if "faces" not in file.attrs:
            return None
        faces = FaceRows(*(file[name][start:stop] for name in FaceRows._fields))
        if (faces.tracks < 0).any():
            raise ValueError("tracks below 0")
        return faces


def read_tracks(path: Path) -> npt.NDArray[np.int32] | None:
    """The track of every row of a features file, int32 [F]; None: the rows are frames."""
    with open_file(path, "features") as file:
        return file["tracks"][:] if "faces" in file.attrs else None


def read_face_counts(path: Path) -> npt.NDArray[np.int64] | None:
    """What became of the faces of every video of a features file, int64 [V, 8], columns as `FACE_COUNTS`, or None."""
    with open_file(path, "features") as file:
        return file["face_counts"][:] if "faces" in file.attrs else None


def face_totals(path: Path) -> dict[str, int] | None:
    """What became of the faces of all videos of a features file, by `FACE_COUNTS`; None: the rows are frames."""
    counts = read_face_counts(path)
    return None if counts is None else dict(zip(FACE_COUNTS, counts.sum(axis=0).tolist(), strict=True))
