"""Passes of `vidface.scores.metrics.identity_thresholds` over every score of an identity, a few identities at a time.

Scores are of `vidface.embeddings.exact.tile32`: the bits of `dot32`. The k-th highest of them all is found without
holding them: float32 numbers have keys, whole numbers of 32 bits in the same order; one pass counts keys by their upper
half, a second one those of the halves that matter by their lower half. Inner work, on arrays that were checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from vidface.embeddings.exact import TILE_LEFT, TILE_RIGHT, aligned_rows, tile32

__all__: list[str] = []

ROWS = 64  # identities a job: each probe is read once for them all
BINS = 2**16


class Scores:
    """All scores of all identities, computed as they are asked for.

    Attributes:
        jobs: first identities, for `vidface.runtime.in_threads`.
    """

    def __init__(
        self,
        probes: NDArray[np.float32],
        gallery: NDArray[np.float32],
        bounds: NDArray[np.int64],
        mine: Sequence[NDArray[np.int64]],
    ) -> None:
        """Take P probes, and I identities: rows ``bounds[i]`` to ``bounds[i + 1]`` - 1, own probes ``mine[i]``."""
        self._rows = aligned_rows(len(probes) + len(gallery), probes.shape[1])
        self._rows[: len(probes)], self._rows[len(probes) :] = probes, gallery
        self._probes = _filled(np.arange(len(probes)), TILE_LEFT)
        self._count, self._bounds, self._mine = len(probes), bounds, mine
        self.jobs = range(0, len(mine), ROWS)

    def lines(self, jobs: Iterator[int]) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        """Of every identity of some jobs: its number, its scores with its own probes, and float32 [P] with all others.

        -inf stands in the place of its own. The arrays are used again for the next identity.
        """
        scores = np.empty((ROWS, self._count), np.float32)
        for job in jobs:
            bounds = self._bounds[job : job + ROWS + 1]
            rows = np.arange(bounds[0], bounds[-1])
            whose = np.searchsorted(bounds, rows, side="right") - 1
            numbers = _filled(rows + self._count, TILE_RIGHT)
            scores[:] = -np.inf
            _score(self._rows, self._probes, numbers, _filled(whose, TILE_RIGHT), scores)
            for i, line in enumerate(scores[: len(bounds) - 1], job):
                own = line[self._mine[i]]
                line[self._mine[i]] = -np.inf
                yield i, own, line


def _filled(numbers: NDArray[np.int64], multiple: int) -> NDArray[np.int32]:
    """A multiple of so many numbers: the last one is repeated."""
    return np.pad(numbers, (0, -len(numbers) % multiple), mode="edge").astype(np.int32)


def upper_place(counts: NDArray[np.int64], place: int) -> tuple[int, int]:
    """The bin of the score at a place, 0 for the highest of all; and its place among those of the bin."""
    down = np.cumsum(counts[::-1])
    at = int(np.searchsorted(down, place, side="right"))
    return len(counts) - 1 - at, place - (int(down[at - 1]) if at else 0)


def lower_place(counts: NDArray[np.int64], upper: int, place: int) -> np.float32:
    """The score at a place among those of the bin ``upper``, by the counts of their lower halves."""
    key = np.uint32(upper * BINS + upper_place(counts, place)[0])
    bits = key ^ np.uint32(2**31) if key >> 31 else ~key
    return np.float32(np.array([bits], np.uint32).view(np.float32)[0])


def count_upper(scores: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
    """Count float32 scores by the upper halves of their keys into int64 [BINS]; higher scores have higher keys."""
    _count(scores.view(np.uint32), counts)


def count_lower(scores: NDArray[np.float32], uppers: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    """Count the scores of the bins ``uppers`` by the lower halves of their keys into int64 [bins, BINS]."""
    _count_within(scores.view(np.uint32), uppers, counts)


@njit(cache=True, nogil=True)
def _count(bits: Any, counts: Any) -> None:
    for value in bits:
        key = value ^ np.uint32(0xFFFFFFFF if value >> np.uint32(31) else 0x80000000)
        counts[key >> np.uint32(16)] += 1


@njit(cache=True, nogil=True)
def _count_within(bits: Any, uppers: Any, counts: Any) -> None:
    for value in bits:
        key = value ^ np.uint32(0xFFFFFFFF if value >> np.uint32(31) else 0x80000000)
        for u in range(len(uppers)):
            if np.int64(key >> np.uint32(16)) == uppers[u]:
                counts[u, key & np.uint32(0xFFFF)] += 1


@njit(cache=True, nogil=True)
def _score(rows: Any, probes: Any, numbers: Any, whose: Any, scores: Any) -> None:
    """Raise ``scores[whose[r], p]`` to the score of probe p with every row; what is repeated changes nothing."""
    tile = np.empty(TILE_LEFT * TILE_RIGHT, np.float32)
    for p in range(0, len(probes), TILE_LEFT):
        for r in range(0, len(numbers), TILE_RIGHT):
            tile32(rows, probes, p, numbers, r, tile)
            for a in range(TILE_LEFT):
                for b in range(TILE_RIGHT):
                    at, probe = whose[r + b], probes[p + a]
                    scores[at, probe] = max(scores[at, probe], tile[TILE_RIGHT * a + b])
