"""Faces of any size found by a network that is at its best with faces of some 60 to 250 pixels.

A frame is searched once, in a small copy too if it may show a face that is too large for that, and a face that came
out small or large is looked at again, cut out of the frame and scaled. Such a network looks from many places at once,
and some nine of them see a face; each has an error of its own, and their mean has less than the surest one.
`docs/faces.md` has the measurements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from vidface.frames.faces.align import opencv, warp
from vidface.frames.frame import Pixels

# float64 [n, 15]: x, y, width and height of a box, five points (x, y), a score above 0. All are finite.
Rows = npt.NDArray[np.float64]

_SAME = 0.5  # IoU from which on a candidate sees the same face, and is averaged
_NEAR = 0.3  # from which on it is no other face, as OpenCV's own example has it
# A network: uint8 [H, W, 3] to its candidates in pixels of the picture. Those that overlap are all there, and so are
# those of a score down to `DOUBTFUL`.
Candidates = Callable[[Pixels], Rows]

# Pixels. A longer frame is scaled down to it for the search: one of 4K would take nine times as long.
LONGEST_SIDE = 1280

# Where both sides of what is searched are longer than the first number there may be faces that are too large for it.
# So it is searched again in a copy, the shorter side of which has the second.
_MAY_BE_LARGE, _COPY = 384, 180
_LARGE = 256  # height in pixels of the search: lower ones of the copy are left to the search, those twice as high to it

# A face of another height, in pixels of the search, is looked at again: scaled to the first of these heights in the
# middle of a square of `_LOOK_SIDE`. There its points come out best. Of a large one, which comes in a large frame that
# takes its time anyway, they are the mean of both.
_ORDINARY = 64, _LARGE
_LOOK_HEIGHTS, _LOOK_SIDE = (100, 125), 160
_MOST_LOOKED_AT = 32  # faces of a frame, the surest

# A face that is lower than `_SMALL` is looked at from this score on, and taken if the second look is sure enough. Of
# faces 20 pixels high 98 % have it, and 88 % have 0.7.
DOUBTFUL, _SMALL = 0.3, 32


def search_faces(pixels: Pixels, candidates: Candidates, min_score: float) -> Rows:
    """Find the faces of a frame, uint8 [H, W, 3] with channels in the network's order: one row a face, in its pixels.

    What the network is less sure of than ``min_score`` is no face.
    """
    rows, shrink = _search(pixels, candidates)
    sure = rows[:, 14] >= min_score
    faces, looks = [], 0
    for face in merge_candidates(rows, sure | (rows[:, 3] < _SMALL * shrink)):
        again = None
        small, large = face[3] < _ORDINARY[0] * shrink, face[3] > _ORDINARY[1] * shrink
        if looks < _MOST_LOOKED_AT and (small or large):
            again = _look(pixels, face, candidates, min_score, _LOOK_HEIGHTS[: 1 + large])
            looks += 1
        if again is not None:
            again[14] = max(again[14], face[14])
            faces.append(again)
        elif face[14] >= min_score:
            faces.append(face)
    return distinct(np.array(faces).reshape(-1, 15))  # two doubtful ones may turn out to be one


def _search(pixels: Pixels, candidates: Candidates) -> tuple[Rows, float]:
    """The candidates of a frame, and how many of its pixels make one of the search."""
    size = np.array(pixels.shape[1::-1])
    shrink = max(1.0, size.max() / LONGEST_SIDE)
    seen = _shrunk(pixels, shrink)
    rows = _moved(candidates(seen), size / seen.shape[1::-1])
    if (shorter := min(seen.shape[:2])) > _MAY_BE_LARGE:
        blocks = round(shorter / _COPY)  # whole ones, since that is ten times as fast
        whole = seen[: seen.shape[0] // blocks * blocks, : seen.shape[1] // blocks * blocks]
        large = _moved(candidates(_shrunk(whole, blocks)), blocks * size / seen.shape[1::-1])
        # Between the limits both count: a face is the mean of what both see.
        rows = np.concatenate(
            [rows[rows[:, 3] <= 2 * _LARGE * shrink], large[large[:, 3] >= _LARGE * shrink]]
        )
    return rows, shrink


def _look(
    pixels: Pixels, face: Rows, candidates: Candidates, min_score: float, heights: Sequence[int]
) -> Rows | None:
    """Look at a face again, once in each height; None where it is none."""
    seen = []
    for height in heights:
        scale = height / face[3]
        # Pixel (x, y) of the frame is read at scale * (x, y) + shift; edges lie half a pixel before centres.
        shift = (_LOOK_SIDE - 1) / 2 - scale * (face[:2] + face[2:4] / 2 - 0.5)
        cut = warp(pixels, np.column_stack([scale * np.eye(2), shift]), (_LOOK_SIDE, _LOOK_SIDE))
        rows = _moved(candidates(cut), np.full(2, 1 / scale), 0.5 - (shift + 0.5) / scale)
        rows = rows[overlaps(face, rows) >= 0.3]
        seen += list(merge_candidates(rows, rows[:, 14] >= min_score)[:1])
    return np.mean(seen, axis=0) if seen else None


def _shrunk(pixels: Pixels, shrink: float) -> Pixels:
    """Scaled down, each pixel a mean over its area."""
    if shrink <= 1:
        return pixels
    cv2 = opencv()
    height, width = (max(1, round(side / shrink)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def _moved(rows: Rows, scale: Rows, offset: Rows | float = 0.0) -> Rows:
    """Rows of a scaled picture in pixels of the whole one; edges of boxes and centres of pixels each in their way."""
    rows[:, :2] = rows[:, :2] * scale + offset
    rows[:, 2:4] *= scale
    points = rows[:, 4:14].reshape(-1, 5, 2)
    rows[:, 4:14] = ((points + 0.5) * scale - 0.5 + offset).reshape(-1, 10)
    return rows


def merge_candidates(rows: Rows, wanted: npt.NDArray[np.bool_]) -> Rows:
    """The faces that n candidates are of, the surest first.

    A face is the mean, by score, of all candidates that overlap by half or more with its surest one. It keeps the
    surest one's score. What overlaps with that by `_NEAR` is no face of its own. A candidate that is not ``wanted``,
    bool [n], makes no face, and only adds to the mean of others.
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
