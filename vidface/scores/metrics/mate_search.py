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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import LONGEST, at_least_one, integers, unit_rows_of
from vidface.embeddings.exact import product_error
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import cut_at, fpr_fraction
from vidface.scores.pairs.blocks import by_identity, checked_float32, refuse_shape
from vidface.scores.search.faiss_search import Array, look_up
from vidface.scores.text import too_few

__all__ = ["SearchResult", "search_among_distractors"]

DISTRACTORS = 16_384  # read at a time
MATES = 256  # searches with mates looked at at a time


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
) -> SearchResult:
    """Search for every image's mates among distractors.

    Args:
        embeddings: float32 [V, D], unit rows. Zero rows (failed images) score 0 with everybody and stay in.
        identities: int [V], any numbers from 0 up: everybody here is known.
        distractors: [M, D], float16 or float32, unit or zero rows; only sliced, a block at a time.
        targets: FPR targets as text, each above 0 and below 1.
        rule: which point of the curve a target means.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.
        device: where products are computed: ``cpu``, or a device as torch names it. Sets speed, not the result.

    Raises:
        ValueError: shapes that don't fit, rows or distractors that are neither of unit length nor zero, an identity
            below 0, or a target outside (0, 1).
    """
    at_least_one(workers=workers)
    rows = unit_rows_of(embeddings)
    people = integers(identities, "identities", len(rows))
    refuse_shape(distractors, rows.shape[1])
    if (people < 0).any():
        raise ValueError("an identity below 0: images of nobody known are distractors")
    fractions = [fpr_fraction(target, rule) for target in targets]
    order, _, starts, sizes = by_identity(people)
    mated_by_identity = sizes.astype(np.int64) * (sizes - 1)
    mated = int(mated_by_identity.sum())
    rare = [target for target, share in zip(targets, fractions, strict=True) if share * len(order) < 1]
    warnings = too_few("identification TPR at FPR", rare, len(order), "searches without a mate")
    if not len(distractors):
        warnings = ["identification is not measured: there are no distractors to search among"]
    elif mated == 0:
        warnings = ["identification is not measured: no identity has two images, so no search has a mate"]
    result = SearchResult(
        targets=list(targets),
        tpr=[None] * len(targets),
        threshold=[None] * len(targets),
        fpr=[None] * len(targets),
        rank1=None,
        mated=mated,
        unmated=len(order),
        warnings=warnings,
        hits_by_identity=np.zeros((len(targets), len(sizes))),
        first_by_identity=np.zeros(len(sizes), np.int64),
        mated_by_identity=mated_by_identity,
    )
    if not len(distractors) or not mated:
        return result
    rows = rows[order]
    best = best_distractor(rows, distractors, workers=workers, device=device)
    ascending = np.sort(best)
    cuts = [cut_at(ascending, fraction * len(order), rule) for fraction in fractions]
    # Of every target the lowest score that is accepted, and the one that is refused: ``interpolated`` accepts a part.
    refused = np.array([np.inf if cut is None else cut.refused for cut in cuts], np.float32)
    levels = np.concatenate([[-np.inf], np.nextafter(refused, np.float32(np.inf)), refused])
    first, *found = _successes(rows, starts, sizes, best, levels)
    result.first_by_identity[:] = first
    for t, cut in enumerate(cuts):
        if cut is None:
            continue
        above, through = found[t], found[len(cuts) + t]
        hits = result.hits_by_identity[t] = above + cut.share * (through - above)
        result.tpr[t] = float(hits.sum()) / mated
        if rule == "interpolated":
            result.fpr[t] = float(fractions[t])
        else:
            result.threshold[t], result.fpr[t] = float(levels[1 + t]), cut.accepted / len(order)
    return replace(result, rank1=int(first.sum()) / mated)


def best_distractor(
    rows: NDArray[np.float32], distractors: Any, *, workers: int | None = None, device: str = "cpu"
) -> NDArray[np.float32]:
    """The highest score that each row has with any distractor; they are read a block at a time.

    Args:
        rows: float32 [V, D], on the grid.
        distractors: [M, D], float16 or float32, M > 0; only sliced.
        workers, device: as for `search_among_distractors`.

    Raises:
        ValueError: a row of the distractors is neither zero nor of unit length.
    """
    if device != "cpu":
        from vidface.scores.pairs.blocks_torch import best_on_device

        return best_on_device(rows, distractors, product_error(rows.shape[1], LONGEST), device=device)

    best = np.full(len(rows), -np.inf)

    def decide(mine: Array, _: Array, scores: Array, bound: Array) -> Array:
        best[mine] = np.maximum(best[mine], scores.max(axis=1))
        return np.asarray(best[mine] >= bound)

    for start in range(0, len(distractors), DISTRACTORS):
        block = checked_float32(distractors, start, start + DISTRACTORS)
        look_up(rows, block, 1, decide, workers=workers)
    return best.astype(np.float32)


def _successes(
    rows: NDArray[np.float32],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
    best: NDArray[np.float32],
    levels: NDArray[np.float32],
) -> NDArray[np.int64]:
    """int64 [T, I]: how many searches of an identity's rows for another of its rows succeed at every level."""
    found = np.zeros((len(levels), len(starts)), np.int64)
    for i, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        own = rows[start : start + size].astype(np.float64)
        for top in range(0, size, MATES):
            scores = (own[top : top + MATES] @ own.T).astype(np.float32)
            first = scores > best[start + top : start + top + len(scores), np.newaxis]
            first[np.arange(len(scores)), np.arange(top, top + len(scores))] = False  # nobody is its own mate
            found[:, i] += [np.count_nonzero(scores[first] >= level) for level in levels]
    return found
