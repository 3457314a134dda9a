"""Which rows of features can be used: a row with NaN, infinity or nothing but zeros has no direction.

Tested in ``tests/features/engines/test_batches.py`` and ``tests/features/foreign/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["UNUSABLE", "left_out", "usable_rows"]

# Kind of fault -> in words.
UNUSABLE = {"not-finite": "NaN or infinite features", "zero-features": "features that are all zero"}


def usable_rows(features: npt.NDArray[Any]) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Of features [n, D]: bool [n], and how many are not usable, by kind of fault, of those that occur."""
    finite: npt.NDArray[np.bool_] = np.isfinite(features).all(axis=1)
    usable: npt.NDArray[np.bool_] = finite & features.any(axis=1)
    counts = {
        "not-finite": int(np.count_nonzero(~finite)),
        "zero-features": int(np.count_nonzero(finite & ~usable)),
    }
    return usable, {kind: count for kind, count in counts.items() if count}


def left_out(lost: Mapping[str, int], total: int, what: str) -> list[tuple[str, str]]:
    """(kind, detail) of the faults; ``what`` such as ``frames gave``."""
    return [(kind, f"{count} of {total} {what} {UNUSABLE[kind]}: left out") for kind, count in lost.items()]
