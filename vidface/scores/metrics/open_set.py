"""Open-set identification: FNIR at FPIR of searches against a gallery, most of whose probes may be of nobody in it.

A search is mated where its probe's identity is in the gallery, else non-mated. With a threshold t and lists of R
candidates:

- FPIR(t): non-mated searches whose best score is at least t / ALL non-mated searches;
- FNIR(t, R): mated searches whose mate scores below t or isn't among the first R / ALL mated searches; TPIR = 1 - FNIR.

These are the terms of ISO/IEC 19795-1 and of NIST's 1:N evaluations. Each search counts once, by its best score: a rate
over all pairs of a probe and an identity is something else, 1:1 verification, and far lower. Code in use divides false
positives by the mated or by all searches, or takes its threshold from wrong identities of mated searches; all of these
give other numbers. A mated search that returns somebody else above the threshold is a miss, never a false positive.
Tested in ``tests/scores/metrics/test_open_set.py`` against loops over the whole matrix and scikit-learn's det_curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import at_least_one, booleans, integers, numbers, two_sides, unit_rows_of
from vidface.scores.metrics.fpr_rules import DEFAULT_RULE, FprRule
from vidface.scores.metrics.listed_pairs import fpr_fraction, point_at
from vidface.scores.text import too_few

__all__ = [
    "Det",
    "Identification",
    "SearchOutcomes",
    "closed_set_rates",
    "det",
    "fnir_at_fpir",
    "returned",
    "search_outcomes",
]


class SearchOutcomes(NamedTuple):
    """What every search found.

    Attributes:
        best: float32 [P], the highest score in the gallery.
        best_row: int64 [P], the gallery row with it; of equal ones the first.
        mated: bool [P], whether the probe's identity is in the gallery.
        mate: float32 [P], the highest score of a row of the probe's own identity; NaN where not mated.
        rank: int64 [P], of that identity among all, by the best row of each: 1 + the OTHER identities that score at
            least as high. A tie goes against the mate, so embeddings that are all alike identify nobody, whatever the
            order of the gallery. 0 where not mated.
    """

    best: NDArray[np.float32]
    best_row: NDArray[np.int64]
    mated: NDArray[np.bool_]
    mate: NDArray[np.float32]
    rank: NDArray[np.int64]


def search_outcomes(
    probes: ArrayLike,
    gallery: ArrayLike,
    probe_codes: ArrayLike,
    gallery_codes: ArrayLike,
    *,
    workers: int | None = None,
) -> SearchOutcomes:
    """Search every probe in the gallery, exactly.

    A score is the exact cosine of two rows, rounded to float32: the same bits on every machine, for any number of
    threads and any order of rows. Memory beside the inputs: about 40 MB for each worker.

    Args:
        probes: float32 [P, D], L2-normalised or zero. A zero row (no usable frame) scores 0 with everybody: it is
            searched and counted as any other.
        gallery: float32 [G, D], likewise; a zero row is enrolled and scores 0 with everybody. An identity may have
            several rows: it scores by its best one.
        probe_codes: int [P], the identity of every probe; below 0: unknown, not mated.
        gallery_codes: int [G], that of every gallery row, 0 or more.
        workers: threads; None: one for every core this process may use. Sets speed, not the result.

    Raises:
        ValueError: shapes that don't fit, an empty gallery, a gallery row of nobody, or rows that are neither of unit
            length nor zero.
    """
    from vidface.scores.search.faiss_search import Array, look_up

    at_least_one(workers=workers)
    asked, stored = two_sides(unit_rows_of(probes, "probes"), unit_rows_of(gallery, "gallery"))
    people = integers(probe_codes, "probe_codes", len(asked)).astype(np.int64)
    enrolled = integers(gallery_codes, "gallery_codes", len(stored)).astype(np.int64)
    if len(stored) == 0 or (enrolled < 0).any():
        raise ValueError("the gallery is empty, or one of its rows has no identity")
    names, whose = np.unique(enrolled, return_inverse=True)
    order = np.argsort(whose, kind="stable")
    starts = np.searchsorted(whose[order], np.arange(len(names)))
    own = np.minimum(np.searchsorted(names, people), len(names) - 1)
    mated = names[own] == people
    best, mate = np.empty((2, len(asked)), np.float32)
    best_row, rank = np.empty((2, len(asked)), np.int64)

    def decide(some: Array, rows: Array, exact: Array, bound: Array) -> Array:
        scores = exact.astype(np.float32)
        best[some] = most = scores.max(axis=1)
        if np.isneginf(bound[0]):  # scores of the whole gallery
            best_row[some] = scores.argmax(axis=1)
            tops = scores[:, order]
            if len(names) < len(stored):  # an identity scores by its best row
                tops = np.maximum.reduceat(tops, starts, axis=1)
            mate[some] = mine = tops[np.arange(len(some)), own[some]]
            rank[some] = np.count_nonzero(tops >= mine[:, np.newaxis], axis=1)
        else:
            best_row[some] = np.where(scores == most[:, np.newaxis], rows, len(stored)).min(axis=1)
            people_of = whose[rows]
            mate[some] = mine = np.where(people_of == own[some, np.newaxis], scores, -np.inf).max(axis=1)
            ahead = np.sort(np.where(scores >= mine[:, np.newaxis], people_of, -1), axis=1)
            rank[some] = np.count_nonzero(np.diff(ahead, axis=1, prepend=-1), axis=1)  # each identity once
        return np.asarray(np.where(mated[some], mine, most) > bound.astype(np.float32))

    look_up(asked, stored, 1, decide, workers=workers)
    mate[~mated], rank[~mated] = np.nan, 0
    return SearchOutcomes(best, best_row, mated, mate, rank)


class Identification(NamedTuple):
    """One point of the curve.

    Attributes:
        target: the FPIR aimed at, as given.
        fnir: None where it can't be measured.
        tpir: 1 - FNIR.
        threshold: the lowest score that is accepted in any search there, accept where score >= threshold; None where
            ``fnir`` is, where nothing is accepted, and for ``interpolated``, which is between thresholds.
        fpir: the FPIR really reached there; the target itself for ``interpolated``.
    """

    target: str
    fnir: float | None
    tpir: float | None
    threshold: float | None
    fpir: float | None


def fnir_at_fpir(
    outcomes: SearchOutcomes, targets: Sequence[str], *, rank: int = 1, rule: FprRule = DEFAULT_RULE
) -> tuple[list[Identification], list[str]]:
    """FNIR and TPIR at every target FPIR.

    Args:
        outcomes: from `search_outcomes`.
        targets: FPIR targets as text ("1e-2"), so that target * searches is exact; each above 0 and below 1.
        rank: R, the length of the candidate lists.
        rule: which point of the curve a target means, see `vidface.scores.metrics.fpr_rules`.

    Returns:
        The points, and a sentence about what could not be measured: without mated searches, or for the targets
        below 1 / non-mated searches.

    Raises:
        ValueError: a target outside (0, 1), or a rank below 1.
    """
    mated, others = _sorted_scores(outcomes, rank)
    if len(mated) == 0:
        for target in targets:
            fpr_fraction(target, rule)  # one that is none is refused here as well
        warnings = [
            "FNIR is not measured: no probe's identity is in the gallery, so there are no mated searches"
        ]
        return [Identification(target, None, None, None, None) for target in targets], warnings
    points, rare = [], []
    for target in targets:
        point = point_at(mated, others, target, rule)
        if point is None:
            rare.append(target)
            points.append(Identification(target, None, None, None, None))
            continue
        found, threshold, fpir = point
        rates = (len(mated) - found) / len(mated), found / len(mated)
        points.append(Identification(target, *rates, threshold, fpir))
    return points, too_few("FNIR at FPIR", rare, len(others), "non-mated searches")


def returned(outcomes: SearchOutcomes, threshold: float | None, *, rank: int = 1) -> NDArray[np.bool_]:
    """Which mated searches return their mate: bool [P], among the first ``rank``, at ``threshold`` (None: never).

    Raises:
        ValueError: outcomes that contradict each other, or a threshold that is NaN.
    """
    outcomes = _checked(outcomes)
    if threshold is not None and np.isnan(threshold):
        raise ValueError("threshold is NaN")
    at_least = np.inf if threshold is None else threshold
    return outcomes.mated & (outcomes.rank <= rank) & (outcomes.mate >= at_least)


class Det(NamedTuple):
    """The whole curve: a point for nothing accepted, then one for every different score as the threshold.

    Attributes:
        threshold: float64 [N], descending; the first is infinite. Accept where score >= threshold.
        fpir: float64 [N], ascending from 0.
        fnir: float64 [N], descending from 1.
    """

    threshold: NDArray[np.float64]
    fpir: NDArray[np.float64]
    fnir: NDArray[np.float64]


def det(outcomes: SearchOutcomes, *, rank: int = 1) -> Det:
    """FPIR and FNIR at every threshold, exactly; between two of them both stay as at the upper one's.

    Args:
        outcomes: from `search_outcomes`.
        rank: R, the length of the candidate lists. Mates beyond it stay missed at every threshold.

    Raises:
        ValueError: no mated or no non-mated searches, or a rank below 1.
    """
    mated, others = _sorted_scores(outcomes, rank)
    if len(mated) == 0 or len(others) == 0:
        raise ValueError("mated and non-mated searches are needed, both")
    levels = np.unique(np.concatenate([mated[np.isfinite(mated)], others]))[::-1]
    fpir = (len(others) - np.searchsorted(others, levels)) / len(others)
    fnir = np.searchsorted(mated, levels) / len(mated)
    return Det(
        np.concatenate([[np.inf], levels.astype(np.float64)]),
        np.concatenate([[0.0], fpir]),
        np.concatenate([[1.0], fnir]),
    )


def closed_set_rates(outcomes: SearchOutcomes, ranks: Sequence[int] = (1, 5, 10)) -> dict[int, float | None]:
    """The share of mated searches whose mate is among the first k, for every k; None without mated searches.

    Non-mated searches play no part, and there is no threshold.
    """
    outcomes = _checked(outcomes)
    places = outcomes.rank[outcomes.mated]
    return {k: float(np.mean(places <= k)) if len(places) else None for k in ranks}


def _checked(outcomes: SearchOutcomes) -> SearchOutcomes:
    """The same, or ValueError: lengths that differ, scores that are not finite, or a mate without a rank."""
    mated = booleans(outcomes.mated, "mated")
    rank = integers(outcomes.rank, "rank", len(mated), at_least=0)
    numbers(outcomes.best, "best", len(mated))
    if np.shape(outcomes.mate) != mated.shape or ((rank > 0) != mated).any():
        raise ValueError("mated, mate and rank of search outcomes do not fit")
    numbers(outcomes.mate[mated], "mate")
    return outcomes


def _sorted_scores(outcomes: SearchOutcomes, rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Ascending: the mate's score in every mated search, -inf beyond ``rank``; the best one in every other search."""
    if not rank >= 1:
        raise ValueError(f"rank {rank}: candidate lists hold at least 1")
    outcomes = _checked(outcomes)
    mated = np.where(outcomes.rank <= rank, outcomes.mate, np.float32(-np.inf))[outcomes.mated]
    return np.sort(mated), np.sort(outcomes.best[~outcomes.mated])
