"""A set of labelled face images: where the pictures of many people come from, whatever they are stored in.

Tested in ``tests/training/datasets/test_open_images.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.training.datasets.names import SelectedNames

__all__ = ["ImageSet", "select"]


@dataclass(frozen=True)
class ImageSet:
    """Labelled images with random access; can be sent to worker processes.

    Attributes:
        identities: names of the people, in the order of their labels; every one has an image.
        labels: int64 [N], the person of every image, an index into ``identities``.
        names: what every image is called in messages, e.g. "Ada/0001.jpg" or "record 17".
        read: the encoded bytes (JPEG or PNG) of image ``i``. Raises MediaError.
        source: where they come from, for messages.
        problems: what was found and left out when the set was opened, a line each.
    """

    identities: tuple[str, ...]
    labels: NDArray[np.int64]
    names: Sequence[str]
    read: Callable[[int], bytes]
    source: str
    problems: tuple[str, ...] = ()


def select(images: ImageSet, keep: NDArray[np.integer[Any]]) -> ImageSet:
    """Some of the images, in the order given.

    People keep their order, their labels are numbered anew, and people without an image are dropped.

    Args:
        images: what to choose from.
        keep: integers [M], places in ``images``; none may come twice.

    Raises:
        IndexError: a place that is not in ``images``.
        ValueError: a place comes twice.
    """
    keep = np.asarray(keep, np.int64).reshape(-1)
    if len(keep) and not (keep.min() >= 0 and keep.max() < len(images.labels)):
        raise IndexError(f"places {keep.min()} to {keep.max()} are not all in 0 to {len(images.labels) - 1}")
    if len(np.unique(keep)) < len(keep):
        raise ValueError("an image is selected twice")
    people, labels = np.unique(images.labels[keep], return_inverse=True)
    return ImageSet(
        identities=tuple(images.identities[person] for person in people),
        labels=labels.astype(np.int64),
        names=SelectedNames(images.names, keep),
        read=partial(_read, images.read, keep),
        source=images.source,
        problems=images.problems,
    )


def _read(read: Callable[[int], bytes], keep: NDArray[np.int64], index: int) -> bytes:
    return read(int(keep[index]))
