"""Identification among distractors: is the mate the best answer, and is it above the threshold?

Every image of somebody who has others is searched for once with each of them: the gallery of one search is that one
mate and all distractors. The search succeeds where the mate scores higher than every distractor, and at least the
threshold. The threshold comes from searches without a mate: every image of a known person against the distractors
alone; that is a false positive where the best distractor is accepted, and FPR is the share of such searches. This is
detection and identification with one mate at a time, as MegaFace places it among distractors (Kemelmacher-Shlizerman,
Seitz, Miller and Brossard, The MegaFace benchmark, CVPR 2016); `docs/protocols/trillionpairs.md` says what is known of
the data set's own.

A distractor that scores as much as the mate is no success. Tested in ``tests/scores/metrics/test_mate_search.py``
against loops over all searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import at_least_one, integers, unit_rows_of
from vidface.embeddings.exact import dot32
from vidface.runtime import cpu_count, in_threads
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import cut_at, fpr_fraction
from vidface.scores.pairs.blocks import BLOCK, by_identity, refuse_shape
from vidface.scores.search.best import best_distractor
from vidface.scores.text import too_few

__all__ = ["SearchResult", "search_among_distractors"]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """TPR of identification at every target, and the counts it rests on.

    Attributes:
        targets: the T targets, as given.
        tpr: searches that succeed / searches with a mate; None where it can't be measured (see ``warnings``).
        threshold: the smallest float32 threshold with that FPR; None where ``tpr`` is, and for ``interpolated``.
        fpr: false positives / searches without a mate, where ``tpr`` is measured; for ``interpolated`` the target.
        rank1: searches whose mate is the best answer, whatever it scores / searches with a mate; None without any.
        mated: searches with a mate: ordered pairs of two images of one person.
        unmated: searches without one: images of known people.
        warnings: a sentence for everything that could not be measured.
        hits_by_identity: float64 [T, I], searches that succeed, identities ascending; zeros where ``tpr`` is None.
        first_by_identity: int64 [I], searches whose mate is the best answer.
        mated_by_identity: int64 [I], searches with a mate.
    """

    targets: list[str]
    tpr: list[float | None]
    threshold: list[float | None]
    fpr: list[float | None]
    rank1: float | None
    mated: int
    unmated: int
    warnings: list[str]
    hits_by_identity: NDArray[np.float64]
    first_by_identity: NDArray[np.int64]
    mated_by_identity: NDArray[np.int64]


def search_among_distractors(
    embeddings: ArrayLike,
    identities: ArrayLike,
    distractors: Any,
    targets: Sequence[str],
    *,
    rule: FprRule = DEFAULT_RULE,
    workers: int | None = None,
    device: str = "cpu",
    block: int = BLOCK,
) -> SearchResult:
    """Search for every image's mates among distractors.

    Args:
        embeddings: float32 [V, D], unit rows. Zero rows (failed images) score 0 with everybody and stay in.
        identities: int [V], any numbers from 0 up: everybody here is known.
        distractors: [M, D], float16 or float32, unit or zero rows; only sliced, a block at a time.
        targets: FPR targets as text, each above 0 and below 1.
        rule: which point of the curve a target means.
        workers, device, block: as for `best_distractor`.

    Raises:
        ValueError: shapes that don't fit, rows or distractors that are neither of unit length nor zero, an identity
            below 0, or a target outside (0, 1).
    """
    at_least_one(workers=workers, block=block)
    rows = unit_rows_of(embeddings)
    people = integers(identities, "identities", len(rows))
    refuse_shape(distractors, rows.shape[1])
    if (people < 0).any():
        raise ValueError("an identity below 0: images of nobody known are distractors")
    fractions = [fpr_fraction(target, rule) for target in targets]
    order, until, starts, sizes = by_identity(people)
    mated_by_identity = sizes.astype(np.int64) * (sizes - 1)
    mated = int(mated_by_identity.sum())
    rare = [target for target, share in zip(targets, fractions, strict=True) if share * len(order) < 1]
    warnings = too_few("identification TPR at FPR", rare, len(order), "searches without a mate")
    if not len(distractors):
        warnings = ["identification is not measured: there are no distractors to search among"]
    elif mated == 0:
        warnings = ["identification is not measured: no identity has two images, so no search has a mate"]
    nothing: list[float | None] = [None] * len(targets)
    if not len(distractors) or not mated:
        none = np.zeros(len(sizes), np.int64)
        zeros = np.zeros((len(targets), len(sizes)))
        return SearchResult(
            list(targets),
            nothing,
            nothing,
            nothing,
            None,
            mated,
            len(order),
            warnings,
            zeros,
            none,
            mated_by_identity,
        )
    workers = cpu_count() if workers is None else workers
    rows = rows[order]
    best = best_distractor(rows, distractors, workers=workers, device=device, block=block)
    ascending, between = np.sort(best), rule == "interpolated"
    cuts = [cut_at(ascending, fraction * len(order), rule) for fraction in fractions]
    # Of every target the lowest that is accepted; of ``interpolated`` also where the refused ones are accepted too.
    levels = [
        [] if cut is None else [np.nextafter(cut.refused, np.float32(np.inf)), cut.refused][: 1 + between]
        for cut in cuts
    ]
    thresholds = np.array([-np.inf, *chain.from_iterable(levels)], np.float32)
    by_row = _successes(rows, until, best, thresholds, workers)
    found = np.add.reduceat(by_row, starts, axis=0).T
    at = iter(found[1:])
    tpr, threshold, fpr = nothing.copy(), nothing.copy(), nothing.copy()
    hits = np.zeros((len(targets), len(sizes)))
    for t, (cut, own) in enumerate(zip(cuts, levels, strict=True)):
        if cut is None:
            continue
        shares = [next(at).astype(np.float64) for _ in own]
        hits[t] = shares[0] if len(shares) == 1 else shares[0] + cut.share * (shares[1] - shares[0])
        tpr[t] = float(hits[t].sum()) / mated
        if between:
            fpr[t] = float(fractions[t])
        else:
            threshold[t], fpr[t] = float(own[0]), cut.accepted / len(order)
    return SearchResult(
        list(targets),
        tpr,
        threshold,
        fpr,
        int(found[0].sum()) / mated,
        mated,
        len(order),
        warnings,
        hits,
        found[0],
        mated_by_identity,
    )


def _successes(
    rows: NDArray[np.float32],
    until: NDArray[np.int64],
    best: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    workers: int,
) -> NDArray[np.int64]:
    """int64 [V, T]: of the searches with one row and a mate after it, either way round, those that succeed."""
    hits = np.zeros((len(rows), len(thresholds)), np.int64)

    def work(jobs: Iterator[int]) -> None:
        for start in jobs:
            _count(rows, until, best, thresholds, start, min(start + 64, len(rows)), hits)

    in_threads(work, range(0, len(rows), 64), workers)
    return hits


@njit(cache=True, nogil=True)
def _count(rows: Any, until: Any, best: Any, thresholds: Any, start: int, stop: int, hits: Any) -> None:
    for row in range(start, stop):
        for other in range(row + 1, until[row]):
            score = dot32(rows[row], rows[other])
            first = np.int64(score > best[row]) + np.int64(score > best[other])
            if first:
                for t in range(thresholds.size):
                    hits[row, t] += first * np.int64(score >= thresholds[t])
