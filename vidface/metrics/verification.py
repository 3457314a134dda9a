"""TPR at FPR over all pairs of distinct videos, exactly.

Every unordered pair of two videos is one comparison; its score is the cosine; it is genuine where both have
the same identity. A pair is accepted where its score is at least the threshold. TPR at FPR is the LARGEST TPR
over the thresholds whose FPR is at most the target (other tools take the nearest FPR, which may exceed it).

With N impostor pairs, k = floor(target * N) of them may be accepted, so the threshold lies just above the (k+1)-th
highest impostor score: `vidface.metrics.impostors` finds it in one pass over blocks of pairs, and the whole matrix
never exists. The score of a pair is `vidface.fixed_dot.dot32` of its rows, so every number here is the same to the
last bit on every machine, for any number of threads, size of block and order of videos. Tested in
``tests/metrics/test_verification.py`` against scikit-learn's roc_curve over the list of all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.machine import cpu_count
from vidface.metrics.impostors import Product, Scan, scores_at
from vidface.metrics.pair_scan import BLOCK, UNIT, Pairs, by_identity, genuine_hits, products_of, scan_blocks
from vidface.metrics.pairs import fpr_fraction

__all__ = ["VerificationResult", "tpr_at_fpr"]


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
    embeddings: ArrayLike,
    identities: ArrayLike,
    targets: Sequence[str],
    *,
    distractors: Any = None,
    workers: int | None = None,
    device: str = "cpu",
    block: int = BLOCK,
) -> VerificationResult:
    """Score all pairs of videos, and all pairs of a video and a distractor.

    Beside the embeddings this takes one more copy of them (none where they are sorted by identity), 4 MB a worker,
    at most 250 MB for a sample of pairs, and 4 bytes for a few percent of the largest target times all impostor pairs:
    441 MB in all for 203,848 videos x 256.

    Args:
        embeddings: float32 [V, D], unit rows. Zero rows (failed videos) score 0 with everybody and stay in.
        identities: int [V], any numbers from 0 up; -1: no identity.
        targets: FPR targets as text ("1e-4"), so that target * N is exact; each above 0 and below 1.
        distractors: [M, D], float16 or float32, unit or zero rows: impostors to every video, but not compared with
            one another. An array, a memory map or an HDF5 data set: it is only sliced, a block at a time.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        device: where blocks are computed: ``cpu``, or a device as torch names it, whose memory has to hold the
            embeddings one and a half times. Sets speed, not the result. Not yet run on a GPU.
        block: videos on a side of a block of scores on the CPU; sets memory and speed, not the result.

    Returns:
        See ``VerificationResult``; I is the number of different identities, -1 not counted.

    Raises:
        ValueError: shapes that don't fit, values that aren't finite, distractors that are not of unit length, or a
            target outside (0, 1).
    """
    rows, people = np.asarray(embeddings, dtype=np.float32), np.asarray(identities)
    if rows.ndim != 2 or people.shape != rows.shape[:1]:
        raise ValueError(f"embeddings must be [V, D] and identities [V], not {rows.shape} and {people.shape}")
    if distractors is not None and (len(distractors.shape) != 2 or distractors.shape[1] != rows.shape[1]):
        raise ValueError(f"distractors must be [M, {rows.shape[1]}], not {distractors.shape}")
    longest = 1 + UNIT if distractors is not None else 0.0
    for first in range(0, len(rows), block):
        part = rows[first : first + block]
        if not np.isfinite(part).all():
            raise ValueError(f"values that are not finite in one of the videos from row {first} on")
        longest = max(longest, 1.001 * float(np.sqrt(np.einsum("ij,ij->i", part, part).max())))
    fractions = [fpr_fraction(target) for target in targets]

    order, until, starts, sizes = by_identity(people)
    known = int(sizes.sum())

    pairs_by_identity = sizes.astype(np.int64) * (sizes - 1) // 2
    genuine = int(pairs_by_identity.sum())
    impostors = len(order) * (len(order) - 1) // 2 - genuine
    impostors += 0 if distractors is None else len(order) * len(distractors)
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
        if (np.diff(order) != 1).any():
            rows = rows[order]
        pairs = Pairs(np.ascontiguousarray(rows), until, distractors, longest)
        workers = cpu_count() if workers is None else workers
        scan: Scan = partial(scan_blocks, pairs, block=block, workers=workers)
        product: Product = partial(products_of, workers=workers)
        if device != "cpu":
            from vidface.metrics.pair_scan_torch import product_on_device, scan_on_device

            scan, product = (
                partial(scan_on_device, pairs, device=device),
                partial(product_on_device, device=device),
            )
        with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
            refused = scores_at([allowed[t] for t in measured], pairs, impostors, scan, product)
        above = np.nextafter(refused, np.float32(np.inf))
        by_row = genuine_hits(pairs.rows[:known], until[:known], above, workers)
        hits[measured] = np.add.reduceat(by_row, starts, axis=0).T
        for t, least in zip(measured, above, strict=True):
            tpr[t], threshold[t] = int(hits[t].sum()) / genuine, float(least)
    return VerificationResult(
        list(targets), tpr, threshold, genuine, impostors, warnings, hits, pairs_by_identity
    )
