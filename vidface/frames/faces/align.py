"""Faces cut out and turned upright: five points are laid on the template that backbones were trained with.

A similarity (turn, one scale, shift) cannot shear a face. It is the one of least squares, and the pixels are read
bilinearly: `docs/faces.md` says how well that gives the crops of another tool back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.frames.frame import Pixels

Array = npt.NDArray[np.float64]

# (x, y) in a picture of 112x112: image-left eye, image-right eye, nose, image-left and image-right mouth corner. The
# template of ArcFace and of the challenges' crops.
TEMPLATE: Array = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_SIDE = 112


def template(size: tuple[int, int] = (_SIDE, _SIDE)) -> Array:
    """Where the five points belong in a picture of ``size`` (height, width): float64 [5, 2], (x, y).

    For 112x96, and what is as narrow, it is that of 112x112 without 8 columns on either side, as networks of that
    input are trained. Else it grows with the shorter side and lies in the middle of the longer one. Pixel centres are
    whole numbers, so it is the area of the pixels that is scaled: (x + 0.5) * s - 0.5.
    """
    height, width = size
    scale = (height if 6 * height == 7 * width else min(height, width)) / _SIDE
    middle = (np.array([width, height]) - _SIDE * scale) / 2
    return (TEMPLATE + 0.5) * scale - 0.5 + middle


def similarities(points: npt.ArrayLike, target: npt.ArrayLike) -> Array:
    """The similarity of least squares from each set of points to the target, without mirroring (Umeyama 1991).

    Points as complex numbers make it a linear fit: w = a z + b, where a turns and scales. With the means taken off,
    a = sum(conj(z) w) / sum(|z|^2). That is Umeyama's solution for two dimensions where no mirroring is allowed.

    Args:
        points: [n, k, 2], (x, y).
        target: [k, 2], (x, y).

    Returns:
        float64 [n, 2, 3]: matrices that take (x, y, 1) of the picture to the target. NaN where all points of a set
        are one, or one is not finite.
    """
    source = np.asarray(points, np.float64)
    goal = np.asarray(target, np.float64)
    z = source[..., 0] + 1j * source[..., 1]
    w = goal[:, 0] + 1j * goal[:, 1]
    middle = z.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        centred = z - middle
        a = (centred.conj() @ (w - w.mean())) / (np.abs(centred) ** 2).sum(axis=1)
        b = w.mean() - a * middle[:, 0]
    return np.stack([np.stack([a.real, -a.imag, b.real], -1), np.stack([a.imag, a.real, b.imag], -1)], axis=1)


def align_faces(
    pixels: Pixels,
    points: npt.NDArray[Any],
    size: tuple[int, int] = (_SIDE, _SIDE),
    target: npt.ArrayLike | None = None,
) -> Pixels:
    """Cut faces out of a picture, upright and in one size.

    Args:
        pixels: uint8 [H, W, 3].
        points: [n, 5, 2], (x, y) in pixels of the picture, in the order of `TEMPLATE`.
        size: (height, width) of the faces.
        target: [5, 2], (x, y), where the points belong in a face; None: where `template` has them.

    Returns:
        uint8 [n, height, width, 3]; black where a face reaches beyond the picture.

    Raises:
        UsageError: pixels that are not uint8 RGB, points of another shape, not finite, or all in one place, a size
            below 1; OpenCV is not installed.
    """
    pixels, points = np.asarray(pixels), np.asarray(points, np.float64)
    goal = template(size) if target is None else np.asarray(target, np.float64)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise UsageError(f"pixels must be uint8 H x W x 3, in 0..255, not {pixels.dtype} {_shown(pixels)}")
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise UsageError(f"points must be n x 5 x 2, not {_shown(points)}")
    if goal.shape != (5, 2) or min(size) < 1 or not np.ptp(goal, axis=0).any():
        raise UsageError(f"a face needs a size above 0 and 5 x 2 points in it, not {size} and {_shown(goal)}")
    matrices = similarities(points, goal)
    if not np.isfinite(matrices).all():
        raise UsageError("points of a face must be finite numbers, and not all the same")
    faces = np.empty((len(points), *size, 3), np.uint8)
    for matrix, face in zip(matrices, faces, strict=True):
        face[:] = warp(pixels, matrix, size)
    return faces


def _shown(array: npt.NDArray[Any]) -> str:
    return " x ".join(map(str, array.shape))


def warp(pixels: Pixels, matrix: Array, size: tuple[int, int]) -> Pixels:
    """A picture moved by a similarity, float64 [2, 3]: uint8 [height, width, 3], black where it ends.

    Pixels are read bilinearly, so if two or more pixels of the picture make one of the result, whole blocks of them
    are averaged first: else most would be passed over, and noise and patterns of fine detail come out as they fall.
    """
    cv2 = opencv()
    height, width = size
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale < 0.5:
        pixels, matrix = _in_blocks(pixels, matrix, size, scale)
    if not pixels.size:
        return np.zeros((*size, 3), np.uint8)
    return np.asarray(cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR))


def _in_blocks(pixels: Pixels, matrix: Array, size: tuple[int, int], scale: float) -> tuple[Pixels, Array]:
    """What a warp reads of a picture with each block of ``1 / scale`` pixels a side as one, and the warp of that."""
    cv2 = opencv()
    turn, shift = matrix[:, :2], matrix[:, 2]
    height, width = size
    corners = np.array([(-1, -1), (width, -1), (-1, height), (width, height)])
    read = (corners - shift) @ np.linalg.inv(turn).T
    most = np.array(pixels.shape[1::-1])
    start = np.clip(np.floor(read.min(axis=0) - 1 / scale), 0, most).astype(int)
    stop = np.clip(np.ceil(read.max(axis=0) + 1 / scale), 0, most).astype(int)
    part = pixels[start[1] : stop[1], start[0] : stop[0]]
    if not part.size:
        return part, matrix
    block = int(min(1 / scale + 1e-6, max(part.shape[:2])))
    down, across = (-side % block for side in part.shape[:2])
    if down or across:
        part = cv2.copyMakeBorder(part, 0, down, 0, across, cv2.BORDER_CONSTANT)
    rows, columns = (side // block for side in part.shape[:2])
    part = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    return part, np.column_stack([block * turn, turn @ (start + (block - 1) / 2) + shift])


def opencv() -> Any:
    """OpenCV's module, version 5 or newer.

    OpenCV 4 rounds the shares of pixels that a warp reads, and its YuNet sees faces in memory that was never written
    where a side of the frame is some 20 pixels or less, another number on every run.

    Raises:
        UsageError: it is not installed, or older.
    """
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            f"faces are found and aligned by OpenCV: pip install -e '.[detect]' ({error})"
        ) from None
    if int(cv2.__version__.partition(".")[0]) < 5:
        raise UsageError(f"OpenCV {cv2.__version__} is too old, 5 is needed: pip install -e '.[detect]'")
    return cv2
