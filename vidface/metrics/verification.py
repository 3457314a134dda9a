"""TPR at FPR over all pairs of distinct videos, exactly.

Every unordered pair of two videos is one comparison; its score is the cosine; it is genuine where both have
the same identity. A pair is accepted where its score is at least the threshold. TPR at FPR is the LARGEST TPR
over the thresholds whose FPR is at most the target (other tools take the nearest FPR, which may exceed it).

The pairs are scored in blocks, and the whole matrix never exists. Only the highest impostor scores decide:
with N impostor pairs, k = floor(target * N) of them may be accepted, so the threshold lies just above the
(k+1)-th highest. A first pass over all blocks keeps the k+1 highest scores, above a floor that rises as they
fill up; a second pass over the genuine pairs alone counts the hits. Memory: 8 bytes an impostor score kept
(largest target * N), three blocks, and a few numbers a video. Scores are float32 as BLAS computes them,
so the last bit may differ between BLAS libraries. Tested in ``tests/metrics/test_verification.py`` against
scikit-learn's roc_curve over the list of all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.metrics.pairs import fpr_fraction

__all__ = ["VerificationResult", "tpr_at_fpr"]

BLOCK = 1024  # videos on a side: 4 MB of scores


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """TPR at every target, and the counts it rests on.

    Attributes:
        targets: the T targets, as given.
        tpr: accepted genuine pairs / genuine pairs; None where it can't be measured (see ``warnings``).
        threshold: the smallest float32 threshold whose FPR is at most the target: the next float32 above the
            (k+1)-th highest impostor score. Accept where score >= threshold. None where ``tpr`` is.
        genuine_pairs: pairs of videos of one identity.
        impostor_pairs: all others; videos without identity are impostors to everybody, each other included.
        warnings: a sentence for everything that could not be measured.
        hits_by_identity: int64 [T, I], accepted genuine pairs, identities ascending; zeros where ``tpr`` is
            None.
        pairs_by_identity: int64 [I], genuine pairs. Each row of hits sums to tpr * genuine_pairs.
    """

    targets: list[str]
    tpr: list[float | None]
    threshold: list[float | None]
    genuine_pairs: int
    impostor_pairs: int
    warnings: list[str]
    hits_by_identity: NDArray[np.int64]
    pairs_by_identity: NDArray[np.int64]


def tpr_at_fpr(
    embeddings: ArrayLike, identities: ArrayLike, targets: Sequence[str], *, block: int = BLOCK
) -> VerificationResult:
    """Score all pairs of videos.

    Args:
        embeddings: float32 [V, D], unit rows. Zero rows (failed videos) score 0 with everybody and stay in.
        identities: int [V], any numbers from 0 up; -1: no identity.
        targets: FPR targets as text ("1e-4"), so that target * N is exact; each above 0 and below 1.
        block: videos on a side of a block of scores; sets memory and speed, not the result.

    Returns:
        See ``VerificationResult``; I is the number of different identities, -1 not counted.

    Raises:
        ValueError: shapes that don't fit, values that aren't finite, or a target outside (0, 1).
    """
    rows, people = np.asarray(embeddings, dtype=np.float32), np.asarray(identities)
    if rows.ndim != 2 or people.shape != rows.shape[:1]:
        raise ValueError(f"embeddings must be [V, D] and identities [V], not {rows.shape} and {people.shape}")
    for first in range(0, len(rows), block):
        if not np.isfinite(rows[first : first + block]).all():
            raise ValueError(f"values that are not finite in one of the videos from row {first} on")
    fractions = [fpr_fraction(target) for target in targets]

    # Sorted by identity: the genuine partners of a video are the ones right after it, up to ``until``.
    order = np.argsort(people, kind="stable")
    order = order[np.searchsorted(people[order], 0) :]
    known = len(order)
    _, starts, sizes = np.unique(people[order], return_index=True, return_counts=True)
    order = np.concatenate([order, np.flatnonzero(people < 0)])
    until = np.arange(1, len(order) + 1)
    until[:known] = np.repeat(starts + sizes, sizes)

    pairs_by_identity = sizes.astype(np.int64) * (sizes - 1) // 2
    genuine = int(pairs_by_identity.sum())
    impostors = len(order) * (len(order) - 1) // 2 - genuine
    allowed = [int(fraction * impostors) for fraction in fractions]
    warnings = [
        f"TPR at FPR {target} is not measured: {impostors:,} impostor pairs are fewer than 1/{target}"
        for target, accepts in zip(targets, allowed, strict=True)
        if accepts < 1
    ]
    if genuine == 0:
        warnings = ["TPR is not measured: no identity has two videos, so there are no genuine pairs"]
    measured = [t for t, accepts in enumerate(allowed) if accepts >= 1 and genuine > 0]

    tpr: list[float | None] = [None] * len(targets)
    threshold: list[float | None] = [None] * len(targets)
    hits = np.zeros((len(targets), len(sizes)), np.int64)
    if measured:
        refused = _impostors_at([allowed[t] for t in measured], rows, order, until, block)
        above = np.nextafter(refused, np.float32(np.inf))
        hits[measured] = _genuine_hits(rows, order, starts, sizes, above, block)
        for t, least in zip(measured, above, strict=True):
            tpr[t], threshold[t] = int(hits[t].sum()) / genuine, float(least)
    return VerificationResult(
        list(targets), tpr, threshold, genuine, impostors, warnings, hits, pairs_by_identity
    )


def _impostors_at(
    ranks: list[int],
    rows: NDArray[np.float32],
    order: NDArray[np.int64],
    until: NDArray[np.int64],
    block: int,
) -> NDArray[np.float32]:
    """The impostor scores at the given ranks, 0 the highest; there have to be that many."""
    wanted = max(ranks) + 1
    kept = np.empty(wanted + max(wanted, 16 * block), np.float32)  # negated: partition fills the front
    filled, floor = 0, np.float32(-np.inf)
    scores = np.empty(block * block, np.float32)
    for top in range(0, len(order), block):
        left = rows[order[top : top + block]]
        first = until[top : top + block]
        for side in range(top, len(order), block):
            right = left if side == top else rows[order[side : side + block]]
            product = scores[: len(left) * len(right)].reshape(len(left), len(right))
            np.matmul(left, right.T, out=product)
            row = 0
            while row < len(left):
                if filled + len(right) > len(kept):
                    kept[:filled].partition(wanted - 1)
                    # What is not above the least of those wanted can't matter any more.
                    filled, floor = wanted, -kept[wanted - 1]
                row, filled = _collect(product, row, first - side, floor, kept, filled)
    for rank in sorted(set(ranks), reverse=True):
        kept[:filled].partition(rank)
        filled = rank  # those before it may move again, this one may not
    return -kept[ranks]


@njit(cache=True)
def _collect(scores: Any, row: int, first: Any, floor: Any, kept: Any, filled: int) -> Any:
    """Keep the scores above the floor, negated, from ``row`` on while there is room; returns the next row.

    Row r has impostors from column ``first[r]`` on. Most runs of 16 hold nothing: look at them as one.
    """
    columns = scores.shape[1]
    while row < scores.shape[0] and filled + columns <= kept.size:
        line = scores[row]
        at = max(first[row], 0)
        while at < columns:
            run = line[at : at + 16]
            above = np.int32(0)
            for score in run:
                above += np.int32(score > floor)
            if above:
                for score in run:  # without a branch to guess wrong: the next score overwrites one too low
                    kept[filled] = -score
                    filled += score > floor
            at += 16
        row += 1
    return row, filled


def _genuine_hits(
    rows: NDArray[np.float32],
    order: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    thresholds: NDArray[np.float32],
    block: int,
) -> NDArray[np.int64]:
    """int64 [T, I]: the genuine pairs of every identity at or above every threshold."""
    hits = np.zeros((len(thresholds), len(sizes)), np.int64)
    for person in np.flatnonzero(sizes > 1):
        videos = order[starts[person] : starts[person] + sizes[person]]
        for top in range(0, len(videos), block):
            left = rows[videos[top : top + block]]
            for side in range(top, len(videos), block):
                right = left if side == top else rows[videos[side : side + block]]
                _count(left @ right.T, side == top, thresholds, hits[:, person])
    return hits


@njit(cache=True)
def _count(scores: Any, diagonal: bool, thresholds: Any, hits: Any) -> None:
    for t in range(thresholds.size):
        for r in range(scores.shape[0]):
            for score in scores[r, r + 1 if diagonal else 0 :]:
                hits[t] += score >= thresholds[t]
