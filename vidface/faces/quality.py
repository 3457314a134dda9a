"""What a face is worth before any network saw it: how sharp it is, which way it looks, how large it is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.faces.align import opencv
from vidface.frames.frame import Pixels

__all__ = ["REASONS", "Pose", "filter_faces", "head_pose", "sharpness"]

Float = npt.NDArray[np.float32]

# Why a face is left out, in the order of the tests: a face that fails several is counted under the first.
REASONS = ("too_small", "turned", "blurred")


class Pose(NamedTuple):
    """Where n faces look, float32 [n] each, in degrees.

    Attributes:
        yaw: to the image's right above 0, to its left below; 0 is frontal.
        pitch: down above 0, up below.
        roll: turned clockwise in the image above 0.
    """

    yaw: Float
    pitch: Float
    roll: Float


def sharpness(faces: Pixels) -> Float:
    """The variance of the Laplacian of aligned faces, in grey levels squared.

    Args:
        faces: uint8 [n, h, w, 3], RGB, aligned. Values of different sizes do not compare.

    Returns:
        float32 [n].
    """
    cv2 = opencv()
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] != 3:
        raise UsageError(
            f"faces must be uint8 n x h x w x 3, not {faces.dtype} {' x '.join(map(str, faces.shape))}"
        )
    height, width = faces.shape[1:3]
    inner = slice(height // 4, height - height // 8), slice(width // 5, width - width // 5)
    values = np.empty(len(faces), np.float32)
    for row, face in enumerate(faces):
        grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
        values[row] = cv2.Laplacian(grey, cv2.CV_64F)[inner].var()
    return values


# The five points of a head that looks into the camera, in units of the distance between its eyes: x to the image's
# right, y down, z away from the camera.
_HEAD = np.array([(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.55, -0.45), (-0.4, 1.13, 0.0), (0.4, 1.13, 0.0)])


def head_pose(points: npt.NDArray[Any]) -> Pose:
    """Estimate where heads look from their five points alone.

    A mean head is laid on the points by the affine camera of least squares, and the turn is read from its rows: two
    vectors of one length and a right angle, so far as the face is like the mean one.

    Args:
        points: [n, 5, 2], as a detector gives them.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise UsageError(f"points must be n x 5 x 2, not {' x '.join(map(str, points.shape))}")
    head = _HEAD - _HEAD.mean(axis=0)
    flat = points - points.mean(axis=1, keepdims=True)
    camera = np.linalg.pinv(head) @ flat  # [n, 3, 2]: how the head's axes are seen
    across, down = camera[:, :, 0], camera[:, :, 1]
    # The nearest turn: orthonormal rows (the polar factor), completed by their cross product.
    rows = np.stack([across, down], axis=1)
    left, _, right = np.linalg.svd(rows, full_matrices=False)
    turn = left @ right
    third = np.cross(turn[:, 0], turn[:, 1])
    yaw = -np.degrees(np.arcsin(np.clip(turn[:, 0, 2] * 0 + third[:, 0], -1, 1)))
    pitch = np.degrees(np.arctan2(third[:, 1], third[:, 2]))
    roll = np.degrees(np.arctan2(turn[:, 1, 0], turn[:, 0, 0]))
    return Pose(yaw.astype(np.float32), pitch.astype(np.float32), roll.astype(np.float32))


def filter_faces(
    boxes: Float,
    points: Float,
    sharp: Float,
    *,
    min_size: float = 0,
    min_sharpness: float = 0,
    max_yaw: float = 90,
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Say which of n faces are good enough, and why the others are not.

    Args:
        boxes: float32 [n, 4], (x0, y0, x1, y1), pixels.
        points: float32 [n, 5, 2].
        sharp: float32 [n], as `sharpness` gives it.
        min_size: pixels; a box whose shorter side is less is ``too_small``.
        min_sharpness: what has less is ``blurred``.
        max_yaw: degrees; what looks further to a side is ``turned``. 90 leaves all.

    Returns:
        bool [n], True where a face is kept; and the count of each of `REASONS`.
    """
    boxes = np.asarray(boxes)
    small = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) < min_size
    turned = np.abs(head_pose(points).yaw) > max_yaw
    blurred = np.asarray(sharp) < min_sharpness
    reasons = (small, turned & ~small, blurred & ~turned & ~small)
    return ~(small | turned | blurred), {
        name: int(mask.sum()) for name, mask in zip(REASONS, reasons, strict=True)
    }
