"""Which images make which batch: a whole epoch at once, decided by the seed alone."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from vidface.errors import UsageError

__all__ = ["epoch_batches", "epoch_steps"]


def epoch_steps(labels: NDArray[np.int64], batch_size: int, images_per_identity: int | None) -> int:
    """How many batches an epoch has; the arguments are those of `epoch_batches`.

    Raises:
        UsageError: not one batch can be filled.
    """
    steps = len(labels) // batch_size
    if not steps:
        raise UsageError(f"{len(labels)} training images do not fill one batch of {batch_size}")
    people = int(labels.max()) + 1
    if images_per_identity is not None and batch_size // images_per_identity > people:
        raise UsageError(
            f"a batch of {batch_size} with {images_per_identity} images a person needs "
            f"{batch_size // images_per_identity} people, but {people} are trained on"
        )
    return steps


def epoch_batches(
    labels: NDArray[np.int64], batch_size: int, images_per_identity: int | None, seed: list[int]
) -> NDArray[np.int64]:
    """The batches of one epoch, as many as fit into the number of images: int64 [B, batch_size], indices of images.

    Args:
        labels: int64 [N], the person of every image, 0 .. C-1, each with at least one image.
        batch_size: images a batch.
        images_per_identity: None: all images, shuffled; the few that don't fill a batch wait for another epoch.
            K: PK sampling, groups of K images of one person; see `_groups`.
        seed: what decides the order, e.g. [seed, stage, epoch].

    Raises:
        UsageError: not one batch can be filled.
    """
    random = np.random.default_rng(seed)
    steps = epoch_steps(labels, batch_size, images_per_identity)
    if images_per_identity is None:
        return random.permutation(len(labels))[: steps * batch_size].reshape(steps, batch_size)
    wanted = batch_size // images_per_identity
    groups = _groups(labels, steps * wanted, wanted, images_per_identity, random)
    return groups.reshape(steps, batch_size)


def _groups(
    labels: NDArray[np.int64], count: int, apart: int, size: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """int64 [count, size]: a person each, all people in turn, no person twice within a batch of `apart` groups.

    The images of a person are dealt like cards: none comes a second time before all have come once, also where a group
    needs more of them than there are.
    """
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max() + 2))
    decks: dict[int, list[int]] = {}
    line: deque[int] = deque()
    groups = np.empty((count, size), np.int64)
    for batch in range(0, count, apart):
        chosen: list[int] = []
        while len(chosen) < apart:
            # People whose turn it is; at the seam of two rounds one who is in this batch already waits a little.
            line += random.permutation(len(starts) - 1).tolist() if len(line) < 2 * apart else []
            place = next(at for at, person in enumerate(line) if person not in chosen)
            chosen.append(line[place])
            del line[place]
        for row, person in enumerate(chosen, batch):
            own = order[starts[person] : starts[person + 1]]
            for column in range(size):
                if not decks.get(person):
                    decks[person] = random.permutation(own).tolist()
                groups[row, column] = decks[person].pop()
    return groups
