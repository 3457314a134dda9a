"""What lies behind and before the face: hair, ears, neck, shoulders and glasses."""

from __future__ import annotations

import numpy as np

from vidface.demo.people.head import Brush, Head, Points, both_sides, ink, oval, smooth
from vidface.demo.people.people import Colour, Person

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
        tips = [(1.0 + 0.1 * who.hair_length, low), (0.5, low + 0.1)]
        half = np.array([(0.5, -1.0), (1.0, -0.5), (1.06, 0.2), *tips]) * (1.0 + _thickness(who)[0], 1.0)
        brush.space(smooth(both_sides(half)), ink(who.hair, 0.7), z=-0.25)
    if who.hair_style == "bun":
        brush.space(oval(0.0, -who.crown - 0.16, 0.36, 0.30), ink(who.hair, 0.85), z=-0.3)
    neck = np.array([(0.5, 0.5), (0.52, chin + 0.35), (0.9, chin + 1.2)])
    brush.space(np.roll(both_sides(neck), 1, axis=0), ink(who.skin, 0.72), z=-0.15)
    collar = np.array([(0.0, chin + 0.62), (0.56, chin + 0.28), (1.5, chin + 0.55), (2.2, chin + 1.6)])
    collar = np.roll(both_sides(collar)[:-1], 1, axis=0)
    brush.space(collar, ink(clothes), z=-0.15)
    for side in (-1.0, 1.0):
        _ear(brush, who, head, side)
    brush.finish()
    brush.pixels(head.outline(), ink(who.skin))


def _ear(brush: Brush, who: Person, head: Head, side: float) -> None:
    edge = side * 1.03 * float(np.interp(0.2, head.y, head.width))
    shape = np.array([(0.0, -0.22), (0.13, -0.2), (0.15, -0.02), (0.07, 0.2), (-0.03, 0.22)])
    for size, share in ((1.0, 0.90), (0.6, 0.70)):
        ear = smooth(size * who.ears * shape)
        place = np.column_stack([edge + side * ear[:, 0], 0.2 + ear[:, 1]])
        brush.space(place, ink(who.skin, share), z=-0.06 - 0.5 * ear[:, 0])


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
    middle: list[tuple[float, float]] = []
    if style == "receding":
        left = [(-1.0, 0.2), (-0.93, 0.1), (-0.90, -0.4), (-0.80, -0.95 * who.crown)]
    elif style == "fringe":
        low = -0.30 - 0.12 * who.hair_volume
        left = [(-1.0, burn), (-0.9, burn), (-0.84, -0.15), (-0.5, low)]
        middle = [(0.1 * part, low + 0.03)]
    elif style in _LOOSE:
        low = 0.85 if style == "bob" else 1.0
        part *= 0.5
        left = [(-1.0, low), (-0.90, low), (-0.86, 0.0), (-0.72, -0.45)]
        middle = [(part - 0.1, top - 0.12), (part, top - 0.18), (part + 0.1, top - 0.12)]
    elif style == "side-part":
        way = 1.0 if part > 0 else -1.0
        left = [(-1.0, burn), (-0.92, burn), (-0.88, -0.3)]
        middle = [(-0.7, top + 0.05 + 0.12 * way), (-0.2, top + 0.06 * way)]
        middle += [(0.2, top - 0.06 * way), (0.7, top + 0.05 - 0.12 * way)]
    else:
        left = [(-1.0, burn), (-0.92, burn), (-0.89, -0.25), (-0.74, top + 0.08), (-0.4, top - 0.04)]
        middle = [(0.0, top + 0.10 * part)]
    return [*left, *middle, *((-x, y) for x, y in reversed(left))]


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
        brush.pixels(np.concatenate([edge[:half], cap[:middle][::-1]]), colour)
        brush.pixels(np.concatenate([edge[half:], cap[middle:][::-1]]), colour)
        return
    if who.hair_style in ("curly", "afro"):
        for curls, radius in ((cap[::2], 0.14), (edge[6:-6:3], 0.09)):
            for x, y in curls:
                brush.pixels(oval(x, y, radius * head.unit, radius * head.unit, 10), colour)
    brush.pixels(np.concatenate([edge, cap[::-1]]), colour)
    if who.hair_style == "buzz":
        return
    # A few strands from the parting towards the hairline tell the direction of the hair and catch the light.
    top = np.array([(0.35 * who.parting, -who.crown * (1 + 0.6 * grow_y), 0.15), (0.0, 0.0, 0.0)])
    crown, centre = head.place(top)
    ends = np.linspace(0.36, 0.64, 7) * (len(edge) - 1)
    for k, index in enumerate(ends.astype(int)):
        end = crown + 0.75 * (edge[index] - crown)
        bulge = (crown + end) / 2 + 0.05 * (end - centre)
        shade = ink(who.hair, 1.3 if k % 2 else 0.65, 0.5)
        brush.pixels(smooth(np.stack([crown, bulge, end]), closed=False), shade, 0.04)


def _spectacles(brush: Brush, who: Person) -> None:
    colour, size, width = ink(who.glasses_colour), who.glasses_size, 0.05
    x, wide, high = who.eye_x + 0.02, 0.29 * size, 0.22 * size
    above, below = [(-1, -0.9), (-0.4, -1), (0.4, -1), (1, -0.9)], [(0.95, 0.5), (0.6, 0.95)]
    square = np.array([*above, *below, (-0.6, 0.95), (-0.95, 0.5)]) * (wide, high)
    for side in (-1.0, 1.0):
        if who.glasses == "round":
            rim = oval(side * x, 0.03, 0.9 * wide, 1.15 * high, 20)
        else:
            rim = smooth(square + np.array((side * x, 0.03)), 3)
        # Lenses are flat and stand before the face.
        brush.space(rim, (225, 235, 245, 26), z=_before(rim))
        edge = np.concatenate([rim, rim[:2]])
        brush.space(edge, colour, z=_before(edge), width=width)
        arm = np.array([(side * (x + wide), -0.05), (side * 1.0 * who.cheek, -0.02)])
        brush.space(arm, colour, z=np.array([0.75, 0.1]), width=width)
    bridge = smooth(
        np.array([(-(x - wide), 0.0, 1.06), (0.0, -0.05, 1.12), (x - wide, 0.0, 1.06)]), closed=False
    )
    brush.space(bridge[:, :2], colour, z=bridge[:, 2], width=width)


def _before(rim: Points) -> Points:
    depth: Points = 0.95 - 0.25 * (np.abs(rim[:, 0]) / 0.8) ** 2 + 0.12
    return depth
