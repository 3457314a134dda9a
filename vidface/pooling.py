"""From the kept frames of a video to one embedding: the mean of the unit rows, made unit length again.

The mean of the frames' unit vectors is the reference's video embedding (LFRC 2019, video track: every frame
normalised, summed, normalised again). Tested in ``tests/test_pooling.py``.
"""

from __future__ import annotations

import numpy as np
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
    kept = np.asarray(unit)[np.asarray(keep, dtype=bool)]
    pooled = np.zeros(kept.shape[1], np.float32)
    if len(kept):
        mean = kept.mean(axis=0, dtype=np.float64)
        length = np.sqrt(np.square(mean).sum())
        if length >= VANISHED:
            pooled[:] = mean / length
    return pooled
