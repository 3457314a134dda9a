"""A drawn person: the numbers that stay the same in every picture of him.

Lengths are in head units: the origin is the centre of the head, one unit is about half its width, x points to
the right of the picture, y down and z to the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["HAIR_STYLES", "Colour", "Person", "make_person"]

Colour = tuple[float, float, float]

HAIR_STYLES = (
    "bald",
    "buzz",
    "short",
    "quiff",
    "side-part",
    "fringe",
    "curly",
    "afro",
    "bob",
    "long",
    "bun",
    "receding",
)
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square")

_SKIN = np.array(
    [
        (240, 208, 188),
        (238, 198, 172),
        (226, 178, 142),
        (200, 146, 106),
        (164, 112, 76),
        (124, 80, 54),
        (86, 56, 42),
    ],
    dtype=np.float64,
)
_HAIR = np.array(
    [
        (26, 22, 22),
        (48, 32, 24),
        (84, 54, 34),
        (128, 84, 48),
        (176, 132, 78),
        (214, 180, 120),
        (150, 62, 30),
        (140, 138, 138),
        (206, 204, 200),
    ],
    dtype=np.float64,
)
_IRIS = np.array(
    [(58, 36, 22), (96, 62, 32), (122, 102, 50), (84, 116, 74), (82, 124, 160), (122, 134, 142)],
    dtype=np.float64,
)


@dataclass(frozen=True)
class Person:
    """What makes one drawn person himself. Colours are RGB 0..255, lengths head units, angles radians."""

    skin: Colour
    hair: Colour
    iris: Colour
    lip: Colour
    # head
    temple: float
    cheek: float
    jaw: float
    chin_width: float
    chin: float
    crown: float
    ears: float
    # eyes and brows
    eye_x: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris_size: float
    lid: float
    brow_height: float
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    brow_length: float
    brow_dark: float
    # nose and mouth
    nose_length: float
    nose_width: float
    nose_bridge: float
    nose_depth: float
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    # hair and what people wear
    hair_style: str
    hair_volume: float
    hairline: float
    parting: float
    hair_length: float
    beard: str
    beard_dark: float
    glasses: str
    glasses_colour: Colour
    glasses_size: float
    lipstick: float
    blush: float
    lines: float
    freckles: tuple[tuple[float, float], ...]
    moles: tuple[tuple[float, float, float], ...]


def _between(stops: NDArray[np.float64], where: float) -> NDArray[np.float64]:
    """The colour at ``where`` (0..1) along a row of stops [K, 3]."""
    at = where * (len(stops) - 1)
    low = min(int(at), len(stops) - 2)
    colour: NDArray[np.float64] = stops[low] + (at - low) * (stops[low + 1] - stops[low])
    return colour


def _colour(values: NDArray[np.float64]) -> Colour:
    red, green, blue = np.clip(values, 0, 255).tolist()
    return red, green, blue


def make_person(person: int, *, seed: int) -> Person:
    """The drawn person with number ``person`` in the population ``seed``; the same numbers every time."""
    rng = np.random.default_rng([seed, person])

    def spread(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    tone = spread(0, 1)
    skin = _between(_SKIN, tone) + rng.normal(0, 4, 3)
    # Dark skin mostly comes with dark hair and eyes; everybody may turn grey.
    dark = rng.random() < max(0.25, (tone - 0.25) * 2)
    grey = rng.random() < 0.15
    shade = _HAIR[int(rng.integers(7, 9))] if grey else _HAIR[int(rng.integers(0, 3 if dark else 7))]
    hair = shade * spread(0.85, 1.2) + rng.normal(0, 4, 3)
    iris = _IRIS[int(rng.integers(0, 2 if dark else len(_IRIS)))] * spread(0.85, 1.15)
    lipstick = spread(0.3, 0.9) if rng.random() < 0.25 else 0.0
    lip = skin * np.array([0.86, 0.62, 0.62])
    lip = (1 - lipstick) * lip + lipstick * np.array([spread(150, 205), spread(20, 70), spread(45, 95)])

    style = HAIR_STYLES[int(rng.integers(len(HAIR_STYLES)))]
    bearded = lipstick == 0.0 and style not in ("bob", "long", "bun") and rng.random() < 0.55
    beard = BEARDS[int(rng.integers(1, len(BEARDS)))] if bearded else "none"
    glasses = GLASSES[int(rng.integers(1, len(GLASSES)))] if rng.random() < 0.3 else "none"
    frame = [(28, 26, 28), (110, 70, 40), (150, 30, 40), (60, 80, 120), (190, 170, 120)]
    freckled = tone < 0.45 and rng.random() < 0.25
    freckles = rng.normal(0, 1, (14, 2)) * (0.38, 0.13) + (0.0, 0.27)
    mouth_y = spread(0.72, 0.88)
    moles = rng.uniform((-0.7, -0.1, 0.025), (0.7, 0.95, 0.05), (int(rng.integers(0, 3)), 3))

    return Person(
        skin=_colour(skin),
        hair=_colour(hair),
        iris=_colour(iris),
        lip=_colour(lip),
        temple=spread(0.82, 0.98),
        cheek=spread(0.84, 1.04),
        jaw=spread(0.60, 0.90),
        chin_width=spread(0.22, 0.50),
        chin=mouth_y + spread(0.32, 0.52),
        crown=spread(1.18, 1.42),
        ears=spread(0.7, 1.3),
        eye_x=spread(0.36, 0.48),
        eye_width=spread(0.16, 0.235),
        eye_height=spread(0.055, 0.125),
        eye_tilt=spread(-0.18, 0.28),
        iris_size=spread(0.078, 0.108),
        lid=spread(0.0, 1.0),
        brow_height=spread(0.18, 0.34),
        brow_thickness=spread(0.03, 0.095),
        brow_tilt=spread(-0.25, 0.22),
        brow_arch=spread(0.0, 0.10),
        brow_length=spread(0.22, 0.34),
        brow_dark=spread(0.55, 1.0),
        nose_length=mouth_y - spread(0.25, 0.37),
        nose_width=spread(0.13, 0.27),
        nose_bridge=spread(0.05, 0.10),
        nose_depth=spread(0.20, 0.42),
        mouth_y=mouth_y,
        mouth_width=spread(0.24, 0.42),
        lip_upper=spread(0.025, 0.095),
        lip_lower=spread(0.04, 0.13),
        hair_style=style,
        hair_volume=spread(0.0, 1.0),
        hairline=spread(-0.82, -0.52),
        parting=spread(-1.0, 1.0),
        hair_length=spread(0.7, 1.7),
        beard=beard,
        beard_dark=spread(0.55, 1.0),
        glasses=glasses,
        glasses_colour=_colour(np.array(frame[int(rng.integers(len(frame)))], dtype=np.float64)),
        glasses_size=spread(0.85, 1.2),
        lipstick=lipstick,
        blush=spread(0.0, 1.0),
        lines=spread(0.0, 1.0) ** 2,
        freckles=tuple((float(x), float(y)) for x, y in freckles) if freckled else (),
        moles=tuple((float(x), float(y), float(r)) for x, y, r in moles),
    )
