"""A drawn person: the numbers that stay the same in every picture of him.

Lengths are in head units, about half the head's width, from its centre; x to the right of the picture, y down, z to
the viewer.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

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


def _palette(text: str) -> NDArray[np.float64]:
    return np.array([list(bytes.fromhex(colour)) for colour in text.split()], np.float64)


_SKIN = _palette("f0d0bc eec6ac e2b28e c8926a a4704c 7c5036 56382a")
_HAIR = _palette("1a1616 302018 543622 805430 b0844e d6b478 963e1e 8c8a8a ceccc8")
_IRIS = _palette("3a2416 603e20 7a6632 54744a 527ca0 7a868e")
_FRAMES = _palette("1c1a1c 6e4628 961e28 3c5078 beaa78")

# What is drawn evenly between two ends, in this order. Of the chin and the nose it is how far they are from the mouth.
_SPREAD = {
    "temple": (0.82, 0.98),
    "cheek": (0.84, 1.04),
    "jaw": (0.60, 0.90),
    "chin_width": (0.22, 0.50),
    "chin": (0.32, 0.52),
    "crown": (1.18, 1.42),
    "ears": (0.7, 1.3),
    "eye_x": (0.36, 0.48),
    "eye_width": (0.16, 0.235),
    "eye_height": (0.055, 0.125),
    "eye_tilt": (-0.18, 0.28),
    "iris_size": (0.078, 0.108),
    "lid": (0.0, 1.0),
    "brow_height": (0.18, 0.34),
    "brow_thickness": (0.03, 0.095),
    "brow_tilt": (-0.25, 0.22),
    "brow_arch": (0.0, 0.10),
    "brow_length": (0.22, 0.34),
    "brow_dark": (0.55, 1.0),
    "nose_length": (0.25, 0.37),
    "nose_width": (0.13, 0.27),
    "nose_bridge": (0.05, 0.10),
    "nose_depth": (0.20, 0.42),
    "mouth_width": (0.24, 0.42),
    "lip_upper": (0.025, 0.095),
    "lip_lower": (0.04, 0.13),
    "hair_volume": (0.0, 1.0),
    "hairline": (-0.82, -0.52),
    "parting": (-1.0, 1.0),
    "hair_length": (0.7, 1.7),
    "beard_dark": (0.55, 1.0),
}


class Person(SimpleNamespace):
    """What makes one drawn person himself. Colours are RGB 0..255, lengths head units, angles radians."""


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
    freckled = tone < 0.45 and rng.random() < 0.25
    freckles = rng.normal(0, 1, (14, 2)) * (0.38, 0.13) + (0.0, 0.27)
    mouth_y = spread(0.72, 0.88)
    moles = rng.uniform((-0.7, -0.1, 0.025), (0.7, 0.95, 0.05), (int(rng.integers(0, 3)), 3))
    drawn = {name: spread(*ends) for name, ends in _SPREAD.items()}
    drawn |= {"chin": mouth_y + drawn["chin"], "nose_length": mouth_y - drawn["nose_length"]}
    return Person(
        **drawn,
        skin=_colour(skin),
        hair=_colour(hair),
        iris=_colour(iris),
        lip=_colour(lip),
        mouth_y=mouth_y,
        hair_style=style,
        beard=beard,
        glasses=glasses,
        glasses_colour=_colour(_FRAMES[int(rng.integers(len(_FRAMES)))]),
        glasses_size=spread(0.85, 1.2),
        lipstick=lipstick,
        lines=float(rng.random(2)[1]) ** 2,  # the first number is not used
        freckles=freckles.tolist() if freckled else [],
        moles=moles.tolist(),
    )
