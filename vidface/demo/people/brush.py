"""Shapes in head units, and the brush that puts them on a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from vidface.demo.people.head import Head, Points
from vidface.demo.people.people import Colour

__all__ = ["Brush", "Ink", "ink", "mirror", "oval"]

Ink = tuple[int, int, int, int]


class Brush:
    """Shapes on one picture: listed one by one, then placed together (which is faster) and painted in order.

    ``width`` in head units makes an open line of the points, else they are a filled polygon.
    """

    def __init__(self, picture: Image.Image, head: Head) -> None:
        self._draw = ImageDraw.Draw(picture, "RGBA")
        self._head = head
        self._points: list[Points] = []
        self._kinds: list[tuple[int, bool, Ink, float | None]] = []

    def skin(
        self, points: Points, colour: Ink, *, lift: Points | float = 0.0, width: float | None = None
    ) -> None:
        """Points [N, 2] on the skin, or ``lift`` above it."""
        self._add(points, lift, True, colour, width)

    def space(self, points: Points, colour: Ink, *, width: float | None = None) -> None:
        """Points [N, 3] anywhere."""
        self._add(points[:, :2], points[:, 2], False, colour, width)

    def _add(self, points: Points, z: Points | float, skin: bool, colour: Ink, width: float | None) -> None:
        block = np.empty((len(points), 3))
        block[:, :2] = points
        block[:, 2] = z
        self._points.append(block)
        self._kinds.append((len(points), skin, colour, width))

    def finish(self) -> None:
        """Paint what was listed."""
        if not self._points:
            return
        points = np.concatenate(self._points)
        counts = [count for count, _, _, _ in self._kinds]
        skin = np.repeat([kind[1] for kind in self._kinds], counts)
        points[:, 2] += np.where(skin, self._head.depth(points[:, :2]), 0.0)
        flat = self._head.place(points).ravel().tolist()
        start = 0
        for count, _, colour, width in self._kinds:
            stop = start + 2 * count
            self.pixels(flat[start:stop], colour, width)
            start = stop
        self._points, self._kinds = [], []

    def pixels(self, flat: list[float], colour: Ink, width: float | None = None) -> None:
        """Paint pixels x0, y0, x1, y1 ... at once."""
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
