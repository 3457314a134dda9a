"""What a face is worth before any network saw it: how sharp it is, where it looks, how large it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.files.faces import FILTERED
from vidface.frames.faces.align import opencv
from vidface.frames.frame import Pixels

Float = npt.NDArray[np.float32]

_SIDE = 112  # pixels; faces of other sizes are measured at this one
_INNER = slice(24, 104), slice(20, 92)  # of those, rows and columns: the face without hair and background
_SMOOTHING = 1.5  # pixels, so that noise and the blocks of a codec are not taken for detail

# The five points of a head that looks into the camera, in units of the distance between its eyes: x to the image's
# right, y down, z away from the camera. Across and down it is the median of the 1,047 faces of LFW whose nose and mouth
# lie in the middle. The depth of the nose, some 28 of 63 mm, cannot be seen from in front; it only scales the yaw.
_HEAD = np.array(
    [(-0.5, 0.0, 0.0), (0.5, 0.0, 0.0), (0.0, 0.55, -0.45), (-0.425, 0.965, 0.0), (0.425, 0.965, 0.0)]
)


def sharpness(faces: Pixels) -> Float:
    """How much fine detail aligned faces show, whatever their light and contrast.

    Of the inner face, smoothed a little, the mean square of the second derivative: across and down, the less of the
    two, since motion blurs one direction only. It is divided by the variance of the face's grey levels and given in
    thousandths. Sharp photographs have some 45; below 10 a face is hardly recognised. A face that was small has little,
    since it was enlarged. (The usual variance of the Laplacian follows light and noise more than blur: `docs/faces.md`
    compares them.)

    Args:
        faces: uint8 [n, h, w, 3], RGB, aligned; measured at 112x112.

    Returns:
        float32 [n], 0 for a face of one grey.
    """
    cv2 = opencv()
    if faces.dtype != np.uint8 or faces.ndim != 4 or faces.shape[3] != 3:
        raise UsageError(
            f"faces must be uint8 n x h x w x 3, not {faces.dtype} {' x '.join(map(str, faces.shape))}"
        )
    values = np.empty(len(faces), np.float32)
    for row, face in enumerate(faces):
        grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
        if grey.shape != (_SIDE, _SIDE):
            grey = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        smooth = cv2.GaussianBlur(grey, (0, 0), _SMOOTHING)
        detail = min(
            float(np.square(cv2.Sobel(smooth, cv2.CV_32F, *order)[_INNER], dtype=np.float64).mean())
            for order in ((2, 0), (0, 2))
        )
        # One grey level squared more, so that the rounding of a black face is no detail.
        values[row] = 1000 * detail / (float(grey[_INNER].var(dtype=np.float64)) + 1)
    return values


def head_yaw(points: npt.NDArray[Any]) -> Float:
    """Estimate from their five points alone, [n, 5, 2] as in `Faces`, how far heads are turned to a side.

    The mean head is laid on the points by the affine camera of least squares; the nearest turn is its polar factor,
    and the angle is read from that. Heads differ from the mean one, so it is good to some ten degrees, enough to
    tell a profile from a face; beyond 60 degrees a detector's points are guesses.

    Returns float32 [n], degrees, -90 to 90: above 0 turned to the image's right, 0 straight into the camera.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise UsageError(f"points must be n x 5 x 2, not {' x '.join(map(str, points.shape))}")
    centred = points - points.mean(axis=1, keepdims=True)
    axes = (np.linalg.pinv(_HEAD - _HEAD.mean(axis=0)) @ centred).transpose(0, 2, 1)  # [n, 2, 3]
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    # The turn is roll * pitch * yaw: the head turns first, then nods, then is tilted in the image.
    away = np.cross(*np.moveaxis(left @ right, 1, 0))  # the third row of the turn, [n, 3]
    return np.degrees(np.arctan2(away[:, 0], np.abs(away[:, 2]))).astype(np.float32)


def filter_faces(
    boxes: Float,
    points: Float,
    sharp: Float,
    *,
    min_size: float = 0,
    min_sharpness: float = 0,
    max_yaw: float = 90,
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Say which of n faces are good enough, bool [n], and count why the others are not, by `FILTERED`.

    A box, float32 [n, 4], whose shorter side is less than ``min_size`` pixels is ``too_small``; what looks further to a
    side than ``max_yaw`` degrees is ``turned``, and 90 leaves all; what is less sharp, by `sharpness`, is ``blurred``.
    """
    boxes = np.asarray(boxes)
    fails = (
        (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) < min_size,
        np.abs(head_yaw(points)) > max_yaw,
        np.asarray(sharp) < min_sharpness,
    )
    kept = np.ones(len(boxes), np.bool_)
    counts = {}
    for reason, fail in zip(FILTERED, fails, strict=True):
        counts[reason] = int(np.count_nonzero(kept & fail))
        kept &= ~fail
    return kept, counts
