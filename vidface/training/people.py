"""Who is trained on and who is held out: decided by each person's name, never by what else is in the set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidface.errors import UsageError
from vidface.training.datasets.images import ImageSet, cut_long_tail, select
from vidface.training.recipe import People


@dataclass(frozen=True)
class Divided:
    """The three sets; no person is in two of them.

    Attributes:
        training: people with enough images.
        validation, test: held-out people, at most `images_per_person` images each; None where there are none.
        cut_people, cut_images: left out of training for too few images.
    """

    training: ImageSet
    validation: ImageSet | None
    test: ImageSet | None
    cut_people: int
    cut_images: int


def divide(images: ImageSet, people: People, seed: int) -> Divided:
    """Divide a set by people.

    A person's place is a number in [0, 1) made from the seed and the name: below `validation` it is validation, in
    the `test` above that it is test, else training. People with one image are held out like all others.

    Raises:
        UsageError: nobody is left to train on, or a held-out set has nobody with two images.
    """
    digests = [hashlib.sha256(f"{seed}/{name}".encode()).digest() for name in images.identities]
    place = np.array([int.from_bytes(digest[:7]) / 2**56 for digest in digests])
    validation = place < people.validation
    test = ~validation & (place < people.validation + people.test)
    rest = select(images, np.flatnonzero((~validation & ~test)[images.labels]))
    training = cut_long_tail(rest, people.min_images)
    if len(training.identities) < 2:
        raise UsageError(
            f"{images.source}: {len(training.identities)} people with {people.min_images} images or more are left "
            "to train on: lower people.min_images, validation or test"
        )
    return Divided(
        training,
        _held_out(images, validation, people, "validation"),
        _held_out(images, test, people, "test"),
        len(rest.identities) - len(training.identities),
        len(rest.labels) - len(training.labels),
    )


def _held_out(images: ImageSet, chosen: NDArray[np.bool_], people: People, what: str) -> ImageSet | None:
    if not getattr(people, what):
        return None
    rows = np.flatnonzero(chosen[images.labels])
    labels = images.labels[rows]
    order = np.argsort(labels, kind="stable")
    ranks = np.empty(len(rows), np.int64)
    starts = np.searchsorted(labels[order], labels[order])
    ranks[order] = np.arange(len(rows)) - starts
    held = select(images, rows[ranks < people.images_per_person])
    if np.bincount(held.labels, minlength=1).max(initial=0) < 2:
        raise UsageError(f"{images.source}: people.{what} holds out nobody with two images: raise it")
    return held
