"""Check a set of labelled images, all of it: what cannot be read, sizes, the same picture twice, the long tail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidface.errors import MediaError
from vidface.frames.folder import decode_image
from vidface.manifest.identities import suspicions
from vidface.manifest.rows import show
from vidface.runtime import cpu_count, in_processes, progress
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_images

CHUNK = 256  # images a task: enough work to be worth sending, few enough for a smooth bar
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
        people, images: how many there are.
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


@dataclass(frozen=True)
class Fault:
    """An image and what is wrong with it."""

    name: str
    detail: str


@dataclass(frozen=True)
class Checked:
    """What a check of every image found.

    Attributes:
        source: what was checked.
        left_out: what was met and left out on opening, a line each.
        unreadable: images that cannot be read or decoded, with the reason.
        size: HEIGHTxWIDTH of most images; empty where none can be decoded.
        other_sizes: images of another size, with theirs.
        duplicates: groups of names of one person whose bytes are the same.
        duplicates_across: such groups of two people or more: one of them is labelled wrong.
        single: people with one image.
        long_tail: how images are spread over people.
        warnings: of people who are probably nobody in particular, or one person in two spellings.
    """

    source: str
    left_out: list[str]
    unreadable: list[Fault]
    size: str
    other_sizes: list[Fault]
    duplicates: list[list[str]]
    duplicates_across: list[list[str]]
    single: list[str]
    long_tail: LongTail
    warnings: list[str]

    @property
    def ok(self) -> bool:
        """Whether every image can be read and no two people share one."""
        return not (self.unreadable or self.duplicates_across)


def check(path: Path, *, workers: int | None = None) -> Checked:
    """Read, hash and decode every image of what `open_images` opens, in so many processes (None: as there are cores).

    Raises:
        UsageError, StoreError: the set cannot be opened.
    """
    images = open_images(path)
    total = len(images.labels)
    digests = np.zeros(total, "S32")
    unreadable: list[Fault] = []
    shapes = np.zeros((total, 2), np.int64)
    starts = range(0, total, CHUNK)
    tasks = ((images, start, min(start + CHUNK, total)) for start in starts)
    parts = in_processes(_examine, tasks, workers=min(workers or cpu_count(), len(starts)))
    with progress("check", total, "images") as advance:
        for start, (hashed, decoded, faults) in zip(starts, parts, strict=True):
            digests[start : start + CHUNK] = hashed
            shapes[start : start + CHUNK] = decoded
            unreadable += faults
            advance(len(hashed))
    size, others = _other_sizes(images, shapes)
    within, across = _duplicates(images, digests)
    counts = np.bincount(images.labels)
    return Checked(
        source=images.source,
        left_out=list(images.problems),
        unreadable=unreadable,
        size=size,
        other_sizes=others,
        duplicates=within,
        duplicates_across=across,
        single=[images.identities[person] for person in np.flatnonzero(counts == 1)],
        long_tail=long_tail(counts),
        warnings=_odd_people(images),
    )


def long_tail(counts: NDArray[np.int64]) -> LongTail:
    """What the images of each person, int [P], add up to, and what minimum numbers of images would leave."""
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


def _odd_people(images: ImageSet) -> list[str]:
    """What a network would learn of labels that are no person, or that are one person twice."""
    learned = {
        "missing-value": "look like a missing value, and strangers would be learned as one person: leave them out",
        "two-spellings": "differ only by spelling and would be learned as different people: if they are the same, "
        "spell them the same way",
    }
    found = []
    for odd in suspicions([images.identities[label] for label in images.labels], []):
        names = set(odd.names)
        count = sum(images.identities[label] in names for label in images.labels)
        some = ", ".join(map(show, odd.names[:6])) + (", ..." if len(odd.names) > 6 else "")
        found.append(f"{len(odd.names):,} people ({some}), in {count:,} images, {learned[odd.kind]}")
    return found


def _examine(
    images: ImageSet, start: int, stop: int
) -> tuple[NDArray[np.bytes_], NDArray[np.int64], list[Fault]]:
    """SHA-256 (empty where unreadable) and (height, width) of consecutive images, (0, 0) where not decoded."""
    digests = np.zeros(stop - start, "S32")
    shapes = np.zeros((stop - start, 2), np.int64)
    faults = []
    for row, index in enumerate(range(start, stop)):
        try:
            content = images.read(index)
            digests[row] = hashlib.sha256(content).digest()
            shapes[row] = decode_image(content).shape[:2]
        except MediaError as error:
            faults.append(Fault(images.names[index], str(error)))
    return digests, shapes, faults


def _other_sizes(images: ImageSet, shapes: NDArray[np.int64]) -> tuple[str, list[Fault]]:
    """The size of most images, the smaller one on a tie, and the images that have another."""
    decoded = np.flatnonzero(shapes[:, 0])
    if not len(decoded):
        return "", []
    sizes, counts = np.unique(shapes[decoded], axis=0, return_counts=True)
    usual = sizes[counts.argmax()]
    other = decoded[(shapes[decoded] != usual).any(axis=1)]
    faults = [
        Fault(images.names[index], f"{shapes[index, 0]}x{shapes[index, 1]}") for index in other.tolist()
    ]
    return f"{usual[0]}x{usual[1]}", faults


def _duplicates(images: ImageSet, digests: NDArray[np.bytes_]) -> tuple[list[list[str]], list[list[str]]]:
    """Groups of images with the same bytes, in order of their first: of one person, and of several."""
    order = np.argsort(digests, kind="stable")
    order = order[digests[order] != b""]
    as_next = digests[order][1:] == digests[order][:-1]
    order = order[np.append(as_next, False) | np.append(False, as_next)] if len(order) else order
    groups = np.split(order, 1 + np.flatnonzero(digests[order][1:] != digests[order][:-1]))
    within: list[list[str]] = []
    across: list[list[str]] = []
    for group in sorted(group.tolist() for group in groups if len(group) > 1):
        several = len(np.unique(images.labels[group])) > 1
        called = []
        for index in group:
            name, person = images.names[index], images.identities[images.labels[index]]
            called.append(name if name.startswith(f"{person}/") else f"{name} of person {person}")
        (across if several else within).append(called)
    return within, across
