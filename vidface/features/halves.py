"""Rows that hold two embeddings: an image's, and that of its mirror image, as tools that test with flips save them.

Such a row looks as any other. But its halves are alike, and more so than they are like the halves of other rows, while
those of one embedding have nothing to do with each other. Tested in ``tests/features/test_halves.py``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import Warned

__all__ = ["Halves", "compare_halves", "halves_warning"]

SAMPLE = 1000  # rows looked at
FEWEST_ROWS, SHORTEST = 4, 16  # fewer rows, or shorter halves, may be alike by chance
ALIKE = 0.5  # faces and their mirror images have a cosine of 0.9 and more; blurred ones less
CLOSER = 0.15  # than halves of two rows, which are alike too where features are never negative


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

    Args:
        rows: float [R, D]; an array or a memory map. Zero rows, and those that are not finite, are left out.

    Returns:
        None where rows are too few or too short to tell, or have no halves.
    """
    count, dimension = rows.shape
    half = dimension // 2
    if dimension % 2 or half < SHORTEST or not count:
        return None
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64))
    sample = np.asarray(rows[chosen], np.float64)
    sample = sample[np.isfinite(sample).all(axis=1)]
    sample /= np.maximum(np.abs(sample).max(axis=1, keepdims=True, initial=0), np.finfo(np.float64).tiny)
    lengths = np.linalg.norm(sample.reshape(len(sample), 2, half), axis=2)
    sample, lengths = (each[(lengths > 0).all(axis=1)] for each in (sample, lengths))
    if len(sample) < FEWEST_ROWS:
        return None
    first, second = sample[:, :half] / lengths[:, :1], sample[:, half:] / lengths[:, 1:]
    # Half the list away is another person in most lists.
    others = np.roll(second, len(second) // 2, axis=0)
    own, other = (float(np.median(np.einsum("rd,rd->r", first, each))) for each in (second, others))
    return Halves(own, other)


def halves_warning(rows: npt.NDArray[Any], todo: str) -> list[str]:
    """What is to be said of rows that hold two embeddings each and are taken for one; ``todo`` is the way on."""
    found = compare_halves(rows)
    if found is None or not found.are_two:
        return []
    text = (
        f"each row of {rows.shape[1]} numbers looks like two embeddings, an image's and its mirror image's (the median "
        f"cosine of its halves is {found.own:.2f}, of two rows' {found.other:.2f}), and is taken as one long "
        f"embedding: {todo}"
    )
    return [Warned(text, 1.0)]
