"""TPR at FPR over all pairs of distinct videos, exactly.

Every unordered pair of two videos is one comparison; its score is the cosine; it is genuine where both have
the same identity. A pair is accepted where its score is at least the threshold. TPR at FPR is the LARGEST TPR
over the thresholds whose FPR is at most the target; other tools take another point of the curve, so there are the
other two rules of `vidface.scores.metrics.fpr_rules` as well.

With N impostor pairs, k = floor(target * N) of them may be accepted, so the threshold lies just above the (k+1)-th
highest impostor score: `vidface.scores.pairs.impostors` finds it, and how many pairs tie with it, in one pass over
blocks of pairs, and the whole matrix never exists. ``nearest`` may refuse the next lower score instead: without ties
that is the (k+2)-th, found in the same pass; with ties it takes a second one. The score of a pair is the exact cosine
of its rows, rounded to float32, so every number here is the same to the last bit on every machine, for any number of
threads, size of block and order of videos. Tested in ``tests/scores/metrics/test_verification.py`` and
``tests/scores/metrics/test_all_pairs_rules.py`` against scikit-learn's roc_curve over the list of all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import at_least_one, integers, unit_rows_of
from vidface.runtime import cpu_count
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule, share_of_next, takes_next
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.pairs.blocks import (
    BLOCK,
    Pairs,
    by_identity,
    genuine_hits,
    refuse_shape,
    scan_blocks,
)
from vidface.scores.pairs.impostors import Place, Scan, places_at
from vidface.scores.text import too_few

__all__ = ["VerificationResult", "tpr_of_all_pairs"]


@dataclass(frozen=True, eq=False)
class VerificationResult:
    """TPR at every target, and the counts it rests on.

    Attributes:
        targets: the T targets, as given.
        tpr: accepted genuine pairs / genuine pairs; None where it can't be measured (see ``warnings``).
        threshold: the smallest float32 threshold with that FPR: the next float32 above the best impostor score that
            is refused. Accept where score >= threshold. None where ``tpr`` is, and for ``interpolated``, which lies
            between two thresholds.
        genuine_pairs: pairs of videos of one identity.
        impostor_pairs: all others; videos without identity are impostors to everybody, each other included.
        warnings: a sentence for everything that could not be measured.
        hits_by_identity: int64 [T, I], accepted genuine pairs, identities ascending; zeros where ``tpr`` is
            None. For ``interpolated`` float64: the mix of two thresholds' hits that gives the TPR.
        pairs_by_identity: int64 [I], genuine pairs. Each row of hits sums to tpr * genuine_pairs.
        fpr: accepted impostor pairs / impostor pairs, where ``tpr`` is measured; for ``interpolated`` the target.
    """

    targets: list[str]
    tpr: list[float | None]
    threshold: list[float | None]
    genuine_pairs: int
    impostor_pairs: int
    warnings: list[str]
    hits_by_identity: NDArray[np.int64] | NDArray[np.float64]
    pairs_by_identity: NDArray[np.int64]
    fpr: list[float | None]


def tpr_of_all_pairs(
    embeddings: ArrayLike,
    identities: ArrayLike,
    targets: Sequence[str],
    *,
    rule: FprRule = DEFAULT_RULE,
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
        rule: which point of the curve a target means.
        distractors: [M, D], float16 or float32, unit or zero rows: impostors to every video, but not compared with
            one another. An array, a memory map or an HDF5 data set: it is only sliced, a block at a time.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        device: where blocks are computed: ``cpu``, or a device as torch names it, whose memory has to hold the
            embeddings one and a half times. Sets speed, not the result. Not yet run on a GPU.
        block: videos on a side of a block of scores on the CPU; sets memory and speed, not the result.

    Returns:
        See ``VerificationResult``; I is the number of different identities, -1 not counted.

    Raises:
        ValueError: shapes that don't fit, rows or distractors that are neither of unit length nor zero, or a target
            outside (0, 1).
    """
    at_least_one(workers=workers, block=block)
    rows = unit_rows_of(embeddings)
    if distractors is not None:
        refuse_shape(distractors, rows.shape[1])
    fractions = [fpr_fraction(target, rule) for target in targets]

    order, until, starts, sizes = by_identity(integers(identities, "identities", len(rows)))
    known = int(sizes.sum())

    pairs_by_identity = sizes.astype(np.int64) * (sizes - 1) // 2
    genuine = int(pairs_by_identity.sum())
    impostors = len(order) * (len(order) - 1) // 2 - genuine
    impostors += 0 if distractors is None else len(order) * len(distractors)
    allowed = [fraction * impostors for fraction in fractions]
    rare = [target for target, accepts in zip(targets, allowed, strict=True) if accepts < 1]
    warnings = too_few("TPR at FPR", rare, impostors, "impostor pairs")
    if genuine == 0:
        warnings = ["TPR is not measured: no identity has two videos, so there are no genuine pairs"]
    measured = [t for t, accepts in enumerate(allowed) if accepts >= 1 and genuine > 0]

    tpr: list[float | None] = [None] * len(targets)
    threshold, fpr = tpr.copy(), tpr.copy()
    mixed = rule == "interpolated"
    hits: NDArray[Any] = np.zeros((len(targets), len(sizes)), np.float64 if mixed else np.int64)
    if measured:
        if (np.diff(order) != 1).any():
            rows = rows[order]
        pairs = Pairs(rows, until, distractors)
        workers = cpu_count() if workers is None else workers
        scan: Scan = partial(scan_blocks, pairs, block=block, workers=workers)
        if device != "cpu":
            from vidface.scores.pairs.blocks_torch import scan_on_device

            scan = partial(scan_on_device, pairs, device=device)
        with threadpool_limits(1, user_api="blas"):  # each worker multiplies its own blocks
            places = _refused([allowed[t] for t in measured], rule, pairs, impostors, scan)
        refused = np.array([place.score for place in places], np.float32)
        above = np.nextafter(refused, np.float32(np.inf))
        # Mixing needs what is accepted where the refused impostors, and who ties with them, are accepted too.
        by_row = genuine_hits(rows[:known], until[:known], np.concatenate([above, refused]), workers)
        found, through = np.split(np.add.reduceat(by_row, starts, axis=0).T, 2)
        for n, (t, place) in enumerate(zip(measured, places, strict=True)):
            hits[t] = found[n]
            if mixed:
                share = share_of_next(allowed[t], place.above, place.through)
                hits[t] += share * (through[n] - found[n])
                fpr[t] = float(fractions[t])
            else:
                threshold[t], fpr[t] = float(above[n]), place.above / impostors
            tpr[t] = float(hits[t].sum()) / genuine
    return VerificationResult(
        list(targets), tpr, threshold, genuine, impostors, warnings, hits, pairs_by_identity, fpr
    )


def _refused(allowed: list[Fraction], rule: FprRule, pairs: Pairs, total: int, scan: Scan) -> list[Place]:
    """The best impostor score that each target refuses."""
    ranks = [int(accepts) for accepts in allowed]
    if rule != "nearest":
        return places_at(ranks, pairs, total, scan)
    # Without ties the next lower score, which may be refused instead, is one rank further.
    places = places_at([*ranks, *(min(rank + 1, total - 1) for rank in ranks)], pairs, total, scan)
    nearest = [
        place.through if takes_next(accepts, place.above, place.through) else place.above
        for accepts, place in zip(allowed, places[: len(ranks)], strict=True)
    ]
    known = {place.above: place for place in places}
    known[total] = Place(np.float32(-np.inf), total, total)  # all are accepted, no score is refused
    missing = sorted(set(nearest) - set(known))
    known |= {place.above: place for place in places_at(missing, pairs, total, scan)}
    return [known[above] for above in nearest]
