"""A detector's candidates -> faces: those of one face are averaged, which steadies its points at no cost.

A detector of the kind of YuNet looks from many places at once, and some nine of them see a face. The usual way is to
keep the surest and drop the others. But each has an error of its own, and their mean has less: `docs/faces.md`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Rows", "distinct", "merge_candidates", "overlaps"]

# float64 [n, 15]: x, y, width and height of a box, five points (x, y), a score above 0. All are finite.
Rows = npt.NDArray[np.float64]

_SAME = 0.5  # IoU from which on a candidate sees the same face, and is averaged
_NEAR = 0.3  # from which on it is no other face, as OpenCV's own example has it


def merge_candidates(rows: Rows, wanted: npt.NDArray[np.bool_]) -> Rows:
    """The faces that n candidates are of, the surest first.

    A face is the mean, by score, of all candidates that overlap by half or more with its surest one. It keeps the
    surest one's score. What overlaps with that by `_NEAR` is no face of its own.

    Args:
        rows: of n candidates.
        wanted: bool [n]; a candidate that is not makes no face, and only adds to the mean of others.

    Returns:
        m <= n rows.
    """
    faces = distinct(rows[wanted])
    for face in faces:
        same = rows[overlaps(face, rows) >= _SAME]
        if len(same):  # a box without area overlaps with nothing, not even itself
            face[:14] = np.average(same[:, :14], axis=0, weights=same[:, 14])
    return faces


def distinct(rows: Rows) -> Rows:
    """A copy of the rows that overlap with no surer one, the surest first; of equals the first."""
    rest = rows[np.argsort(-rows[:, 14], kind="stable")]
    kept = [rest[:0]]
    while len(rest):
        kept.append(rest[:1])
        rest = rest[1:][overlaps(rest[0], rest[1:]) < _NEAR]
    return np.concatenate(kept)


def overlaps(row: Rows, rows: Rows) -> Rows:
    """Intersection over union of a row's box with the box of each of n others: float64 [n]."""
    start = np.maximum(row[:2], rows[:, :2])
    end = np.minimum(row[:2] + row[2:4], rows[:, :2] + rows[:, 2:4])
    shared = np.clip(end - start, 0, None).prod(axis=1)
    both = row[2:4].prod() + rows[:, 2:4].prod(axis=1) - shared
    return np.asarray(np.divide(shared, both, out=np.zeros(len(rows)), where=both > 0))
