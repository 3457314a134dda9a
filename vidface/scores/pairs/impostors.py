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

from vidface.scores.pairs.blocks import Floats, Found, Numbers, Pairs, checked_float32, pair_scores

FEW = 2**18  # so many pairs are all kept
SAMPLE = 4096  # rows of the sample at most, times twice as many
SHARE = 32  # and at most one row of so many
DEVIATIONS = 3.5  # how far a bracket reaches to either side of the rank in the sample

Scan = Callable[[Floats, Floats], Found]  # (low, high) -> what a pass finds
Bracket = tuple[np.float32, np.float32]


class Place(NamedTuple):
    """An impostor score, and how many pairs score more, and at least as much."""

    score: np.float32
    above: int
    through: int


class _Sample(NamedTuple):
    """Impostor pairs of random rows, float32 [R, D] and [C, D]."""

    left: Floats
    right: Floats
    pairs: int  # how many of the R * C are impostor pairs
    ranked: Numbers  # the best of them, best first: row on the left * C + row on the right


def places_at(ranks: list[int], pairs: Pairs, total: int, scan: Scan) -> list[Place]:
    """The impostor scores at the given ranks, 0 for the highest of all ``total``, and how many pairs tie with each."""
    reach = DEVIATIONS
    sample = None if total <= FEW or not ranks else _draw(pairs, max(ranks) / total)
    brackets = {rank: _bracket(rank / total, sample, reach) for rank in ranks}
    answers: dict[int, Place] = {}
    while brackets:
        low, high = _disjoint(list(brackets.values()))
        known, missed = _look_up(brackets, low, high, scan(low, high))
        answers |= known
        brackets = {}
        if missed and sample is not None:
            reach *= 4
            sample = _draw(pairs, 1.0)
        for rank, (bracket, is_above) in missed.items():  # what the pass has ruled out is not looked at again
            bottom, top = _bracket(rank / total, sample, reach)
            if is_above:
                brackets[rank] = high[bracket], max(high[bracket], top)
            else:
                brackets[rank] = min(low[bracket], bottom), low[bracket]
    return [answers[rank] for rank in ranks]


def _draw(pairs: Pairs, share: float) -> _Sample:
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
    scores = sides[0] @ sides[1].T
    begin = np.searchsorted(right, np.searchsorted(pairs.until, left, side="right"))
    end = np.searchsorted(right, pairs.until[left])
    for line, first, last in zip(scores, begin.tolist(), end.tolist(), strict=True):
        line[first:last] = -np.inf  # the same person, or the same video
    flat = scores.ravel()
    thin = flat[::17]
    depth = min(int(2 * share * len(thin)) + 64, len(thin))
    floor = np.partition(thin, len(thin) - depth)[-depth] if share < 0.5 else -np.inf
    best = np.flatnonzero((flat >= floor) & (flat > -np.inf))
    return _Sample(*sides, flat.size - int((end - begin).sum()), best[np.argsort(-flat[best])])


def _bracket(share: float, sample: _Sample | None, deviations: float) -> Bracket:
    """Low and high, between which the score should lie that ``share`` of all lie above; both are possible scores."""
    infinity = np.float32(np.inf)
    if sample is None or sample.pairs == 0:
        return -infinity, infinity
    rank = int(share * sample.pairs)
    # Pairs of one video are not independent, so the spread comes from how much the videos of either side differ.
    sides = zip(np.divmod(sample.ranked[: rank + 1], len(sample.right)), sample[:2], strict=True)
    spread = sum(np.bincount(side, minlength=len(rows)).var() * len(rows) for side, rows in sides) - rank
    reach = int(deviations * np.sqrt(max(spread, rank, 4))) + 1

    def score(at: int) -> np.float32:
        """To the last bit: many pairs may share it."""
        pair = np.divmod(sample.ranked[at : at + 1], len(sample.right))
        return np.float32(pair_scores(*sample[:2], *pair)[0])

    last = len(sample.ranked) - 1
    high = score(min(rank - reach, last)) if rank >= reach else infinity
    low = -infinity if rank + reach > last == sample.pairs - 1 else score(min(rank + reach, last))
    return min(low, high), max(low, high)  # near a tie, rounding may have turned them round


def _disjoint(brackets: list[Bracket]) -> tuple[Floats, Floats]:
    """Their lower and their upper ends, ascending; those that meet become one."""
    merged: list[Bracket] = []
    for low, high in sorted(brackets):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(high, merged[-1][1])
        else:
            merged.append((low, high))
    low, high = np.array(merged, np.float32).T.copy()
    return low, high


def _look_up(
    brackets: dict[int, Bracket], low: Floats, high: Floats, found: Found
) -> tuple[dict[int, Place], dict[int, tuple[int, bool]]]:
    """Rank -> its place where it is inside; rank -> (number of the bracket, above it?) where it is not."""
    known, missed = {}, {}
    for rank, (bottom, _) in brackets.items():
        at = int(np.searchsorted(low, bottom, side="right")) - 1
        above, ties, inside, last = np.cumsum(found.counts[at]).tolist()
        if rank < above or rank >= last:
            missed[rank] = at, rank < above
        elif rank < ties:
            known[rank] = Place(high[at], above, ties)
        elif rank >= inside:
            known[rank] = Place(low[at], inside, last)
        else:
            kept = np.sort(found.inside[(found.inside > low[at]) & (found.inside < high[at])])
            score = kept[inside - 1 - rank]  # ascending, so from the end
            below, through = np.searchsorted(kept, score, "left"), np.searchsorted(kept, score, "right")
            known[rank] = Place(score, inside - int(through), inside - int(below))
    return known, missed
