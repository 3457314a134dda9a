"""The impostor scores at given ranks, out of billions, exactly, in one pass and little memory.

A sample of pairs says between which two scores, a bracket, a rank must lie. One pass over all pairs counts the scores
above each bracket and keeps those inside: the counts say which of the kept scores has the rank. Where the rank
turns out to lie outside its bracket, the counts say on which side, and a wider one there is tried: a wrong guess
costs time, never the answer. Inner work, on `Pairs` of checked rows. Tested in
``tests/scores/pairs/test_impostors.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.scores.pairs.blocks import Found, Pairs, checked_float32, dot

__all__: list[str] = []

FEW = 2**18  # so many pairs are all kept
SAMPLE = 4096  # rows of the sample at most, times twice as many
SHARE = 32  # and at most one row of so many
DEVIATIONS = 3.5  # how far a bracket reaches to either side of the rank in the sample

Scan = Callable[[NDArray[np.float32], NDArray[np.float32]], Found]  # (low, high) -> what a pass finds
Product = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]  # scores, near enough


class Place(NamedTuple):
    """An impostor score, and how many pairs score more, and at least as much."""

    score: np.float32
    above: int
    through: int


class _Sample(NamedTuple):
    """Impostor pairs of random rows.

    Attributes:
        left: float32 [R, D].
        right: float32 [C, D].
        pairs: how many of the R * C are impostor pairs.
        ranked: int64, numbers (row on the left * C + row on the right) of the best of them, best first.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    pairs: int
    ranked: NDArray[np.int64]


def scores_at(
    ranks: list[int], pairs: Pairs, total: int, scan: Scan, product: Product
) -> NDArray[np.float32]:
    """The impostor scores at the given ranks, float32; see `places_at`."""
    return np.array([place.score for place in places_at(ranks, pairs, total, scan, product)], np.float32)


def places_at(ranks: list[int], pairs: Pairs, total: int, scan: Scan, product: Product) -> list[Place]:
    """The impostor scores at the given ranks, and how many pairs tie with each.

    Args:
        ranks: 0 for the highest; each below ``total``.
        pairs: what is compared.
        total: impostor pairs in all.
        scan: passes over all pairs.
        product: scores of all pairs of two matrices of rows; errors of rounding do no harm.

    Returns:
        One a rank.
    """
    reach = DEVIATIONS
    sample = None if total <= FEW else _draw(pairs, product, max(ranks) / total)
    brackets = {rank: _bracket(rank / total, sample, reach) for rank in ranks}
    answers: dict[int, Place] = {}
    while brackets:
        low, high = _disjoint(list(brackets.values()))
        known, missed = _look_up(brackets, low, high, scan(low, high))
        answers |= known
        brackets = {}
        if missed and sample is not None:
            reach *= 4
            sample = _draw(pairs, product, 1.0)
        for rank, (bracket, is_above) in missed.items():  # what the pass has ruled out is not looked at again
            bottom, top = _bracket(rank / total, sample, reach)
            if is_above:
                brackets[rank] = high[bracket], max(high[bracket], top)
            else:
                brackets[rank] = min(low[bracket], bottom), low[bracket]
    return [answers[rank] for rank in ranks]


def _draw(pairs: Pairs, product: Product, share: float) -> _Sample:
    """Score random pairs and rank a good deal more than the best ``share`` of them; the same ones every time."""
    random = np.random.default_rng(0)
    videos, others = len(pairs.rows), 0 if pairs.distractors is None else len(pairs.distractors)
    rows = min(SAMPLE, max(256, videos // SHARE))
    near = round(
        2 * rows * videos / (videos + 2 * others)
    )  # of all pairs, those of two videos are this share
    left, right, far = (
        np.sort(random.choice(most, min(wanted, most), replace=False))
        for most, wanted in ((videos, rows), (videos, near), (others, 2 * rows - near))
    )
    right_rows = [pairs.rows[right], *(checked_float32(pairs.distractors, at, at + 1) for at in far.tolist())]
    sides = pairs.rows[left], np.concatenate(right_rows)
    scores = product(*sides)
    begin = np.searchsorted(right, np.searchsorted(pairs.until, left, side="right"))
    end = np.searchsorted(right, pairs.until[left])
    for line, first, last in zip(scores, begin.tolist(), end.tolist(), strict=True):
        line[first:last] = -np.inf  # the same person, or the same video
    count = scores.size - int((end - begin).sum())
    flat = scores.ravel()
    thin = flat[::17]
    depth = min(int(2 * share * len(thin)) + 64, len(thin))
    floor = np.partition(thin, len(thin) - depth)[-depth] if share < 0.5 else -np.inf
    best = np.flatnonzero((flat >= floor) & (flat > -np.inf))
    return _Sample(*sides, count, best[np.argsort(-flat[best])])


def _bracket(share: float, sample: _Sample | None, deviations: float) -> tuple[np.float32, np.float32]:
    """Low and high, between which the score should lie that ``share`` of all lie above; both are possible scores."""
    infinity = np.float32(np.inf)
    if sample is None or sample.pairs == 0:
        return -infinity, infinity
    rank = int(share * sample.pairs)
    i, j = np.divmod(sample.ranked[: rank + 1], len(sample.right))
    # Pairs of one video are not independent, so the spread comes from how much the videos of either side differ.
    spread = (
        sum(
            np.bincount(side, minlength=len(rows)).var() * len(rows)
            for side, rows in ((i, sample.left), (j, sample.right))
        )
        - rank
    )
    reach = int(deviations * np.sqrt(max(spread, rank, 4))) + 1

    def score(at: int) -> np.float32:
        """To the last bit: many pairs may share it."""
        pair = np.divmod(sample.ranked[at], len(sample.right))
        return np.float32(dot(sample.left[pair[0]], sample.right[pair[1]]))

    high = infinity if rank < reach else score(rank - reach)
    if rank + reach < len(sample.ranked):
        low = score(rank + reach)
    else:
        low = -infinity if len(sample.ranked) == sample.pairs else score(-1)
    return min(low, high), max(low, high)  # near a tie, rounding may have turned them round


def _disjoint(
    brackets: list[tuple[np.float32, np.float32]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Their lower and their upper ends, ascending; those that meet become one."""
    merged: list[tuple[np.float32, np.float32]] = []
    for low, high in sorted(brackets):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    low, high = np.array(merged, np.float32).T.copy()
    return low, high


def _look_up(
    brackets: dict[int, tuple[np.float32, np.float32]],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    found: Found,
) -> tuple[dict[int, Place], dict[int, tuple[int, bool]]]:
    """Rank -> its place where it is inside; rank -> (number of the bracket, above it?) where it is not."""
    known, missed, places = {}, {}, {}
    for rank, (bottom, _) in brackets.items():
        at = int(np.searchsorted(low, bottom, side="right")) - 1
        above, ties, inside, last = np.cumsum(found.counts[at]).tolist()
        if rank < above or rank >= last:
            missed[rank] = at, rank < above
        elif rank < ties:
            known[rank] = Place(high[at], above, ties)
        elif rank < inside:
            higher = int(found.counts[at + 1 :, 2].sum())  # kept scores of the brackets above this one
            places[rank] = len(found.inside) - 1 - higher - (rank - ties), ties - higher
        else:
            known[rank] = Place(low[at], inside, last)
    if places:
        found.inside.partition(sorted({place for place, _ in places.values()}))
    for rank, (place, before) in places.items():
        score = found.inside[place]
        above = before + int(np.count_nonzero(found.inside[place:] > score))
        known[rank] = Place(score, above, above + int(np.count_nonzero(found.inside == score)))
    return known, missed
