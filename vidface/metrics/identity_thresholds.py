"""A threshold for every enrolled identity, beside one threshold for all.

One threshold treats identities unequally: some faces resemble many (the lambs of Doddington et al., Sheep, goats, lambs
and wolves, ICSLP 1998), and most false acceptances are theirs. A threshold of its own gives each the same share. It is
chosen from the scores of all searches of other people against that identity, enrolled or not: whoever isn't this person
must not be taken for them. The identity's own searches play no part in that, so its threshold can be had before anybody
ever searched for it.

What a threshold was chosen on flatters it. So other people's searches are in two halves: thresholds are chosen on one
and false acceptances counted on the other. Each identity is looked at by itself, as in 1:1 verification; so the rates
aren't those of `vidface.metrics.open_set`, where all identities of the gallery compete. Tested in
``tests/metrics/test_identity_thresholds.py`` against loops over the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.fixed_dot import dot32
from vidface.machine import cpu_count
from vidface.metrics.pair_scan import in_threads
from vidface.metrics.pairs import fpr_fraction

__all__ = ["IdentityThresholds", "Judged", "identity_thresholds"]

ROWS = 16  # identities a job


class IdentityThresholds(NamedTuple):
    """Thresholds of I identities at one target, and one threshold for all at the same target.

    Attributes:
        target: the share of other people's searches that may be accepted, as given.
        threshold: float32 [I], the lowest that accepts at most this share of the half it is chosen on; accept where
            score >= threshold.
        missed: int64 [I], the identity's own searches below it.
        accepted: int64 [I], other people's searches of the other half at or above it.
        one_threshold: the lowest that accepts at most this share of all pairs of an identity and a search of somebody
            else, of the same half.
        one_missed: int64 [I], as ``missed``, by that one.
        one_accepted: int64 [I], as ``accepted``, by that one.
    """

    target: str
    threshold: NDArray[np.float32]
    missed: NDArray[np.int64]
    accepted: NDArray[np.int64]
    one_threshold: float
    one_missed: NDArray[np.int64]
    one_accepted: NDArray[np.int64]


class Judged(NamedTuple):
    """Thresholds at every target, and what they were judged on.

    Attributes:
        identities: int64 [I], the codes of the gallery, ascending.
        searches: int64 [I], the identity's own searches.
        others: int64 [I], searches of others in the half that false acceptances are counted on.
        at: for every target, or None where an identity has fewer than 1 / target searches of others to choose on.
    """

    identities: NDArray[np.int64]
    searches: NDArray[np.int64]
    others: NDArray[np.int64]
    at: list[IdentityThresholds | None]


def identity_thresholds(
    probes: ArrayLike,
    gallery: ArrayLike,
    probe_codes: ArrayLike,
    gallery_codes: ArrayLike,
    choose: ArrayLike,
    targets: Sequence[str],
    *,
    workers: int | None = None,
) -> Judged:
    """Choose and judge the thresholds of all identities.

    Scores are `vidface.fixed_dot.dot32`, an identity's the best of its rows; they are computed twice and never held
    all at once. Memory: 16 scores a probe and worker, and for the one threshold 8 bytes for each of the pairs that the
    largest target accepts, a worker.

    Args:
        probes: float32 [P, D], L2-normalised or zero.
        gallery: float32 [G, D], likewise.
        probe_codes: int [P]; below 0: unknown, somebody else to everyone.
        gallery_codes: int [G], 0 or more.
        choose: bool [P], the half that thresholds are chosen on. Keep all searches of a person in one half.
        targets: shares as text ("1e-2"), each above 0 and below 1.
        workers: threads; None: one a core. Sets speed, not the result.

    Raises:
        ValueError: a target outside (0, 1).
    """
    asked, stored = np.ascontiguousarray(probes, np.float32), np.ascontiguousarray(gallery, np.float32)
    people, half = np.asarray(probe_codes, np.int64), np.asarray(choose, np.bool_)
    fractions = [fpr_fraction(target) for target in targets]
    enrolled = np.asarray(gallery_codes, np.int64)
    order = np.argsort(enrolled, kind="stable")
    stored, names = stored[order], np.unique(enrolled)
    bounds = np.searchsorted(enrolled[order], np.append(names, names[-1] + 1))
    own, own_chosen = (
        np.array([counts.get(name, 0) for name in names.tolist()], np.int64)
        for counts in (_tally(people), _tally(people[half]))
    )
    chosen = int(half.sum()) - own_chosen  # searches of others to choose on
    others = len(people) - int(half.sum()) - (own - own_chosen)
    measured = [t for t, fraction in enumerate(fractions) if (fraction * int(chosen.min())) >= 1]
    found: list[IdentityThresholds | None] = [None] * len(targets)
    if not measured:
        return Judged(names, own, others, found)
    workers = cpu_count() if workers is None else workers
    aims = [fractions[t] for t in measured]
    allowed = [int(aim * int(chosen.sum())) for aim in aims]
    own_levels = np.empty((len(aims), len(names)), np.float32)
    missed, accepted, one_missed, one_accepted = np.zeros((4, len(aims), len(names)), np.int64)

    def scored(jobs: Iterator[int]) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
        """Every identity's scores with all probes, and which of those are its own."""
        scores = np.empty((ROWS, len(asked)), np.float32)
        for first in jobs:
            count = min(ROWS, len(names) - first)
            _score(asked, stored, bounds[first : first + count + 1], scores)
            for i in range(count):
                yield first + i, scores[i], people == names[first + i]

    def choose_own(jobs: Iterator[int]) -> NDArray[np.float32]:
        top: list[NDArray[np.float32]] = []
        held, floor = 0, np.float32(-np.inf)
        for i, scores, mine in scored(jobs):
            pool = np.sort(scores[half & ~mine])
            for a, aim in enumerate(aims):
                own_levels[a, i] = _just_above(pool, aim)
            missed[:, i] = _below(scores[mine], own_levels[:, i])
            accepted[:, i] = _from(scores[~half & ~mine], own_levels[:, i])
            top.append(pool[np.searchsorted(pool, floor) :])
            held += len(top[-1])
            if held > 2 * (max(allowed) + 1):
                kept = _largest(top, max(allowed) + 1)
                top, held, floor = [kept], len(kept), kept[0]
        return _largest(top, max(allowed) + 1)

    jobs = range(0, len(names), ROWS)
    pool = _largest(in_threads(choose_own, jobs, workers), max(allowed) + 1)
    levels = np.array([_above_place(pool, count) for count in allowed], np.float32)

    def judge_one(jobs: Iterator[int]) -> None:
        for i, scores, mine in scored(jobs):
            one_missed[:, i] = _below(scores[mine], levels)
            one_accepted[:, i] = _from(scores[~half & ~mine], levels)

    in_threads(judge_one, jobs, workers)
    for a, t in enumerate(measured):
        found[t] = IdentityThresholds(
            *(targets[t], own_levels[a], missed[a], accepted[a]),
            *(float(levels[a]), one_missed[a], one_accepted[a]),
        )
    return Judged(names, own, others, found)


def _tally(people: NDArray[np.int64]) -> dict[int, int]:
    names, counts = np.unique(people, return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _just_above(ascending: NDArray[np.float32], share: Fraction) -> np.float32:
    """The lowest threshold that accepts at most this share."""
    return _above_place(ascending, int(share * len(ascending)))


def _above_place(ascending: NDArray[np.float32], allowed: int) -> np.float32:
    """The next float32 above the highest score that is one too many."""
    return np.float32(np.nextafter(ascending[len(ascending) - 1 - allowed], np.float32(np.inf)))


def _largest(parts: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """The largest of all parts, ascending."""
    return np.sort(np.concatenate([np.empty(0, np.float32), *parts]))[-count:]


def _below(scores: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(np.count_nonzero(scores[:, None] < levels, axis=0), np.int64)


def _from(scores: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(np.count_nonzero(scores[:, None] >= levels, axis=0), np.int64)


@njit(cache=True, nogil=True)
def _score(probes: Any, gallery: Any, bounds: Any, scores: Any) -> None:
    """Fill ``scores`` [identities, P] with the best of the rows ``bounds[i]`` to ``bounds[i + 1]`` - 1."""
    for p in range(len(probes)):
        for i in range(len(bounds) - 1):
            most = np.float32(-np.inf)
            for row in range(bounds[i], bounds[i + 1]):
                most = max(most, dot32(probes[p], gallery[row]))
            scores[i, p] = most
