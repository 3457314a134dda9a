"""A threshold for every enrolled identity, beside one threshold for all.

One threshold treats identities unequally: some faces resemble many (the lambs of Doddington et al., Sheep, goats, lambs
and wolves, ICSLP 1998), and most false acceptances are theirs. A threshold of its own gives each the same share. It is
chosen from the scores of all searches of other people against that identity, enrolled or not: whoever isn't this person
must not be taken for them. The identity's own searches play no part in that, so its threshold can be had before anybody
ever searched for it.

What a threshold was chosen on flatters it. So other people's searches are in two halves: thresholds are chosen on one
and false acceptances counted on the other. Each identity is looked at by itself, as in 1:1 verification; so the rates
aren't those of `vidface.scores.metrics.open_set`, where all identities of the gallery compete. Tested in
``tests/scores/metrics/test_identity_thresholds.py`` against loops over the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import at_least_one, booleans, integers, two_sides, unit_rows_of
from vidface.runtime import cpu_count, in_threads
from vidface.scores.metrics.listed_pairs import fpr_fraction
from vidface.scores.search.identities import BINS, Scores, count_lower, count_upper, lower_place, upper_place

__all__ = ["IdentityThresholds", "Judged", "identity_thresholds"]

SIDES: tuple[Literal["left"], Literal["right"]] = ("left", "right")


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

    Scores are `vidface.embeddings.exact.dot32`, an identity's the best of its rows; they are computed three times and
    never held all at once. Memory beside the inputs: two copies of them, and 64 scores a probe and worker.

    Args:
        probes: float32 [P, D], L2-normalised or zero.
        gallery: float32 [G, D], likewise.
        probe_codes: int [P]; below 0: unknown, somebody else to everyone.
        gallery_codes: int [G], 0 or more.
        choose: bool [P], the half that thresholds are chosen on. Keep all searches of a person in one half.
        targets: shares as text ("1e-2"), each above 0 and below 1.
        workers: threads; None: one a core. Sets speed, not the result.

    Raises:
        ValueError: shapes that don't fit, no probe or an empty gallery, a gallery row of nobody, rows that are neither
            of unit length nor zero, or a target outside (0, 1).
    """
    at_least_one(workers=workers)
    asked, enrolled_rows = two_sides(unit_rows_of(probes, "probes"), unit_rows_of(gallery, "gallery"))
    people = integers(probe_codes, "probe_codes", len(asked))
    enrolled = integers(gallery_codes, "gallery_codes", len(enrolled_rows), at_least=0)
    half = booleans(choose, "choose", len(asked))
    if not len(asked) or not len(enrolled):
        raise ValueError("there is no probe, or the gallery is empty")
    fractions = [fpr_fraction(target) for target in targets]
    first = np.argsort(~half, kind="stable")  # those to choose on come first
    asked, people, size = asked[first], people[first], int(half.sum())
    order = np.argsort(enrolled, kind="stable")
    stored, names = enrolled_rows[order], np.unique(enrolled)
    bounds = np.append(np.searchsorted(enrolled[order], names), len(enrolled))
    by_person = np.argsort(people, kind="stable")
    mine = [
        by_person[start:stop]
        for start, stop in zip(
            *(np.searchsorted(people[by_person], names, side) for side in SIDES), strict=True
        )
    ]
    searches = np.array([len(rows) for rows in mine], np.int64)
    chosen = size - np.array([np.count_nonzero(rows < size) for rows in mine], np.int64)
    others = len(people) - searches - chosen
    measured = [t for t, fraction in enumerate(fractions) if fraction * int(chosen.min()) >= 1]
    found: list[IdentityThresholds | None] = [None] * len(targets)
    if not measured:
        return Judged(names, searches, others, found)
    workers = cpu_count() if workers is None else workers
    aims = [fractions[t] for t in measured]
    allowed = [int(aim * int(chosen.sum())) for aim in aims]
    own_levels = np.empty((len(aims), len(names)), np.float32)
    missed, accepted, one_missed, one_accepted = np.zeros((4, len(aims), len(names)), np.int64)
    scores = Scores(asked, stored, bounds, mine)

    def choose_own(jobs: Iterator[int]) -> NDArray[np.int64]:
        counts = np.zeros(BINS, np.int64)
        for i, own, line in scores.lines(jobs):
            places = [size - 1 - int(aim * int(chosen[i])) for aim in aims]
            own_levels[:, i] = _just_above(np.partition(line[:size], places)[places])
            missed[:, i], accepted[:, i] = _judge(own, line[size:], own_levels[:, i])
            count_upper(line[:size], counts)
        return counts

    def look_closer(jobs: Iterator[int]) -> NDArray[np.int64]:
        counts = np.zeros((len(aims), BINS), np.int64)
        for _, _, line in scores.lines(jobs):
            count_lower(line[:size], uppers, counts)
        return counts

    def judge_one(jobs: Iterator[int]) -> None:
        for i, own, line in scores.lines(jobs):
            one_missed[:, i], one_accepted[:, i] = _judge(own, line[size:], levels)

    counts = np.sum(in_threads(choose_own, scores.jobs, workers), axis=0)
    near = [upper_place(counts, place) for place in allowed]
    uppers = np.array([upper for upper, _ in near], np.int64)
    lower = np.sum(in_threads(look_closer, scores.jobs, workers), axis=0)
    refused = [lower_place(lower[a], upper, place) for a, (upper, place) in enumerate(near)]
    levels = _just_above(np.array(refused, np.float32))
    in_threads(judge_one, scores.jobs, workers)
    for a, t in enumerate(measured):
        found[t] = IdentityThresholds(
            *(targets[t], own_levels[a], missed[a], accepted[a]),
            *(float(levels[a]), one_missed[a], one_accepted[a]),
        )
    return Judged(names, searches, others, found)


def _just_above(refused: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lowest thresholds that do not accept these scores."""
    return np.nextafter(refused, np.float32(np.inf))


def _judge(
    own: NDArray[np.float32], others: NDArray[np.float32], levels: NDArray[np.float32]
) -> tuple[list[int], list[int]]:
    """At every threshold, how many of its own an identity misses and how many others it accepts."""
    missed = [int(np.count_nonzero(own < level)) for level in levels]
    return missed, [int(np.count_nonzero(others >= level)) for level in levels]
