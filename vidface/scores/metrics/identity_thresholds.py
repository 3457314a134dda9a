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
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from vidface.arrays import at_least_one, booleans, integers, two_sides, unit_rows_of
from vidface.runtime import cpu_count, in_threads
from vidface.scores.metrics.listed_pairs import fpr_fraction

__all__ = ["IdentityThresholds", "Judged", "identity_thresholds"]

ROWS = 64  # identities at a time
BINS = 2**16


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

    Scores are exact cosines rounded to float32, an identity's the best of its rows; they are computed three times and
    never held all at once. Memory beside the inputs: two copies of them, and about 1 kB for each probe and worker.

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
    starts, stops = (np.searchsorted(people[by_person], names, side) for side in ("left", "right"))
    mine = [by_person[start:stop] for start, stop in zip(starts, stops, strict=True)]
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
    wide = np.ascontiguousarray(asked.T, np.float64)  # float64 cosines are exact: `vidface.embeddings.exact`

    def scored(jobs: Iterator[int]) -> Iterator[tuple[int, list[NDArray[np.float32]], NDArray[np.float32]]]:
        """Of some identities: the first, the scores of each with its own probes, and float32 [n, P] with all others.

        -inf stands in the place of its own.
        """
        for job in jobs:
            stop = min(job + ROWS, len(names))
            lines = np.full((stop - job, len(asked)), -np.inf, np.float32)
            for row in range(bounds[job], bounds[stop], ROWS):
                rows = stored[row : min(row + ROWS, bounds[stop])].astype(np.float64)
                whose = np.searchsorted(bounds, np.arange(row, row + len(rows)), side="right") - 1 - job
                for i, line in zip(whose, (rows @ wide).astype(np.float32), strict=True):
                    np.maximum(lines[i], line, out=lines[i])
            own = [line[mine[i]] for i, line in enumerate(lines, job)]
            for i, line in enumerate(lines, job):
                line[mine[i]] = -np.inf
            yield job, own, lines

    def choose_own(jobs: Iterator[int]) -> NDArray[np.int64]:
        counts = np.zeros(BINS, np.int64)
        for job, owns, lines in scored(jobs):
            for i, (own, line) in enumerate(zip(owns, lines, strict=True), job):
                places = [size - 1 - int(aim * int(chosen[i])) for aim in aims]
                own_levels[:, i] = _just_above(np.partition(line[:size], places)[places])
                missed[:, i], accepted[:, i] = _judge(own, line[size:], own_levels[:, i])
            counts += np.bincount(_keys(lines[:, :size]) // BINS, minlength=BINS)
        return counts

    def look_closer(jobs: Iterator[int]) -> NDArray[np.int64]:
        counts = np.zeros((len(aims), BINS), np.int64)
        for _, _, lines in scored(jobs):
            keys = _keys(lines[:, :size])
            for upper, count in zip(uppers, counts, strict=True):
                count += np.bincount(keys[keys // BINS == upper] % BINS, minlength=BINS)
        return counts

    def judge_one(jobs: Iterator[int]) -> None:
        for job, owns, lines in scored(jobs):
            for i, (own, line) in enumerate(zip(owns, lines, strict=True), job):
                one_missed[:, i], one_accepted[:, i] = _judge(own, line[size:], levels)

    jobs = range(0, len(names), ROWS)
    with threadpool_limits(1, user_api="blas"):
        counts = np.sum(in_threads(choose_own, jobs, workers), axis=0)
        uppers, places = zip(*(_bin_at(counts, place) for place in allowed), strict=True)
        lower = np.sum(in_threads(look_closer, jobs, workers), axis=0)
        keys = [upper * BINS + _bin_at(*at)[0] for upper, *at in zip(uppers, lower, places, strict=True)]
        levels = _just_above(_score_of(np.array(keys, np.uint32)))
        in_threads(judge_one, jobs, workers)
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


def _keys(scores: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers in the order of the scores, in one line."""
    bits = scores.ravel().view(np.uint32)
    return bits ^ np.where(bits >> 31, np.uint32(2**32 - 1), np.uint32(2**31))


def _score_of(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    return (keys ^ np.where(keys >> 31, np.uint32(2**31), np.uint32(2**32 - 1))).view(np.float32)


def _bin_at(counts: NDArray[np.int64], place: int) -> tuple[int, int]:
    """The bin of the score at a place, 0 for the highest of all; and its place among those of the bin."""
    down = np.cumsum(counts[::-1])
    at = int(np.searchsorted(down, place, side="right"))
    return len(counts) - 1 - at, place - (int(down[at - 1]) if at else 0)
