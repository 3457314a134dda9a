"""Another tool's embeddings in one matrix, ``.npy`` or LFRC's ``.bin``; tested in ``tests/scores/test_matrices.py``."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError
from vidface.features.rows import halves_warning
from vidface.files.atomic import require_file
from vidface.files.npy import open_matrix
from vidface.files.store import UNIT_TOLERANCE
from vidface.submission import read_lfrc, sniff

BLOCK = 8192  # rows looked at at a time


class Matrix(NamedTuple):
    """A matrix that was read: float32 [R, D] with rows of unit length, or zero; and what is to be said of it."""

    embeddings: npt.NDArray[np.float32]
    warnings: list[str]


def read_matrix(path: Path, rows: int, what: str, *, normalise: bool = False) -> Matrix:
    """Read another tool's embeddings, ``.npy`` or ``.bin``, into memory; ``what`` names the ``rows`` there must be.

    ``normalise`` divides rows by their length, with a warning of how many had another than 1. StoreError: missing,
    damaged, another number of rows, NaN or infinity; or, without ``normalise``, rows neither of unit length nor zero.
    """
    require_file(path)
    source = open_matrix(path, rows="rows") if sniff(path) == "npy" else read_lfrc(path)
    if len(source) != rows:
        raise StoreError(
            f"{path}: {len(source)} rows for the {rows} {what}; it must have one each, in this order (a row a frame: "
            "vidface features from-arrays)"
        )
    embeddings = np.empty(source.shape, np.float32)
    lengths = np.empty(rows)
    for start in range(0, rows, BLOCK):
        block = source[start : start + BLOCK].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # such rows are refused below
            norms = np.linalg.norm(block, axis=1)
            largest = np.abs(block).max(axis=1)
            lengths[start : start + BLOCK] = np.where(np.isfinite(largest), norms, np.nan)
            if normalise:
                # By the largest number first: the squares of very large and very small ones are no numbers.
                block /= np.where(largest > 0, largest, 1)[:, None]
                norms = np.linalg.norm(block, axis=1)
                block /= np.where(norms > 0, norms, 1)[:, None]
            embeddings[start : start + BLOCK] = block
    warnings = _check_lengths(path, lengths, normalise)
    two = halves_warning(embeddings, "if the two should be added, as is usual, add them before scoring")
    return Matrix(embeddings, [*two, *warnings])


def _check_lengths(path: Path, lengths: npt.NDArray[np.float64], normalise: bool) -> list[str]:
    """Refuse rows that cannot be scored; returns the warning about rows that were not of length 1."""
    lost = np.flatnonzero(np.isnan(lengths))
    if len(lost):
        raise StoreError(f"{path}: {len(lost)} rows hold NaN or infinity, the first is row {lost[0]}")
    other = np.flatnonzero((np.abs(lengths - 1) > UNIT_TOLERANCE) & (lengths > 0))
    if not len(other):
        return []
    if not normalise:
        raise StoreError(
            f"{path}: {len(other)} rows are not of unit length, the first is row {other[0]} "
            f"({lengths[other[0]]:.4g}); score and submit divide rows by their length with --normalise"
        )
    low, high = lengths[other].min(), lengths[other].max()
    return [
        f"{len(other)} of {len(lengths)} rows were not of unit length ({low:.4g} to {high:.4g}) and were normalised"
    ]
