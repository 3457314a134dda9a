"""Which images make which batch, a whole epoch at once and by the seed alone; and the learning rate of every step."""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from vidface.errors import UsageError
from vidface.training.recipe import Plateau, Stage


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


def rate(stage: Stage, step: int, steps: int, drops: int = 0) -> float:
    """The learning rate of step 0 .. steps - 1 of a stage, once the plateau rule has lowered it `drops` times."""
    done = step / steps
    if done < stage.warmup:
        return stage.learning_rate * (step + 1) / math.ceil(stage.warmup * steps)
    if stage.schedule == "cosine":
        rest = (done - stage.warmup) / (1 - stage.warmup)
        return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * rest))
    if stage.schedule == "step":
        return float(stage.learning_rate * 0.1 ** sum(done >= milestone for milestone in stage.milestones))
    return stage.learning_rate * (stage.plateau.factor if stage.plateau else 1.0) ** drops


def plateau_drops(rule: Plateau, measured: list[float]) -> tuple[int, bool]:
    """How often the rate has been lowered after these epochs, and whether the stage is over.

    It is over once `patience` epochs after the last drop brought nothing better; of what was measured, higher is
    better.
    """
    best, waited, drops = -math.inf, 0, 0
    for value in measured:
        if value > best:
            best, waited = value, 0
            continue
        waited += 1
        if waited == rule.patience:
            if drops == rule.drops:
                return drops, True
            drops, waited = drops + 1, 0
    return drops, False
