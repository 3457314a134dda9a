"""What lies behind and before the face: hair, ears, neck, shoulders and glasses."""

from __future__ import annotations

import numpy as np

from vidface.demo.people.brush import Brush, ink, mirror, oval
from vidface.demo.people.head import Head, Points, smooth
from vidface.demo.people.people import Colour, Person

__all__ = ["paint_back", "paint_front"]

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
        half = np.array(
            [(0.5, -1.0), (1.0, -0.5), (1.06, 0.2), (1.0 + 0.1 * who.hair_length, low), (0.5, low + 0.1)]
        )
        half *= (wide, 1.0)
        loop = np.concatenate([half, mirror(half, -1)[::-1]])
        brush.space(_at_depth(smooth(loop), -0.25), ink(who.hair, 0.7))
    if who.hair_style == "bun":
        ball = oval(0.0, -who.crown - 0.16, 0.36, 0.30)
        brush.space(_at_depth(ball, -0.3), ink(who.hair, 0.85))
    neck = np.array(
        [
            (-0.5, 0.5),
            (0.5, 0.5),
            (0.52, chin + 0.35),
            (0.9, chin + 1.2),
            (-0.9, chin + 1.2),
            (-0.52, chin + 0.35),
        ]
    )
    brush.space(_at_depth(neck, -0.15), ink(who.skin, 0.72))
    collar = np.array(
        [
            (-0.56, chin + 0.28),
            (0.0, chin + 0.62),
            (0.56, chin + 0.28),
            (1.5, chin + 0.55),
            (2.2, chin + 1.6),
            (-2.2, chin + 1.6),
            (-1.5, chin + 0.55),
        ]
    )
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
        ear = smooth(
            size
            * who.ears
            * np.array([(0.0, -0.22), (0.13, -0.2), (0.15, -0.02), (0.07, 0.2), (-0.03, 0.22)])
        )
        points = np.column_stack([edge + side * ear[:, 0], 0.2 + ear[:, 1], -0.06 - 0.5 * ear[:, 0]])
        brush.space(points, ink(who.skin, share))


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
        return [
            (-1.0, 0.2),
            (-0.93, 0.1),
            (-0.90, -0.4),
            (-0.80, -0.95 * who.crown),
            (0.80, -0.95 * who.crown),
            (0.90, -0.4),
            (0.93, 0.1),
            (1.0, 0.2),
        ]
    if style == "fringe":
        low = -0.30 - 0.12 * who.hair_volume
        return [
            (-1.0, burn),
            (-0.9, burn),
            (-0.84, -0.15),
            (-0.5, low),
            (0.1 * part, low + 0.03),
            (0.5, low),
            (0.84, -0.15),
            (0.9, burn),
            (1.0, burn),
        ]
    if style in _LOOSE:
        low = 0.85 if style == "bob" else 1.0
        part *= 0.5
        return [
            (-1.0, low),
            (-0.90, low),
            (-0.86, 0.0),
            (-0.72, -0.45),
            (part - 0.1, top - 0.12),
            (part, top - 0.18),
            (part + 0.1, top - 0.12),
            (0.72, -0.45),
            (0.86, 0.0),
            (0.90, low),
            (1.0, low),
        ]
    if style == "side-part":
        way = 1.0 if part > 0 else -1.0
        return [
            (-1.0, burn),
            (-0.92, burn),
            (-0.88, -0.3),
            (-0.7, top + 0.05 + 0.12 * way),
            (-0.2, top + 0.06 * way),
            (0.2, top - 0.06 * way),
            (0.7, top + 0.05 - 0.12 * way),
            (0.88, -0.3),
            (0.92, burn),
            (1.0, burn),
        ]
    peak = 0.10 * part
    return [
        (-1.0, burn),
        (-0.92, burn),
        (-0.89, -0.25),
        (-0.74, top + 0.08),
        (-0.4, top - 0.04),
        (0.0, top + peak),
        (0.4, top - 0.04),
        (0.74, top + 0.08),
        (0.89, -0.25),
        (0.92, burn),
        (1.0, burn),
    ]


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
    ends = np.linspace(0.36, 0.64, 7) * (len(edge) - 1)
    for k, index in enumerate(ends.astype(int)):
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
            square = np.array(
                [
                    (-1, -0.9),
                    (-0.4, -1),
                    (0.4, -1),
                    (1, -0.9),
                    (0.95, 0.5),
                    (0.6, 0.95),
                    (-0.6, 0.95),
                    (-0.95, 0.5),
                ]
            )
            rim = smooth(square * (wide, high) + (side * x, 0.03), 3)
        # Lenses are flat and stand before the face.
        depth = 0.95 - 0.25 * (np.abs(rim[:, 0]) / 0.8) ** 2
        placed = np.column_stack([rim, depth + 0.12])
        brush.space(placed, (225, 235, 245, 26))
        brush.space(np.concatenate([placed, placed[:2]]), colour, width=width)
        arm = np.array([(side * (x + wide), -0.05, 0.75), (side * 1.0 * who.cheek, -0.02, 0.1)])
        brush.space(arm, colour, width=width)
    bridge = smooth(
        np.array([(-(x - wide), 0.0, 1.06), (0.0, -0.05, 1.12), (x - wide, 0.0, 1.06)]), closed=False
    )
    brush.space(bridge, colour, width=width)
