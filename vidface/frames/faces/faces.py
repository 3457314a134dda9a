"""The faces of one frame, as every detector gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.frames.frame import Pixels


class Faces(NamedTuple):
    """The n faces of one frame, the surest first.

    Attributes:
        boxes: float32 [n, 4], (x0, y0, x1, y1) in pixels of the frame, inside it; x1 and y1 are the far edges.
        points: float32 [n, 5, 2], (x, y) in pixels of the frame: image-left eye, image-right eye, nose, image-left
            and image-right mouth corner. They may lie outside where a face is cut off. "Image-left" is meant of an
            upright face: a face upside down keeps the order of its parts.
        scores: float32 [n], of the detector, 0 to 1.
    """

    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]


Detect = Callable[[Pixels], Faces]


def check_frame(pixels: Pixels) -> None:
    """Refuse, as a UsageError, what is not uint8 [H, W, 3], or has no pixels."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UsageError(
            f"a frame must be uint8 H x W x 3, not {pixels.dtype} {' x '.join(map(str, pixels.shape))}"
        )


def sound_faces(faces: Faces, size: tuple[int, int]) -> Faces:
    """What of a detector's output, of any floating dtype, can be used in a frame of this (height, width), in one order.

    Left out are faces with a number that is not finite, a box that has no area inside the frame, or points that are
    all in one place. Boxes are cut at the frame's edges.
    """
    height, width = size
    boxes, points, scores = (np.asarray(array, np.float32) for array in faces)
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(points).all(axis=(1, 2)) & np.isfinite(scores)
    boxes = np.clip(np.where(finite[:, None], boxes, 0), 0, np.array([width, height] * 2, np.float32))
    area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    apart = (points != points[:, :1]).any(axis=(1, 2))
    kept = np.flatnonzero(finite & area & apart)
    # Equal scores go from left to right, then from top to bottom.
    kept = kept[np.lexsort((boxes[kept, 1], boxes[kept, 0], -scores[kept]))]
    return Faces(boxes[kept], points[kept], scores[kept])
