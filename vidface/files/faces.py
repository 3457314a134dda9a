"""What files keep of detected faces: rows beside the features, and counts of what became of all faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class FaceRows(NamedTuple):
    """The faces that rows of features are of, as detected.

    Attributes:
        boxes: float32 [f, 4], x0, y0, x1, y1 in pixels of the upright frame.
        points: float32 [f, 5, 2], x, y: image-left eye, image-right eye, nose, image-left and image-right mouth corner.
        scores: float32 [f], the detector's.
        sharpness: float32 [f], of the aligned face; see `vidface.frames.faces.quality`.
        tracks: int32 [f], number of the face's track within its video, 0 is the main person. While a video is read,
            and until `vidface.features.engines.batches` joins them by their features, the number of its tracklet.
    """

    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    tracks: npt.NDArray[np.int32]

    def rows(self, which: slice | npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> FaceRows:
        """Some of them."""
        return FaceRows._make(array[which] for array in self)


NO_FACES = FaceRows(
    np.empty((0, 4), np.float32),
    np.empty((0, 5, 2), np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)


def join_faces(parts: Sequence[FaceRows]) -> FaceRows:
    """The faces of all parts, in order; one part at least."""
    return FaceRows._make(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


class FaceCounts(NamedTuple):
    """What became of the faces of a video. Rows are the faces found, less all that follow, each out for one reason.

    Attributes:
        frames: that were read.
        without_face: of these.
        found: faces.
        too_small, turned, blurred: what the filters of `vidface.frames.faces.quality` left out.
        not_finite: faces whose features hold NaN or infinity, or are all zero.
        other_track: of others than the main person, if only that one is kept.
    """

    frames: int = 0
    without_face: int = 0
    found: int = 0
    too_small: int = 0
    turned: int = 0
    blurred: int = 0
    not_finite: int = 0
    other_track: int = 0


FACE_COUNTS = FaceCounts._fields
# What the filters leave out, in words and in the order of their tests: of several, the first that holds is counted.
FILTERED = {"too_small": "too small", "turned": "turned away", "blurred": "blurred"}
