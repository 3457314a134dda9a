"""The parts of a drawn head, each a few polygons painted in the order in which they cover one another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from vidface.demo.head import Head, Points, smooth
from vidface.demo.people import Colour, Person

__all__ = ["Brush", "Face", "ink", "oval", "paint_back", "paint_face", "paint_front"]

Ink = tuple[int, int, int, int]


@dataclass(frozen=True)
class Face:
    """The expression of one picture; shares of the most that a face can do, or of its resting shape."""

    smile: float
    mouth_open: float
    brow_lift: float
    frown: float
    eyes_open: float
    gaze_x: float
    gaze_y: float


class Brush:
    """Shapes on one picture: listed one by one, then placed together (which is faster) and painted in order.

    ``width`` in head units makes an open line of the points, else they are a filled polygon.
    """

    def __init__(self, picture: Image.Image, head: Head) -> None:
        self._draw = ImageDraw.Draw(picture, "RGBA")
        self._head = head
        self._points: list[Points] = []
        self._kinds: list[tuple[int, bool, Ink, float | None]] = []

    def skin(self, points: Points, colour: Ink, *, lift: Points | float = 0.0, width: float | None = None) -> None:
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


def _mirror(points: Points, side: float) -> Points:
    """The left-hand (side -1) or right-hand (+1) copy of points drawn for the right-hand side."""
    return points * (side, 1.0)


# Behind the face ------------------------------------------------------------------------------------------------

_LOOSE = ("bob", "long")
_THICKNESS = {
    "buzz": (0.02, 0.03),
    "short": (0.06, 0.09),
    "quiff": (0.05, 0.20),
    "side-part": (0.08, 0.13),
    "fringe": (0.10, 0.13),
    "curly": (0.16, 0.20),
    "afro": (0.36, 0.36),
    "bob": (0.16, 0.14),
    "long": (0.10, 0.11),
    "bun": (0.04, 0.07),
    "receding": (0.07, 0.04),
}


def _thickness(who: Person) -> tuple[float, float]:
    wide, high = _THICKNESS[who.hair_style]
    return wide * (0.7 + 0.6 * who.hair_volume), high * (0.7 + 0.6 * who.hair_volume)


def paint_back(brush: Brush, who: Person, head: Head, clothes: Colour) -> None:
    """What lies behind the face: loose hair, bun, neck, shoulders, ears, and the bare head itself."""
    chin = who.chin
    if who.hair_style in _LOOSE:
        low = 0.85 if who.hair_style == "bob" else chin + 0.5 * who.hair_length
        wide = 1.0 + _thickness(who)[0]
        half = np.array([(0.5, -1.0), (1.0, -0.5), (1.06, 0.2), (1.0 + 0.1 * who.hair_length, low), (0.5, low + 0.1)])
        half *= (wide, 1.0)
        loop = np.concatenate([half, _mirror(half, -1)[::-1]])
        brush.space(_at_depth(smooth(loop), -0.25), ink(who.hair, 0.7))
    if who.hair_style == "bun":
        ball = oval(0.0, -who.crown - 0.16, 0.36, 0.30)
        brush.space(_at_depth(ball, -0.3), ink(who.hair, 0.85))
    neck = np.array([(-0.5, 0.5), (0.5, 0.5), (0.52, chin + 0.35), (0.9, chin + 1.2), (-0.9, chin + 1.2), (-0.52, chin + 0.35)])
    brush.space(_at_depth(neck, -0.15), ink(who.skin, 0.72))
    collar = np.array([(-0.56, chin + 0.28), (0.0, chin + 0.62), (0.56, chin + 0.28), (1.5, chin + 0.55), (2.2, chin + 1.6), (-2.2, chin + 1.6), (-1.5, chin + 0.55)])
    brush.space(_at_depth(collar, -0.15), ink(clothes))
    for side in (-1.0, 1.0):
        _ear(brush, who, head, side)
    brush.finish()
    brush.pixels(head.outline().ravel().tolist(), ink(who.skin))


def _at_depth(points: Points, z: float) -> Points:
    return np.column_stack([points, np.full(len(points), z)])


def _ear(brush: Brush, who: Person, head: Head, side: float) -> None:
    edge = side * 1.03 * float(np.interp(0.2, head.y, head.width))
    for size, share in ((1.0, 0.90), (0.6, 0.70)):
        ear = smooth(size * who.ears * np.array([(0.0, -0.22), (0.13, -0.2), (0.15, -0.02), (0.07, 0.2), (-0.03, 0.22)]))
        points = np.column_stack([edge + side * ear[:, 0], 0.2 + ear[:, 1], -0.06 - 0.5 * ear[:, 0]])
        brush.space(points, ink(who.skin, share))


# On the face ----------------------------------------------------------------------------------------------------


def paint_face(brush: Brush, who: Person, head: Head, face: Face, light: float) -> None:
    """Everything that lies flat on the face; the caller cuts it off at the head's outline."""
    for x, y in who.freckles:
        brush.skin(oval(x, y, 0.022, 0.022, 6), ink(who.skin, 0.72, 0.8))
    for x, y, radius in who.moles:
        brush.skin(oval(x, y, radius, radius, 8), ink(who.skin, 0.4))
    _lines(brush, who, head, face)
    _beard(brush, who, head)
    for side in (-1.0, 1.0):
        _eye(brush, who, head, face, side)
        _brow(brush, who, head, face, side)
    _mouth(brush, who, head, face)
    _nose(brush, who, head, light)
    brush.finish()


def _lines(brush: Brush, who: Person, head: Head, face: Face) -> None:
    depth = 0.12 + 0.55 * who.lines + 0.15 * max(0.0, face.smile)
    for side in (-1.0, 1.0):
        fold = np.array([(who.nose_width + 0.03, who.nose_length - 0.05), (who.mouth_width + 0.04, who.mouth_y - 0.14), (who.mouth_width + 0.08, who.mouth_y + 0.02)])
        brush.skin(_mirror(smooth(fold, closed=False), side), ink(who.skin, 0.7, depth), width=0.03)
        bag = np.array([(who.eye_x - 0.13, 0.13), (who.eye_x, 0.19), (who.eye_x + 0.15, 0.12)])
        brush.skin(_mirror(smooth(bag, closed=False), side), ink(who.skin, 0.72, depth), width=0.025)
    if who.lines > 0.35:
        for y in (-0.50, -0.60):
            brow = smooth(np.array([(-0.42, y), (0.0, y - 0.03), (0.42, y)]), closed=False)
            brush.skin(brow, ink(who.skin, 0.75, 0.6 * who.lines), width=0.025)


def _eye(brush: Brush, who: Person, head: Head, face: Face, side: float) -> None:
    wide, x = who.eye_width, who.eye_x
    squint = 1.0 - 0.25 * max(0.0, face.smile)
    up, down = who.eye_height * face.eyes_open * squint, 0.7 * who.eye_height * min(1.0, face.eyes_open) * squint
    tilt = who.eye_tilt
    corner_in, corner_out = (x - wide, 0.4 * tilt * wide), (x + wide, -tilt * wide)
    lid = [corner_in, (x - 0.4 * wide, -0.9 * up), (x + 0.25 * wide, -up - 0.3 * tilt * wide), corner_out]
    below = [(x + 0.4 * wide, down - 0.3 * tilt * wide), (x - 0.4 * wide, 0.85 * down)]
    opening = smooth(np.array(lid + below))
    shadow = opening * (1.0, 1.5) + (0.0, -0.02)
    brush.skin(_mirror(shadow, side), ink(who.skin, 0.84, 0.8))
    brush.skin(_mirror(opening, side), (238, 234, 230, 255))
    if face.eyes_open > 0.3:
        # The iris is cut off by the lids: keep only the part of it that lies between them.
        radius = who.iris_size
        upper_lid = _sorted(smooth(np.array(lid), closed=False))
        lower_lid = _sorted(smooth(np.array([corner_in, *below[::-1], corner_out]), closed=False))
        ring = oval(side * x + 0.09 * face.gaze_x, 0.03 * face.gaze_y - 0.012, radius, radius, 20)
        for scale, colour in ((1.0, ink(who.iris, 0.55)), (0.82, ink(who.iris)), (0.42, (14, 12, 14, 255))):
            disc = (ring - ring.mean(axis=0)) * scale + ring.mean(axis=0)
            local = disc * (side, 1.0)
            upper = np.interp(local[:, 0], *upper_lid)
            lower = np.interp(local[:, 0], *lower_lid)
            disc[:, 1] = np.clip(disc[:, 1], upper, np.maximum(upper, lower))
            brush.skin(disc, colour)
        glint = oval(side * x + 0.09 * face.gaze_x - 0.03, -0.045, 0.018, 0.018, 8)
        brush.skin(glint, (255, 255, 255, 230))
    lash = 0.025 + 0.02 * who.lipstick
    brush.skin(_mirror(smooth(np.array(lid), closed=False), side), ink(who.hair, 0.35), width=lash)
    if who.lid > 0.25:
        crease = smooth(np.array(lid), closed=False) * (1.0, 1.25) + (0.0, -0.035 - 0.03 * who.lid)
        brush.skin(_mirror(crease, side), ink(who.skin, 0.55, 0.8), width=0.02)


def _sorted(points: Points) -> tuple[Points, Points]:
    order = np.argsort(points[:, 0], kind="stable")
    return points[order, 0], points[order, 1]


def _brow(brush: Brush, who: Person, head: Head, face: Face, side: float) -> None:
    long, thick = who.brow_length, who.brow_thickness
    share = np.array([-1.0, -0.3, 0.35, 1.0])
    x = who.eye_x + 0.02 + long * share
    rise = -who.brow_height - 0.07 * face.brow_lift + who.brow_tilt * 0.4 * share * long * -1.0
    rise -= who.brow_arch * (1 - share**2)
    rise += 0.07 * face.frown * np.array([1.0, 0.5, 0.0, 0.0])
    weight = thick * np.array([0.9, 1.0, 0.8, 0.25])
    spine = np.concatenate([np.stack([x, rise - weight / 2], 1), np.stack([x, rise + weight / 2], 1)[::-1]])
    brush.skin(_mirror(smooth(spine), side), ink(who.hair, 0.75 * who.brow_dark, 0.92), lift=0.03)


def _nose(brush: Brush, who: Person, head: Head, light: float) -> None:
    base, wide, bridge, depth = who.nose_length, who.nose_width, who.nose_bridge, who.nose_depth
    tip = base - 0.07

    def part(points: list[tuple[float, float, float]], colour: Ink, *, width: float | None = None) -> None:
        """A part of the nose: (x, y, share of the nose's height above the face)."""
        curve = smooth(np.array(points), 4, closed=width is None)
        brush.skin(curve[:, :2], colour, lift=curve[:, 2] * depth, width=width)

    for side in (-1.0, 1.0):
        # The side of the nose turned from the light is darker, the other a little lighter than the cheek.
        dark = 0.5 + 0.5 * max(-1.0, min(1.0, -2.0 * light * side))
        part(
            [
                (side * bridge, -0.12, 0.1),
                (side * bridge * 0.9, 0.1, 0.45),
                (side * 0.4 * wide, tip - 0.02, 0.95),
                (side * 0.75 * wide, base - 0.02, 0.45),
                (side * 1.0 * wide, base - 0.06, 0.0),
                (side * (0.8 * wide + 0.02), base - 0.16, 0.0),
                (side * (bridge + 0.07), 0.1, 0.0),
            ],
            ink(who.skin, 1.04 - 0.24 * dark, 0.75),
        )
    half, low = 0.8 * wide, base - 0.01
    part(
        [(-half, low, 0.3), (0.0, base + 0.035, 0.55), (half, low, 0.3), (0.0, base - 0.03, 0.8)],
        ink(who.skin, 0.66),
    )
    half, low = 0.5 * wide, tip + 0.02
    part(
        [(-half, low, 0.8), (0.0, tip - 0.09, 0.95), (half, low, 0.8), (0.0, tip + 0.07, 0.9)],
        ink(who.skin, 1.0, 0.9),
    )
    half, low, high = 0.3 * wide, tip - 0.05, 0.6 * bridge
    part(
        [(-high, -0.1, 0.15), (high, -0.1, 0.15), (half, low, 1.0), (-half, low, 1.0)],
        ink(who.skin, 1.07, 0.7),
    )
    for side in (-1.0, 1.0):
        step = side * wide
        part(
            [
                (0.22 * step, base - 0.005, 0.6),
                (0.42 * step, base - 0.03, 0.55),
                (0.62 * step, base - 0.005, 0.4),
                (0.42 * step, base + 0.015, 0.45),
            ],
            ink(who.skin, 0.34),
        )
        part(
            [(0.9 * step, base - 0.16, 0.1), (1.05 * step, base - 0.07, 0.05), (0.85 * step, base, 0.2)],
            ink(who.skin, 0.58, 0.85),
            width=0.025,
        )


def _mouth(brush: Brush, who: Person, head: Head, face: Face) -> None:
    y, wide = who.mouth_y, who.mouth_width * (1 + 0.16 * face.smile)
    raise_corner = -0.07 * face.smile
    gap = 0.15 * face.mouth_open
    upper, lower = who.lip_upper * (1 - 0.2 * max(0.0, face.smile)), who.lip_lower
    left, right = (-wide, y + raise_corner), (wide, y + raise_corner)
    seam_up = [left, (-0.4 * wide, y - 0.15 * gap), (0.0, y + 0.008 - 0.2 * gap), (0.4 * wide, y - 0.15 * gap), right]
    seam_down = [left, (-0.4 * wide, y + 0.8 * gap), (0.0, y + 0.008 + gap), (0.4 * wide, y + 0.8 * gap), right]
    top = [right, (0.28 * wide, y - upper - 0.2 * gap), (0.0, y - 0.72 * upper - 0.2 * gap), (-0.28 * wide, y - upper - 0.2 * gap), left]
    bottom = [right, (0.45 * wide, y + 0.85 * lower + gap), (0.0, y + lower + gap), (-0.45 * wide, y + 0.85 * lower + gap), left]

    def between(first: list[tuple[float, float]], second: list[tuple[float, float]], colour: Ink) -> None:
        both = np.concatenate([smooth(np.array(first), closed=False), smooth(np.array(second), closed=False)])
        brush.skin(both, colour, lift=0.05)

    between(seam_down, bottom, ink(who.lip))
    between(seam_up, top, ink(who.lip, 0.84))
    if gap > 0.01:
        between(seam_up, seam_down[::-1], (58, 22, 24, 255))
        teeth = [(x, min(ty + 0.05, by)) for (x, ty), (_, by) in zip(seam_up, seam_down, strict=True)]
        between(seam_up, teeth[::-1], (232, 226, 216, 255))
    else:
        brush.skin(smooth(np.array(seam_up), closed=False), ink(who.lip, 0.42), lift=0.05, width=0.03)
    shine = oval(0.0, y + 0.55 * lower + gap, 0.3 * wide, 0.18 * lower, 10)
    brush.skin(shine, ink(who.lip, 1.22, 0.5), lift=0.05)


def _beard(brush: Brush, who: Person, head: Head) -> None:
    if who.beard == "none":
        return
    y, wide = who.mouth_y, who.mouth_width
    colour = ink(who.hair, 0.9 * who.beard_dark, 0.30 if who.beard == "stubble" else 0.94)
    lip = [(0.0, y - 0.15), (0.55 * wide, y - 0.16), (wide + 0.09, y + 0.02)]
    if who.beard in ("full", "stubble"):
        edge = head.across(np.array([(0.99, 0.1), (0.92, 0.35), (0.80, 0.55)]))
        half = np.array([*edge, (wide + 0.12, y - 0.12), (0.55 * wide, y - 0.17), (0.0, y - 0.14)])
        jaw = head.y > 0.1
        rim = np.stack([head.width[jaw], head.y[jaw]], axis=1)[::-1]
        line = np.concatenate([rim, half])
        loop = np.concatenate([line, _mirror(line, -1)[::-1]])
        brush.skin(loop, colour)
    if who.beard in ("moustache", "goatee"):
        half_lip = np.array([*lip, (0.6 * wide, y - 0.03), (0.0, y - 0.05)])
        loop = np.concatenate([half_lip, _mirror(half_lip, -1)[::-1]])
        brush.skin(smooth(loop, 3), colour, lift=0.06)
    if who.beard == "goatee":
        chin = np.array([(0.0, y + 0.12), (0.8 * wide, y + 0.1), (wide + 0.08, y + 0.02), (wide + 0.06, y + 0.2), (0.22, who.chin - 0.02), (0.0, who.chin + 0.02)])
        loop = np.concatenate([chin, _mirror(chin, -1)[::-1]])
        brush.skin(smooth(loop, 3), colour)


# Before the face ------------------------------------------------------------------------------------------------


def paint_front(brush: Brush, who: Person, head: Head, turned: float) -> None:
    """What covers the face: the near ear, the hair and the glasses; ``turned`` is the yaw in radians."""
    if abs(turned) > 0.15:
        _ear(brush, who, head, -1.0 if turned > 0 else 1.0)
    if who.hair_style != "bald":
        _hair(brush, who, head)
    if who.glasses != "none":
        _spectacles(brush, who)
    brush.finish()


def _hairline(who: Person) -> list[tuple[float, float]]:
    """The lower edge of the hair from left to right: (share of the half width, y)."""
    top, style, part = who.hairline, who.hair_style, who.parting
    burn = 0.25 if style in ("afro", "curly", "short", "side-part", "quiff") else 0.05
    if style == "receding":
        return [(-1.0, 0.2), (-0.93, 0.1), (-0.90, -0.4), (-0.80, -0.95 * who.crown), (0.80, -0.95 * who.crown), (0.90, -0.4), (0.93, 0.1), (1.0, 0.2)]
    if style == "fringe":
        low = -0.30 - 0.12 * who.hair_volume
        return [(-1.0, burn), (-0.9, burn), (-0.84, -0.15), (-0.5, low), (0.1 * part, low + 0.03), (0.5, low), (0.84, -0.15), (0.9, burn), (1.0, burn)]
    if style in _LOOSE:
        low = 0.85 if style == "bob" else 1.0
        part *= 0.5
        return [(-1.0, low), (-0.90, low), (-0.86, 0.0), (-0.72, -0.45), (part - 0.1, top - 0.12), (part, top - 0.18), (part + 0.1, top - 0.12), (0.72, -0.45), (0.86, 0.0), (0.90, low), (1.0, low)]
    if style == "side-part":
        way = 1.0 if part > 0 else -1.0
        return [(-1.0, burn), (-0.92, burn), (-0.88, -0.3), (-0.7, top + 0.05 + 0.12 * way), (-0.2, top + 0.06 * way), (0.2, top - 0.06 * way), (0.7, top + 0.05 - 0.12 * way), (0.88, -0.3), (0.92, burn), (1.0, burn)]
    peak = 0.10 * part
    return [(-1.0, burn), (-0.92, burn), (-0.89, -0.25), (-0.74, top + 0.08), (-0.4, top - 0.04), (0.0, top + peak), (0.4, top - 0.04), (0.74, top + 0.08), (0.89, -0.25), (0.92, burn), (1.0, burn)]


def _hair(brush: Brush, who: Person, head: Head) -> None:
    brush.finish()
    line = _hairline(who)
    edge = head.surface(head.across(smooth(np.array(line), 3, closed=False)), lift=0.02)
    grow_x, grow_y = _thickness(who)
    cap = head.outline(grow_x=grow_x, grow_y=grow_y, bottom=line[0][1])
    colour = ink(who.hair, alpha=0.8 if who.hair_style == "buzz" else 1.0)
    if who.hair_style == "receding":
        # A bald crown: two separate sides.
        half, middle = len(edge) // 2, len(cap) // 2
        brush.pixels(_loop(edge[:half], cap[:middle]), colour)
        brush.pixels(_loop(edge[half:], cap[middle:]), colour)
        return
    if who.hair_style in ("curly", "afro"):
        for curls, radius in ((cap[::2], 0.14), (edge[6:-6:3], 0.09)):
            for x, y in curls:
                brush.pixels(oval(x, y, radius * head.unit, radius * head.unit, 10).ravel().tolist(), colour)
    brush.pixels(_loop(edge, cap), colour)
    if who.hair_style == "buzz":
        return
    # A few strands from the parting towards the hairline tell the direction of the hair and catch the light.
    top = np.array([(0.35 * who.parting, -who.crown * (1 + 0.6 * grow_y), 0.15), (0.0, 0.0, 0.0)])
    crown, centre = head.place(top)
    middle = np.linspace(0.36, 0.64, 7) * (len(edge) - 1)
    for k, index in enumerate(middle.astype(int)):
        end = crown + 0.75 * (edge[index] - crown)
        bulge = (crown + end) / 2 + 0.05 * (end - centre)
        strand = smooth(np.stack([crown, bulge, end]), closed=False)
        shade = ink(who.hair, 1.3 if k % 2 else 0.65, 0.5)
        brush.pixels(strand.ravel().tolist(), shade, 0.04)


def _loop(first: Points, second: Points) -> list[float]:
    """Flat pixels of the area between two curves that run the same way."""
    flat: list[float] = np.concatenate([first, second[::-1]]).ravel().tolist()
    return flat


def _spectacles(brush: Brush, who: Person) -> None:
    colour = ink(who.glasses_colour)
    width = 0.05
    size = who.glasses_size
    x, wide, high = who.eye_x + 0.02, 0.29 * size, 0.22 * size
    for side in (-1.0, 1.0):
        if who.glasses == "round":
            rim = oval(side * x, 0.03, 0.9 * wide, 1.15 * high, 20)
        else:
            square = np.array([(-1, -0.9), (-0.4, -1), (0.4, -1), (1, -0.9), (0.95, 0.5), (0.6, 0.95), (-0.6, 0.95), (-0.95, 0.5)])
            rim = smooth(square * (wide, high) + (side * x, 0.03), 3)
        # Lenses are flat and stand before the face.
        depth = 0.95 - 0.25 * (np.abs(rim[:, 0]) / 0.8) ** 2
        placed = np.column_stack([rim, depth + 0.12])
        brush.space(placed, (225, 235, 245, 26))
        brush.space(np.concatenate([placed, placed[:2]]), colour, width=width)
        arm = np.array([(side * (x + wide), -0.05, 0.75), (side * 1.0 * who.cheek, -0.02, 0.1)])
        brush.space(arm, colour, width=width)
    bridge = smooth(np.array([(-(x - wide), 0.0, 1.06), (0.0, -0.05, 1.12), (x - wide, 0.0, 1.06)]), closed=False)
    brush.space(bridge, colour, width=width)
