"""The shape of a drawn head, where its points fall in the picture, and the brush that puts shapes there.

Every horizontal cut through the head is an ellipse, so the turned head has an exact outline and the features on its
front move against it as on a real one (parallax). Weak perspective, then the similarity transform that brings eyes,
nose and mouth corners to the usual five-point target of 112x112 face crops.
"""

from __future__ import annotations

from functools import lru_cache
from math import cos, sin
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidface.demo.people.people import Colour, Person

SIZE = 112
"""Side of a drawn frame in pixels."""

Points = NDArray[np.float64]
Ink = tuple[int, int, int, int]

_TARGET: Points = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


@lru_cache(maxsize=64)
def _spline(n: int, steps: int, closed: bool) -> Points:
    """Weights [M, n] that turn n control points into a Catmull-Rom curve of M points."""
    at = np.arange(steps) / steps
    basis = 0.5 * np.stack(
        [-(at**3) + 2 * at**2 - at, 3 * at**3 - 5 * at**2 + 2, -3 * at**3 + 4 * at**2 + at, at**3 - at**2],
        axis=1,
    )
    segments = n if closed else n - 1
    weights = np.zeros((segments * steps + (0 if closed else 1), n))
    for segment in range(segments):
        for k in range(4):
            index = segment + k - 1
            column = index % n if closed else min(max(index, 0), n - 1)
            weights[segment * steps : (segment + 1) * steps, column] += basis[:, k]
    if not closed:
        weights[-1, -1] = 1.0
    return weights


def smooth(points: Points, steps: int = 5, *, closed: bool = True) -> Points:
    """A smooth curve [M, D] through control points [n, D]."""
    curve: Points = _spline(len(points), steps, closed) @ points
    return curve


class Head:
    """A head in one pose: from head units to pixels of a picture ``size`` pixels wide.

    The pose (radians), and what the alignment leaves over (pixels, radians, a factor).
    """

    def __init__(self, person: Person, pose: SimpleNamespace, size: int) -> None:
        self._size = size
        crown, chin, temple = person.crown, person.chin, person.temple
        upper = [(0.0, -crown), (0.50 * temple, -0.94 * crown), (0.92 * temple, -0.60 * crown)]
        middle = [(temple, -0.15), (person.cheek, 0.25), (person.jaw, 0.62 * chin)]
        half = smooth(
            np.array([*upper, *middle, (person.chin_width, 0.95 * chin), (0.0, chin)]), closed=False
        )
        self.y: Points = np.maximum.accumulate(half[:, 1])
        self.width: Points = np.maximum(half[:, 0], 0.0)
        depth = np.where(
            self.y < 0, np.sqrt(np.maximum(0.0, 1 - (self.y / crown) ** 2)), 1 - 0.22 * (self.y / chin) ** 2
        )
        # The axis of the jaw lies before the axis of the skull.
        self.axis: Points = np.interp(self.y, (-crown, -0.2, chin), (-0.05, 0.0, 0.42))
        self.radius: Points = np.maximum(depth - self.axis, 0.0)

        self._yaw = (cos(pose.yaw), sin(pose.yaw))
        self._pitch = (cos(pose.pitch), sin(pose.pitch))
        self._matrix: Points = np.eye(2)
        self._origin: Points = np.zeros(2)
        eye, mouth = person.eye_x, 0.8 * person.mouth_width
        marks = self.surface(
            np.array([(-eye, 0.0), (eye, 0.0), (-mouth, person.mouth_y), (mouth, person.mouth_y)])
        )
        tip = self.surface(np.array([(0.0, person.nose_length - 0.06)]), lift=person.nose_depth)
        matrix, origin = _similarity(np.concatenate([marks[:2], tip, marks[2:]]), _TARGET)
        turn = pose.scale * np.array([(cos(pose.roll), -sin(pose.roll)), (sin(pose.roll), cos(pose.roll))])
        centre = np.array([SIZE / 2, SIZE / 2 + 4.0])
        shift = np.array([pose.shift_x, pose.shift_y])
        self._matrix = turn @ matrix * (size / SIZE)
        self._origin = (turn @ (origin - centre) + centre + shift) * (size / SIZE)
        self.unit = float(np.sqrt(abs(np.linalg.det(self._matrix))))
        """Pixels of one head unit."""

    def place(self, points: Points) -> Points:
        """Pixels [N, 2] of points [N, 3] given in head units."""
        x, y, z = points.T
        across = x * self._yaw[0] + z * self._yaw[1]
        toward = z * self._yaw[0] - x * self._yaw[1]
        down = y * self._pitch[0] - toward * self._pitch[1]
        placed: Points = np.stack([across, down], axis=1) @ self._matrix.T + self._origin
        return placed

    def depth(self, points: Points) -> Points:
        """Distance [N] of the skin before the head's centre at points [N, 2]."""
        x, y = points.T
        side = np.minimum(np.abs(x) / np.maximum(np.interp(y, self.y, self.width), 1e-6), 1.0)
        depth: Points = np.interp(y, self.y, self.axis) + np.interp(y, self.y, self.radius) * np.sqrt(
            1 - side**2
        )
        return depth

    def surface(self, points: Points, *, lift: float = 0.0) -> Points:
        """Pixels [N, 2] of points [N, 2] on the front of the head, ``lift`` above the skin."""
        return self.place(np.column_stack([points, self.depth(points) + lift]))

    def across(self, share: Points) -> Points:
        """Points [N, 2] in head units from (share of the half width at y, y)."""
        return np.column_stack([share[:, 0] * np.interp(share[:, 1], self.y, self.width), share[:, 1]])

    def outline(self, *, grow_x: float = 0.0, grow_y: float = 0.0, bottom: float = 9.0) -> Points:
        """Pixels of the outline above ``bottom``, left to right, widened by shares of the width and of the height."""
        inside = self.y <= bottom
        y, width, axis, radius = self.y[inside], self.width[inside], self.axis[inside], self.radius[inside]
        half = np.hypot(width * self._yaw[0], radius * self._yaw[1]) * (1 + grow_x)
        middle = axis * self._yaw[1]
        down = y * (1 + grow_y) * self._pitch[0] - axis * self._yaw[0] * self._pitch[1]
        left = np.stack([middle - half, down], axis=1)[::-1]
        right = np.stack([middle + half, down], axis=1)
        pixels: Points = np.concatenate([left, right]) @ self._matrix.T + self._origin
        return pixels

    def normals(self) -> tuple[Points, Points, Points]:
        """Unit normals of a ball-like head, three maps [SIZE, SIZE]; clamped to the rim outside the head."""
        inverse = np.linalg.inv(self._matrix)
        step = ((np.arange(SIZE) + 0.5) * (self._size / SIZE)).astype(np.float32)
        inverse = inverse.astype(np.float32)
        dx, dy = step - np.float32(self._origin[0]), step - np.float32(self._origin[1])
        x = inverse[0, 0] * dx[None, :] + inverse[0, 1] * dy[:, None]
        y = inverse[1, 0] * dx[None, :] + inverse[1, 1] * dy[:, None]
        middle, half = (
            self.axis * self._yaw[1],
            np.hypot(self.width * self._yaw[0], self.radius * self._yaw[1]),
        )
        nx = (x - float(np.mean(middle))) / (1.02 * float(half.max()))
        ny = y / (1.02 * float(self.y[-1] - self.y[0]) / 2)
        length = nx * nx + ny * ny
        over = np.sqrt(np.maximum(length, 1.0))
        nx, ny = nx / over, ny / over
        return nx, ny, np.sqrt(np.maximum(0.0, 1 - nx * nx - ny * ny))


def _similarity(source: Points, target: Points) -> tuple[Points, Points]:
    """The rotation, scale and shift that bring source [N, 2] nearest to target [N, 2]."""
    from_mean, to_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - from_mean, target - to_mean
    norm = float((a * a).sum())
    real = float((a * b).sum()) / norm
    imaginary = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / norm
    matrix = np.array([(real, -imaginary), (imaginary, real)])
    return matrix, to_mean - matrix @ from_mean


class Brush:
    """Shapes listed one by one, then placed on a picture together (which is faster) and painted in order.

    With ``width``, in head units, the points make an open line, else a filled polygon.
    """

    def __init__(self, picture: Image.Image, head: Head) -> None:
        self._draw = ImageDraw.Draw(picture, "RGBA")
        self._head = head
        self._listed: list[tuple[Points, bool, Ink, float | None]] = []

    def skin(
        self, points: Points, colour: Ink, *, lift: Points | float = 0.0, width: float | None = None
    ) -> None:
        """Points [N, 2] on the skin, or ``lift`` above it."""
        self._list(points, lift, True, colour, width)

    def space(self, points: Points, colour: Ink, *, z: Points | float, width: float | None = None) -> None:
        """Points [N, 2] at a distance ``z`` before the centre of the head."""
        self._list(points, z, False, colour, width)

    def _list(self, points: Points, z: Points | float, skin: bool, colour: Ink, width: float | None) -> None:
        block = np.empty((len(points), 3))
        block[:, :2], block[:, 2] = points, z
        self._listed.append((block, skin, colour, width))

    def finish(self) -> None:
        if not self._listed:
            return
        blocks, on_skin, colours, widths = zip(*self._listed, strict=True)
        counts = [len(block) for block in blocks]
        points = np.concatenate(blocks)
        points[:, 2] += np.where(np.repeat(on_skin, counts), self._head.depth(points[:, :2]), 0.0)
        flat, start = self._head.place(points).ravel().tolist(), 0
        for count, colour, width in zip(counts, colours, widths, strict=True):
            self._paint(flat[start : start + 2 * count], colour, width)
            start += 2 * count
        self._listed = []

    def pixels(self, points: Points, colour: Ink, width: float | None = None) -> None:
        self._paint(points.ravel().tolist(), colour, width)

    def _paint(self, flat: list[float], colour: Ink, width: float | None) -> None:
        if width is None:
            self._draw.polygon(flat, fill=colour)
        else:
            self._draw.line(flat, fill=colour, width=max(1, int(width * self._head.unit + 0.5)))


def ink(colour: Colour, share: float = 1.0, alpha: float = 1.0) -> Ink:
    """A colour made ``share`` as bright, ``alpha`` opaque, for Pillow."""
    red, green, blue = (int(min(255.0, max(0.0, c * share)) + 0.5) for c in colour)
    return red, green, blue, int(255 * alpha + 0.5)


def oval(x: float, y: float, rx: float, ry: float, n: int = 16) -> Points:
    """Points [n, 2] of an upright ellipse."""
    points: Points = _circle(n) * (rx, ry) + (x, y)
    return points


@lru_cache(maxsize=16)
def _circle(n: int) -> Points:
    angle = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def mirror(points: Points, side: float) -> Points:
    """The left-hand (side -1) or right-hand (+1) copy of points drawn for the right-hand side."""
    return points * (side, 1.0)


def both_sides(half: Points) -> Points:
    """The right-hand half of a loop, and its mirror image back to where it began."""
    return np.concatenate([half, mirror(half, -1)[::-1]])
