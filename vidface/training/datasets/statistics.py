"""How many images people have, and the cut of those with few.

Tested in ``tests/training/datasets/test_long_tail.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vidface.training.datasets.images import ImageSet, select

__all__ = ["MINIMA", "Cut", "LongTail", "cut_long_tail", "long_tail"]

MINIMA = (1, 2, 3, 5, 10, 20, 50)


@dataclass(frozen=True)
class Cut:
    """What is left where people with fewer than ``minimum`` images are left out."""

    minimum: int
    people: int
    images: int


@dataclass(frozen=True)
class LongTail:
    """How images are spread over people; the paper cuts "long tail identities" from its training set.

    Attributes:
        people: how many there are.
        images: of all of them.
        fewest, median, mean, most: images a person.
        cuts: what stays for each minimum of `MINIMA`.
    """

    people: int
    images: int
    fewest: int
    median: float
    mean: float
    most: int
    cuts: tuple[Cut, ...]


def long_tail(images: ImageSet) -> LongTail:
    """Count images a person, and what minimum numbers of images would leave.

    Raises:
        ValueError: there are no images.
    """
    if not len(images.labels):
        raise ValueError("there are no images to count")
    counts = np.bincount(images.labels, minlength=len(images.identities))
    return LongTail(
        people=len(counts),
        images=int(counts.sum()),
        fewest=int(counts.min()),
        median=float(np.median(counts)),
        mean=float(counts.mean()),
        most=int(counts.max()),
        cuts=tuple(
            Cut(minimum, int((counts >= minimum).sum()), int(counts[counts >= minimum].sum()))
            for minimum in MINIMA
        ),
    )


def cut_long_tail(images: ImageSet, min_images: int) -> ImageSet:
    """Leave out people with fewer than ``min_images`` images; labels are numbered anew, orders are kept.

    Nothing may be left: then the set is empty.

    Raises:
        ValueError: ``min_images`` is below 1.
    """
    if min_images < 1:
        raise ValueError(f"min_images is {min_images}; a person has 1 image at least")
    counts = np.bincount(images.labels, minlength=len(images.identities))
    return select(images, np.flatnonzero(counts[images.labels] >= min_images))
