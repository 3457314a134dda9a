"""Rows of features: which can be used, which hold two embeddings, and what faults of their videos are warned of.

Tested in ``tests/features/``, ``tests/embeddings/test_merge.py`` and ``tests/faults/test_labels.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import Warned
from vidface.files.store import Fault

# Kind of fault -> in words.
UNUSABLE = {"not-finite": "NaN or infinite features", "zero-features": "features that are all zero"}
WARNED = {
    "resized": "have frames of another shape than the model's input, or far larger, that were resized whole: to "
    "find the faces in them, use --faces detect instead of --resize",
    "wrong-size": "have frames that do not have the model's size: to find the faces in them, "
    "use --faces detect",
}

SAMPLE = 1000  # rows looked at
FEWEST_ROWS, SHORTEST = 4, 16  # fewer rows, or shorter halves, may be alike by chance
ALIKE = 0.5  # faces and their mirror images have a cosine of 0.9 and more; blurred ones less
CLOSER = 0.15  # than halves of two rows, which are alike too if features are never negative


def usable_rows(features: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which of features [n, D] have a direction: bool [n], and how many have none, by kind of fault."""
    finite: npt.NDArray[np.bool_] = np.isfinite(features).all(axis=1)
    usable: npt.NDArray[np.bool_] = finite & features.any(axis=1)
    counts = zip(UNUSABLE, map(np.count_nonzero, (~finite, finite & ~usable)), strict=True)
    return usable, {kind: int(count) for kind, count in counts if count}


def left_out(lost: Mapping[str, int], total: int, what: str) -> list[tuple[str, str]]:
    """(kind, detail) of the faults; ``what`` such as ``frames gave``."""
    return [(kind, f"{count} of {total} {what} {UNUSABLE[kind]}: left out") for kind, count in lost.items()]


def fault_warnings(faults: Iterable[Fault], videos: int) -> list[str]:
    """A sentence for each kind of fault that touches what is scored, with how many of so many videos have it."""
    counts = Counter(fault["kind"] for fault in faults)
    return [f"{counts[kind]} of {videos} videos {what}" for kind, what in WARNED.items() if counts[kind]]


class Halves(NamedTuple):
    """Medians over rows: the cosine of the first half with the second one, and with that of another row."""

    own: float
    other: float

    @property
    def are_two(self) -> bool:
        """Whether the halves are two embeddings of one image."""
        return self.own > ALIKE and self.own - self.other > CLOSER


def compare_halves(rows: npt.NDArray[Any]) -> Halves | None:
    """Compare the halves of some rows, evenly chosen.

    Tools that test with flips save an image's embedding and that of its mirror image in one row. Such halves are alike,
    and more so than they are like the halves of other rows; those of one embedding have nothing to do with each other.

    Args:
        rows: float [R, D]; an array or a memory map. Zero rows, and those that are not finite, are left out.

    Returns:
        None if rows are too few or too short to tell, or have no halves.
    """
    count, dimension = rows.shape
    half = dimension // 2
    if dimension % 2 or half < SHORTEST or not count:
        return None
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))
    sample = np.asarray(rows[chosen], np.float64)
    sample = sample[np.isfinite(sample).all(axis=1)]
    sample /= np.maximum(np.abs(sample).max(axis=1, keepdims=True, initial=0), np.finfo(np.float64).tiny)
    halves = sample.reshape(len(sample), 2, half)
    halves = halves[np.all(halves.any(axis=2), axis=1)]
    if len(halves) < FEWEST_ROWS:
        return None
    first, second = np.moveaxis(halves / np.linalg.norm(halves, axis=2, keepdims=True), 1, 0)
    # Half the list away is another person in most lists.
    others = np.roll(second, len(second) // 2, axis=0)
    return Halves(*(float(np.median(np.einsum("rd,rd->r", first, each))) for each in (second, others)))


def halves_warning(rows: npt.NDArray[Any], todo: str) -> list[str]:
    """The warning of rows that hold two embeddings each and are taken for one; ``todo`` is the way on."""
    found = compare_halves(rows)
    if found is None or not found.are_two:
        return []
    text = (
        f"each row of {rows.shape[1]} numbers looks like two embeddings, an image's and its mirror image's (the median "
        f"cosine of its halves is {found.own:.2f}, of two rows' {found.other:.2f}), and is taken as one long "
        f"embedding: {todo}"
    )
    return [Warned(text, 1.0)]
