"""Faces in a frame: boxes, five points and scores, whatever detector finds them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError, printable
from vidface.faces.weights import Weights, find_weights, weights_folder, weights_of_user
from vidface.frames.frame import Pixels

__all__ = [
    "Detect",
    "Detector",
    "Faces",
    "check_frame",
    "detector_weights",
    "open_detector",
    "sound_faces",
]


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


@dataclass(frozen=True)
class Detector:
    """A detector that is ready: ``detector(pixels)`` gives the faces of a frame, so it is a `Detect`.

    Attributes:
        kind: as `open_detector` took it.
        weights: the file.
        sha256: of that file.
        detect: uint8 RGB [H, W, 3] of any size to `Faces`. The same frame gives the same faces, whatever came before.
            It keeps buffers of its own: one thread at a time.
    """

    kind: str
    weights: Path
    sha256: str
    detect: Detect

    def __call__(self, pixels: Pixels) -> Faces:
        """The faces of a frame."""
        return self.detect(pixels)


def detector_weights(weights: Path | None, kind: str = "yunet") -> Weights:
    """Find a detector's weights without opening them.

    Args:
        weights: the user's file, of any content; None: a known file in `vidface.faces.weights.weights_folder` (and
            in uniface's own folder, for its detectors).
        kind: as in `open_detector`.

    Returns:
        The path and the SHA-256 of the file.

    Raises:
        ModelError: no such file; the error says which belongs where.
        UsageError: an unknown kind, or a library that is not installed.
    """
    name = _name_in_uniface(kind)
    if weights is not None:
        return weights_of_user(weights)
    if name is None:
        from vidface.faces.yunet import KNOWN

        return find_weights(KNOWN, [weights_folder()], "YuNet")
    from vidface.faces.uniface import find_uniface_weights

    return find_uniface_weights(name)


def open_detector(weights: Path | None, kind: str = "yunet", *, min_score: float) -> Detector:
    """Open a detector.

    Args:
        weights: as in `detector_weights`.
        kind: ``yunet`` (OpenCV), or ``uniface:NAME`` with the name of weights that the uniface package knows, for
            example ``uniface:scrfd_500m``.
        min_score: 0 to 1; what the detector is less sure of is no face. Scores of different detectors do not compare.

    Raises:
        ModelError: the weights are not there, or are no weights of this detector.
        UsageError: an unknown kind, a score out of range, or a library that is not installed.
    """
    if not (math.isfinite(min_score) and 0 <= min_score <= 1):
        raise UsageError(f"the detector's score must be between 0 and 1, not {min_score}")
    name = _name_in_uniface(kind)
    found = detector_weights(weights, kind)
    if name is None:
        from vidface.faces.yunet import open_yunet

        detect = open_yunet(found.path, min_score=min_score)
    else:
        from vidface.faces.uniface import open_uniface

        detect = open_uniface(found.path, name, min_score=min_score)
    return Detector(kind, found.path, found.sha256, detect)


def check_frame(pixels: Pixels) -> None:
    """Refuse what is no frame.

    Raises:
        UsageError: it is not uint8 [H, W, 3], or has no pixels.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UsageError(
            f"a frame must be uint8 H x W x 3, not {pixels.dtype} {' x '.join(map(str, pixels.shape))}"
        )


def sound_faces(faces: Faces, size: tuple[int, int]) -> Faces:
    """What of a detector's output can be used, in one order.

    Left out are faces with a number that is not finite, a box that has no area inside the frame, or points that are
    all in one place. Boxes are cut at the frame's edges.

    Args:
        faces: as the detector gave them, any floating dtype.
        size: (height, width) of the frame.
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


def _name_in_uniface(kind: str) -> str | None:
    """NAME of ``uniface:NAME``; None for YuNet."""
    if kind == "yunet":
        return None
    library, _, name = kind.partition(":")
    if library == "uniface" and name:
        return name
    raise UsageError(f"detector {printable(kind)!r} is unknown: say yunet, or uniface:NAME")
