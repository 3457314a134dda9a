"""Intervals by the percentile bootstrap over people: of one system, of differences between several, of listed pairs.

Identities are drawn with replacement, all videos of one together, as videos of one person are not independent. Every
interval of the program is made of the same draws, `REPLICATES` of them by one seed, so that commands that measure the
same say the same. Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13. Tested in
``tests/scores/metrics/test_bootstrap.py``.

Is one of several systems better? All are measured on the same set, so every replicate draws one set of identities for
all of them: what makes an identity hard or easy for everybody cancels, and the interval of a difference is much
narrower than two intervals side by side would let one think. Where several systems are compared with one, each interval
is widened to the level 1 - 0.05 / (number of comparisons), so that all of them hold together in 95 of 100 sets
(Bonferroni; Dunn, Multiple comparisons among means, 1961). Tested in ``tests/scores/metrics/test_paired.py`` against
scipy.stats.bootstrap.

Over listed pairs person i is drawn m_i times in a replicate: a pair of two videos of one person counts m_i times, one
of two people m_i * m_j times, as in `vidface.scores.pairs.replicates` (sources there). Tested against scikit-learn's
weighted curve in ``tests/scores/metrics/test_listed_intervals.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import at_least_one, booleans, integers, numbers
from vidface.scores.metrics.listed_pairs import equal_error_rate_of_curve

__all__ = [
    "REPLICATES",
    "Difference",
    "auc_eer_intervals",
    "bootstrap_mean",
    "bootstrap_ratio",
    "difference",
    "draw",
    "interval",
    "mean_replicates",
]

REPLICATES = 2000
LEVEL = 0.95
TOGETHER = 2**16  # identities drawn at a time, which a cache holds
ROUNDING = 1e-12  # of sums of values an identity: less is no difference

Interval = tuple[float, float]
Array = NDArray[np.float64]


def bootstrap_mean(values: ArrayLike, *, seed: int = 0, replicates: int = REPLICATES) -> Interval:
    """The `interval` of the mean of one value an identity, such as mAP or a rank-k rate; see `mean_replicates`."""
    return interval(mean_replicates(values, seed=seed, replicates=replicates))


def bootstrap_ratio(
    hits: ArrayLike, totals: ArrayLike, *, seed: int = 0, replicates: int = REPLICATES
) -> Interval:
    """The `interval` of sum(hits) / sum(totals), such as TPR with its genuine pairs counted by identity.

    Thresholds are held fixed: only the genuine pairs are drawn again, not the impostors that set the
    threshold, so the interval is a little too narrow where impostors are few.

    Args:
        hits: [I], accepted pairs of every identity.
        totals: [I], all pairs of every identity. Identities without pairs are left out.
        seed: of the random draws.
        replicates: how many times the identities are drawn.

    Raises:
        ValueError: no identity has a pair, the shapes differ, or hits are not between 0 and their total.
    """
    at_least_one(replicates=replicates)
    found = numbers(hits, "hits")
    pairs = numbers(totals, "totals", len(found))
    if ((found < 0) | (found > pairs * (1 + ROUNDING))).any():
        raise ValueError("hits must lie between 0 and the total of their identity")
    found, pairs = found[pairs > 0], pairs[pairs > 0]
    if len(pairs) == 0:
        raise ValueError("an interval needs at least one identity with pairs")
    drawn = _drawn(len(pairs), seed, replicates)
    return interval(np.concatenate([found[who].sum(axis=1) / pairs[who].sum(axis=1) for who in drawn]))


def mean_replicates(values: ArrayLike, *, seed: int = 0, replicates: int = REPLICATES) -> Array:
    """The mean of one value an identity, such as AP, in every replicate.

    Args:
        values: [I], one value an identity.
        seed: of the random draws: the identities of replicate r are those of `draw`.
        replicates: R.

    Returns:
        float64 [R].

    Raises:
        ValueError: no values, or values that are not finite.
    """
    at_least_one(replicates=replicates)
    each = numbers(values, "values")
    if len(each) == 0:
        raise ValueError("an interval needs at least one identity")
    return np.concatenate([each[who].mean(axis=1) for who in _drawn(len(each), seed, replicates)])


def _drawn(count: int, seed: int, replicates: int) -> Iterator[NDArray[np.int64]]:
    """Who was drawn, int64 [r, I], some replicates at a time."""
    random = np.random.default_rng(seed)
    together = max(1, TOGETHER // count)
    for at in range(0, replicates, together):
        yield random.integers(0, count, (min(together, replicates - at), count))


class Difference(NamedTuple):
    """How much better the second of two systems is.

    Attributes:
        value: of the second less of the first, on the set as it is.
        low: lower end of its interval; None where none was drawn.
        high: upper end.
        verdict: 1 where the whole interval lies above 0, -1 where it lies below, else 0: no difference can be told.
    """

    value: float
    low: float | None
    high: float | None
    verdict: int


def draw(
    identities: int, others: int = 0, *, replicates: int = REPLICATES, seed: int = 0
) -> NDArray[np.uint8]:
    """How often every unit is drawn in every replicate.

    Identities and other units (videos of nobody known, each by itself) are drawn apart, with replacement, as many as
    there are: how many distractors a set has was decided by who made it, and is no matter of chance.

    Args:
        identities: how many identities there are.
        others: how many other units.
        replicates: R.
        seed: of the random draws; the same seed draws the same units.

    Returns:
        uint8 [identities + others, R].

    Raises:
        ValueError: a number below 0.
    """
    if min(identities, others, replicates) < 0:
        raise ValueError(
            f"{identities} identities, {others} others, {replicates} replicates: none can be below 0"
        )
    random = np.random.default_rng(seed)
    drawn = np.zeros((replicates, identities + others), np.uint8)
    for row in drawn:
        for begin, count in ((0, identities), (identities, others)):
            if count:
                # One unit 256 times in one replicate: of n draws, a chance below 1 / 256!, which is 0.
                row[begin : begin + count] = np.bincount(random.integers(0, count, count), minlength=count)
    return np.ascontiguousarray(drawn.T)


def interval(replicates: ArrayLike, *, comparisons: int = 1) -> Interval:
    """(low, high) of the percentile interval of replicates, 95 % for all comparisons together.

    Args:
        replicates: [R], without NaN.
        comparisons: how many intervals are to hold together.

    Raises:
        ValueError: no replicates, NaN among them, or fewer comparisons than 1.
    """
    at_least_one(comparisons=comparisons)
    each = numbers(replicates, "replicates")
    if not len(each):
        raise ValueError("an interval needs at least one replicate")
    tail = (1 - LEVEL) / (2 * comparisons)
    low, high = np.quantile(each, [tail, 1 - tail])
    return float(low), float(high)


def difference(
    first: float,
    second: float,
    first_replicates: Array,
    second_replicates: Array,
    *,
    comparisons: int = 1,
) -> Difference:
    """Compare two systems by replicates that were drawn together.

    Args:
        first: what the baseline measures on the set.
        second: what the other one does.
        first_replicates: [R], of the baseline.
        second_replicates: [R], replicate r from the same draw of identities.
        comparisons: how many systems are compared with this baseline.

    Raises:
        ValueError: replicates of another number, or not finite.
    """
    base = numbers(first_replicates, "first_replicates")
    gained = numbers(second_replicates, "second_replicates", len(base)) - base
    gained[np.abs(gained) < ROUNDING] = (
        0  # changes that make up for each other leave only the rounding of sums
    )
    low, high = interval(gained, comparisons=comparisons)
    return Difference(second - first, low, high, int(low > 0) - int(high < 0))


def auc_eer_intervals(
    scores: ArrayLike,
    same: ArrayLike,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> tuple[Interval, Interval] | None:
    """The intervals of the area under the curve, and of the equal error rate.

    Args:
        scores: [P], higher for more alike.
        same: bool [P], True for genuine pairs.
        first: int64 [P], who is in the first video of a pair: any numbers from 0 up; a video of nobody known has one
            that no other has.
        second: int64 [P], who is in the second.
        seed: of the random draws.
        replicates: how many times people are drawn.

    Returns:
        ((low, high) of the AUC, (low, high) of the EER); None where more than 1 in 40 replicates lack pairs of a kind,
        so that there are no percentiles to speak of.

    Raises:
        ValueError: no pairs, shapes that do not fit, scores that are not finite, or people below 0.
    """
    at_least_one(replicates=replicates)
    values = numbers(scores, "scores")
    if not len(values):
        raise ValueError("an interval needs pairs")
    labels = booleans(same, "same", len(values))
    first, second = (
        integers(side, name, len(values), at_least=0) for side, name in ((first, "first"), (second, "second"))
    )
    order = np.argsort(-values, kind="stable")  # the highest score first
    _, people = np.unique([first[order], second[order]], return_inverse=True)
    one, other = people.reshape(2, -1)
    last_of_ties = np.append(np.diff(values[order]) != 0, True)
    kinds = labels[order], ~labels[order]
    found = []
    for times in draw(int(people.max()) + 1, replicates=replicates, seed=seed).T:
        left, right = times[one].astype(np.int64), times[other]
        weights = np.where(one == other, left, left * right)
        genuine, impostor = (  # pairs accepted at every point of the curve, as often as they count
            np.append(0, np.cumsum(weights * kind)[last_of_ties]) for kind in kinds
        )
        if genuine[-1] and impostor[-1]:
            area = np.sum(np.diff(impostor) * (genuine[1:] + genuine[:-1])) / (
                2.0 * genuine[-1] * impostor[-1]
            )
            fpr, fnr = impostor / impostor[-1], 1 - genuine / genuine[-1]
            found.append((area, equal_error_rate_of_curve(fpr, fnr)))
    if len(found) < replicates * 39 / 40:
        return None
    areas, rates = zip(*found, strict=True)
    return interval(areas), interval(rates)
