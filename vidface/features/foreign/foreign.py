"""What every reader of foreign features gives."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FPS = 8.0  # frames a second of the paper, if a source numbers frames and does not say when they were taken
AS_GIVEN = "as the index says"  # `Foreign.times_are` if the source has times of its own
NOT_KNOWN = "not known"  # model, decoder and flip of such features, in the attributes of their file


class Foreign(NamedTuple):
    """Features of another tool, laid out by the videos of a manifest.

    Attributes:
        features: float [R, D], as they lie in the source.
        times: float32 [R], seconds.
        order: int64 [N], rows of ``features``, those of a video one after the other, in the manifest's order; rows that
            are left out are not among them.
        offsets: int64 [V+1], the rows of video v are ``order[offsets[v]:offsets[v + 1]]``.
        dtype: ``float16`` or ``float32``, what they can be stored in without loss (float64 becomes float32).
        faults: place of a video -> (kind, detail) of what is wrong with it.
        unlisted: names that are not in the manifest -> their rows.
        counts: what became of all rows, name -> rows.
        times_are: where the times come from, in words.
    """

    features: npt.NDArray[Any]
    times: npt.NDArray[np.float32]
    order: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    dtype: str
    faults: dict[int, list[tuple[str, str]]]
    unlisted: dict[str, int]
    counts: dict[str, int]
    times_are: str
