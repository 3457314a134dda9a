"""Reading what features files know of detected faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.hdf5 import open_file
from vidface.store.schema import FACE_COUNTS, FaceRows


def read_faces(path: Path, start: int, stop: int) -> FaceRows | None:
    """The faces that rows ``start`` to ``stop`` (exclusive) of a features file are of; None: the rows are frames.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        if "faces" not in file.attrs:
            return None
        faces = FaceRows(*(file[name][start:stop] for name in FaceRows._fields))
        if (faces.tracks < 0).any():
            raise ValueError("tracks below 0")
        return faces


def read_tracks(path: Path) -> npt.NDArray[np.int32] | None:
    """The track of every row of a features file, int32 [F]; None: the rows are frames.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        return file["tracks"][:] if "faces" in file.attrs else None


def read_face_counts(path: Path) -> npt.NDArray[np.int64] | None:
    """What became of the faces of every video of a features file, int64 [V, 8], columns as `FACE_COUNTS`, or None.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        return file["face_counts"][:] if "faces" in file.attrs else None


def face_totals(path: Path) -> dict[str, int] | None:
    """What became of the faces of all videos of a features file, by `FACE_COUNTS`; None: the rows are frames.

    Raises:
        StoreError: as in `read_features`.
    """
    counts = read_face_counts(path)
    return None if counts is None else dict(zip(FACE_COUNTS, counts.sum(axis=0).tolist(), strict=True))
