"""What lies on the face: eyes, brows, nose, mouth, beard and skin, each a few polygons over one another."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from vidface.demo.people.head import Brush, Head, Ink, Points, both_sides, ink, mirror, oval, smooth
from vidface.demo.people.people import Person


def paint_face(brush: Brush, who: Person, head: Head, face: SimpleNamespace, light: float) -> None:
    """Paint what lies flat on the face, uncut at the head's outline; ``face``: shares of each expression's most."""
    for x, y in who.freckles:
        brush.skin(oval(x, y, 0.022, 0.022, 6), ink(who.skin, 0.72, 0.8))
    for x, y, radius in who.moles:
        brush.skin(oval(x, y, radius, radius, 8), ink(who.skin, 0.4))
    _lines(brush, who, face)
    _beard(brush, who, head)
    for side in (-1.0, 1.0):
        _eye(brush, who, face, side)
        _brow(brush, who, face, side)
    _mouth(brush, who, face)
    _nose(brush, who, light)
    brush.finish()


def _lines(brush: Brush, who: Person, face: SimpleNamespace) -> None:
    depth = 0.12 + 0.55 * who.lines + 0.15 * max(0.0, face.smile)
    for side in (-1.0, 1.0):
        x, y = who.mouth_width, who.mouth_y
        fold = np.array(
            [(who.nose_width + 0.03, who.nose_length - 0.05), (x + 0.04, y - 0.14), (x + 0.08, y + 0.02)]
        )
        brush.skin(mirror(smooth(fold, closed=False), side), ink(who.skin, 0.7, depth), width=0.03)
        bag = np.array([(who.eye_x - 0.13, 0.13), (who.eye_x, 0.19), (who.eye_x + 0.15, 0.12)])
        brush.skin(mirror(smooth(bag, closed=False), side), ink(who.skin, 0.72, depth), width=0.025)
    if who.lines > 0.35:
        for y in (-0.50, -0.60):
            brow = smooth(np.array([(-0.42, y), (0.0, y - 0.03), (0.42, y)]), closed=False)
            brush.skin(brow, ink(who.skin, 0.75, 0.6 * who.lines), width=0.025)


def _eye(brush: Brush, who: Person, face: SimpleNamespace, side: float) -> None:
    wide, x = who.eye_width, who.eye_x
    squint = 1.0 - 0.25 * max(0.0, face.smile)
    up = who.eye_height * face.eyes_open * squint
    down = 0.7 * who.eye_height * min(1.0, face.eyes_open) * squint
    tilt = who.eye_tilt
    corner_in, corner_out = (x - wide, 0.4 * tilt * wide), (x + wide, -tilt * wide)
    lid = [corner_in, (x - 0.4 * wide, -0.9 * up), (x + 0.25 * wide, -up - 0.3 * tilt * wide), corner_out]
    below = [(x + 0.4 * wide, down - 0.3 * tilt * wide), (x - 0.4 * wide, 0.85 * down)]
    opening = smooth(np.array(lid + below))
    shadow = opening * (1.0, 1.5) + (0.0, -0.02)
    brush.skin(mirror(shadow, side), ink(who.skin, 0.84, 0.8))
    brush.skin(mirror(opening, side), (238, 234, 230, 255))
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
    brush.skin(mirror(smooth(np.array(lid), closed=False), side), ink(who.hair, 0.35), width=lash)
    if who.lid > 0.25:
        crease = smooth(np.array(lid), closed=False) * (1.0, 1.25) + (0.0, -0.035 - 0.03 * who.lid)
        brush.skin(mirror(crease, side), ink(who.skin, 0.55, 0.8), width=0.02)


def _sorted(points: Points) -> tuple[Points, Points]:
    order = np.argsort(points[:, 0], kind="stable")
    return points[order, 0], points[order, 1]


def _brow(brush: Brush, who: Person, face: SimpleNamespace, side: float) -> None:
    long, thick = who.brow_length, who.brow_thickness
    share = np.array([-1.0, -0.3, 0.35, 1.0])
    x = who.eye_x + 0.02 + long * share
    rise = -who.brow_height - 0.07 * face.brow_lift + who.brow_tilt * 0.4 * share * long * -1.0
    rise -= who.brow_arch * (1 - share**2)
    rise += 0.07 * face.frown * np.array([1.0, 0.5, 0.0, 0.0])
    weight = thick * np.array([0.9, 1.0, 0.8, 0.25])
    spine = np.concatenate([np.stack([x, rise - weight / 2], 1), np.stack([x, rise + weight / 2], 1)[::-1]])
    brush.skin(mirror(smooth(spine), side), ink(who.hair, 0.75 * who.brow_dark, 0.92), lift=0.03)


def _nose(brush: Brush, who: Person, light: float) -> None:
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


def _mouth(brush: Brush, who: Person, face: SimpleNamespace) -> None:
    y, wide = who.mouth_y, who.mouth_width * (1 + 0.16 * face.smile)
    corner = y - 0.07 * face.smile
    gap = 0.15 * face.mouth_open
    upper, lower = who.lip_upper * (1 - 0.2 * max(0.0, face.smile)), who.lip_lower

    def across(share: float, side: float, middle: float) -> Points:
        """Five points from corner to corner; from right to left if ``share`` is negative."""
        x = np.copysign(wide, share) * np.array([-1.0, -abs(share), 0.0, abs(share), 1.0])
        return np.column_stack([x, [corner, side, middle, side, corner]])

    def between(first: Points, second: Points, colour: Ink) -> None:
        both = np.concatenate([smooth(first, closed=False), smooth(second, closed=False)])
        brush.skin(both, colour, lift=0.05)

    seam_up = across(0.4, y - 0.15 * gap, y + 0.008 - 0.2 * gap)
    seam_down = across(0.4, y + 0.8 * gap, y + 0.008 + gap)
    between(seam_down, across(-0.45, y + 0.85 * lower + gap, y + lower + gap), ink(who.lip))
    between(seam_up, across(-0.28, y - upper - 0.2 * gap, y - 0.72 * upper - 0.2 * gap), ink(who.lip, 0.84))
    if gap > 0.01:
        between(seam_up, seam_down[::-1], (58, 22, 24, 255))
        teeth = np.column_stack([seam_up[:, 0], np.minimum(seam_up[:, 1] + 0.05, seam_down[:, 1])])
        between(seam_up, teeth[::-1], (232, 226, 216, 255))
    else:
        brush.skin(smooth(seam_up, closed=False), ink(who.lip, 0.42), lift=0.05, width=0.03)
    shine = oval(0.0, y + 0.55 * lower + gap, 0.3 * wide, 0.18 * lower, 10)
    brush.skin(shine, ink(who.lip, 1.22, 0.5), lift=0.05)


def _beard(brush: Brush, who: Person, head: Head) -> None:
    if who.beard == "none":
        return
    y, wide = who.mouth_y, who.mouth_width
    colour = ink(who.hair, 0.9 * who.beard_dark, 0.30 if who.beard == "stubble" else 0.94)
    if who.beard in ("full", "stubble"):
        edge = head.across(np.array([(0.99, 0.1), (0.92, 0.35), (0.80, 0.55)]))
        half = np.array([*edge, (wide + 0.12, y - 0.12), (0.55 * wide, y - 0.17), (0.0, y - 0.14)])
        jaw = head.y > 0.1
        rim = np.stack([head.width[jaw], head.y[jaw]], axis=1)[::-1]
        brush.skin(both_sides(np.concatenate([rim, half])), colour)
    if who.beard in ("moustache", "goatee"):
        above = [(0.0, y - 0.15), (0.55 * wide, y - 0.16), (wide + 0.09, y + 0.02)]
        lip = np.array([*above, (0.6 * wide, y - 0.03), (0.0, y - 0.05)])
        brush.skin(smooth(both_sides(lip), 3), colour, lift=0.06)
    if who.beard == "goatee":
        upper = [(0.0, y + 0.12), (0.8 * wide, y + 0.1), (wide + 0.08, y + 0.02), (wide + 0.06, y + 0.2)]
        chin = np.array([*upper, (0.22, who.chin - 0.02), (0.0, who.chin + 0.02)])
        brush.skin(smooth(both_sides(chin), 3), colour)
