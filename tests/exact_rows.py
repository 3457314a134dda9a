"""Rows whose products are chosen, made unit length without changing any product of two of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def completed(rows: NDArray[np.float32], others: int = 0) -> NDArray[np.float32]:
    """Each non-zero row [n, D], no longer than 1, gets a column of its own with what its length lacks to 1.

    ``others``: columns of zeros before those, for rows compared with these. Returns float32 [n, D + others + n].
    """
    rest = np.sqrt(1 - np.square(rows.astype(np.float64)).sum(axis=1)) * rows.any(axis=1)
    return np.concatenate([rows, np.zeros((len(rows), others)), np.diag(rest)], axis=1).astype(np.float32)


def completed_sides(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two sets of rows that are only compared with one another."""
    return np.pad(completed(one), ((0, 0), (0, len(other)))), completed(other, len(one))


def scores_of(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores of all rows on the grid with all others, float32 [n, m]: sums in float64 are exact in any order."""
    return (one.astype(np.float64) @ other.astype(np.float64).T).astype(np.float32)
