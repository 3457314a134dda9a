"""From the kept frames of a video to one embedding: the mean of the unit rows, made unit length again.

The mean of the frames' unit vectors is the reference's video embedding (LFRC 2019, video track: every frame
normalised, summed, normalised again). Tested in ``tests/test_pooling.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = ["pool_frames"]

VANISHED = 1e-6  # a mean of float32 unit rows shorter than this is rounding, not a direction


def pool_frames(unit: ArrayLike, keep: ArrayLike) -> NDArray[np.float32]:
    """Average the kept frames of one video.

    Args:
        unit: [n, D] unit rows; zero rows (frames without a usable face) add nothing.
        keep: bool [n].

    Returns:
        float32 [D] of unit length; zeros where nothing is kept or the kept rows cancel out (their mean is
        shorter than 1e-6). The mean is taken in float64.
    """
    rows = np.ascontiguousarray(unit, dtype=np.float32)
    kept = np.asarray(keep, dtype=bool)
    if rows.ndim != 2 or kept.shape != rows.shape[:1]:
        raise ValueError(f"frames must be [n, D] and keep [n], not {rows.shape} and {kept.shape}")
    pooled = np.zeros(rows.shape[1], np.float32)
    count = np.count_nonzero(kept)
    if count:
        total = np.zeros(rows.shape[1])
        _add_rows(rows, kept, total)
        mean = total / count
        length = np.sqrt(np.square(mean).sum())
        if length >= VANISHED:
            pooled[:] = mean / length
    return pooled


@njit(cache=True)
def _add_rows(rows: Any, kept: Any, total: Any) -> None:
    # Row after row, as numpy's own mean does, but without its copy of the kept rows.
    for i in range(rows.shape[0]):
        if kept[i]:
            for d in range(rows.shape[1]):
                total[d] += np.float64(rows[i, d])
