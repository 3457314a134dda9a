from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from exact_rows import completed_sides
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import det_curve

from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics.fpr_rules import FPR_RULES, FprRule
from vidface.scores.metrics.open_set import (
    SearchOutcomes,
    closed_set_rates,
    det,
    fnir_at_fpir,
    returned,
    search_outcomes,
)

TARGETS = ("0.5", "1/3", "0.3", "1e-1", "1e-2")


def drawn(random: np.random.Generator, probes: int, rows: int, near: bool) -> tuple[NDArray[np.float32], ...]:
    """Rows full of ties, with zero rows; or rows that are closer to each other than products can tell."""
    if near:
        stored = normalise_rows(random.normal(size=(rows, 40)))
        stored[rows // 2 :] = stored[: rows - rows // 2]
        stored += np.float32(2**-26) * random.integers(-1, 2, stored.shape).astype(np.float32)
        return stored[random.integers(0, rows, probes)], stored
    asked, stored = (random.integers(-2, 3, (count, 9)).astype(np.float32) for count in (probes, rows))
    asked[random.random(probes) < 0.2] = 0
    stored[random.random(rows) < 0.2] = 0
    return completed_sides(asked / 8, stored / 8)


def by_loops(
    scores: NDArray[np.float32], people: NDArray[np.int64], codes: NDArray[np.int64]
) -> list[tuple[float, int, bool, float, int]]:
    """The definition, probe by probe, in plain Python."""
    found = []
    for line, person in zip(scores.tolist(), people.tolist(), strict=True):
        of_identity: dict[int, float] = {}
        for score, code in zip(line, codes.tolist(), strict=True):
            of_identity[code] = max(score, of_identity.get(code, score))
        mine, best = of_identity.pop(person, None), max(line)
        if mine is not None:
            rank = 1 + sum(score >= mine for score in of_identity.values())
            found.append((best, line.index(best), True, mine, rank))
        else:
            found.append((best, line.index(best), False, 0.0, 0))
    return found


@settings(max_examples=120)
@given(
    seed=st.integers(0, 10**6),
    probes=st.integers(1, 40),
    rows=st.integers(1, 80),
    near=st.booleans(),
    alone=st.booleans(),
    workers=st.integers(1, 3),
)
def test_searches_are_those_of_a_loop(
    seed: int, probes: int, rows: int, near: bool, alone: bool, workers: int
) -> None:
    """``alone``: every identity has one row; else some have several."""
    random = np.random.default_rng(seed)
    asked, stored = drawn(random, probes, rows, near)
    people = random.integers(-1, rows + 2, probes)
    codes = random.permutation(rows) if alone else random.integers(0, rows + 1, rows)
    found = search_outcomes(asked, stored, people, codes, workers=workers)
    scores = (asked.astype(np.float64) @ stored.T.astype(np.float64)).astype(np.float32)
    for p, (best, row, mated, mate, rank) in enumerate(by_loops(scores, people, codes)):
        assert (found.best[p], found.best_row[p], found.mated[p], found.rank[p]) == (best, row, mated, rank)
        assert found.mate[p] == mate if mated else np.isnan(found.mate[p])


def test_embeddings_that_are_all_alike_identify_nobody() -> None:
    rows = np.ones((6, 4), np.float32) / 2
    found = search_outcomes(rows, rows, np.arange(6), np.arange(6))
    assert found.rank.tolist() == [6] * 6 and found.best_row.tolist() == [0] * 6
    assert closed_set_rates(found) == {1: 0.0, 5: 0.0, 10: 1.0}


def outcomes_of(mated: Sequence[tuple[float, int]], others: Sequence[float]) -> SearchOutcomes:
    """Mated searches as (score of the mate, its rank), then non-mated ones as their best score."""
    mate = [score for score, _ in mated] + [np.nan] * len(others)
    best = [score if rank == 1 else score + 0.05 for score, rank in mated] + [*others]
    return SearchOutcomes(
        np.array(best, np.float32),
        np.zeros(len(best), np.int64),
        np.array([True] * len(mated) + [False] * len(others)),
        np.array(mate, np.float32),
        np.array([rank for _, rank in mated] + [0] * len(others)),
    )


def test_wrong_denominators_give_other_numbers() -> None:
    """Worked out by hand: 4 mated searches, 10 non-mated ones, a gallery of 5.

    FPIR 0.2 lets 2 of the 10 non-mated searches through, those at 0.8 and 0.7; so the threshold lies above 0.6. Of the
    mated searches 0.9 and 0.65 are returned; 0.75 is beaten by somebody else, 0.5 is too low: FNIR 2/4.
    """
    mated = [(0.9, 1), (0.75, 2), (0.65, 1), (0.5, 1)]
    others = [0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.3, 0.2, 0.1, 0.0]
    outcomes = outcomes_of(mated, others)
    (point,), warnings = fnir_at_fpir(outcomes, ["0.2"])
    assert warnings == []
    assert (point.fnir, point.tpir, point.fpir) == (0.5, 0.5, 0.2)
    assert point.threshold == np.float32(0.65)
    assert returned(outcomes, point.threshold).tolist() == [True, False, True, False] + [False] * 10
    assert fnir_at_fpir(outcomes, ["0.2"], rank=2)[0][0].fnir == 0.25

    def tpir(accepted_falsely: int) -> float:
        """The share of mated searches returned where so many non-mated ones may be accepted."""
        refused = sorted(others, reverse=True)[accepted_falsely]
        return sum(score > refused and rank == 1 for score, rank in mated) / 4

    assert tpir(int(0.2 * 10)) == point.tpir
    # Allowed false positives as a share of the mated searches: 0.
    assert tpir(int(0.2 * 4)) == 0.25
    # As a share of all searches: at 0.3 they are 4, not 3.
    assert tpir(int(0.3 * 14)) == 0.75 != fnir_at_fpir(outcomes, ["0.3"])[0][0].tpir
    # As a share of all 50 pairs of a non-mated probe and one of 5 identities: 10, all of the searches.
    assert sum(rank == 1 for _, rank in mated[: int(0.2 * 50)]) / 4 == 0.75 != point.tpir
    # Wrong answers to mated searches as false positives: 0.80 above the 0.75 is one, so 0.7 is the third of 11.
    assert sum(score >= 0.65 for score in [*others, 0.80]) / 11 > 0.2 == point.fpir
    # Only searches whose mate comes first as the denominator of FNIR: 1/3.
    assert sum(score < 0.65 for score, rank in mated if rank == 1) / 3 != point.fnir


def by_definition(
    mated: NDArray[np.float32], others: NDArray[np.float32], target: str, rule: FprRule
) -> tuple[float, float] | None:
    """(FNIR, FPIR) by counting at every threshold there is."""
    aim = Fraction(target)
    if aim * len(others) < 1:
        return None
    curve: dict[Fraction, int] = {Fraction(0): 0}  # FPIR -> the most mates returned
    levels = sorted({*others.tolist(), *mated[np.isfinite(mated)].tolist()}, reverse=True)
    for level in levels:
        fpir = Fraction(sum(score >= level for score in others.tolist()), len(others))
        hits = sum(score >= level for score in mated.tolist())
        curve[fpir] = max(hits, curve.get(fpir, 0))
    below = max(fpir for fpir in curve if fpir <= aim)
    above = min(fpir for fpir in curve if fpir > aim)
    if rule == "interpolated":
        # The next point is where the refused score itself is the threshold.
        level = max(
            s for s in others.tolist() if Fraction(sum(o >= s for o in others.tolist()), len(others)) == above
        )
        there = sum(score >= level for score in mated.tolist())
        share = (aim - below) / (above - below)
        return 1 - float((curve[below] + share * (there - curve[below])) / len(mated)), float(aim)
    taken = above if rule == "nearest" and above - aim <= aim - below else below
    return 1 - curve[taken] / len(mated), float(taken)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 3)), min_size=1, max_size=15),
    st.lists(st.integers(-4, 4), min_size=1, max_size=15),
    st.sampled_from(FPR_RULES),
    st.integers(1, 3),
)
@example([(1, 1)], [0, 0, 0], "nearest", 1)
def test_points_are_those_of_the_definition(
    mates: list[tuple[int, int]], best: list[int], rule: FprRule, rank: int
) -> None:
    outcomes = outcomes_of(mates, best)
    mated = np.array([score if place <= rank else -np.inf for score, place in mates], np.float32)
    others = np.array(best, np.float32)
    points, warnings = fnir_at_fpir(outcomes, TARGETS, rank=rank, rule=rule)
    assert len(warnings) == any(point.fnir is None for point in points)
    for target, point in zip(TARGETS, points, strict=True):
        expected = by_definition(mated, others, target, rule)
        assert point.target == target
        if expected is None:
            assert point[1:] == (None,) * 4
            assert target in warnings[0].partition(" is not measured")[0].replace(",", "").split()
            continue
        assert point.fnir is not None and point.tpir is not None
        assert (point.fnir, point.fpir) == pytest.approx(expected)
        assert point.fnir + point.tpir == pytest.approx(1)
        if rule != "interpolated":
            assert returned(outcomes, point.threshold, rank=rank).sum() / len(mated) == point.tpir
            least = np.inf if point.threshold is None else point.threshold
            assert np.mean(others >= least) == point.fpir


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.integers(-4, 4), st.integers(1, 3)), min_size=1, max_size=20),
    st.lists(st.integers(-4, 4), min_size=1, max_size=20),
    st.integers(1, 3),
)
def test_the_curve_is_scikit_learns(mates: list[tuple[int, int]], best: list[int], rank: int) -> None:
    outcomes = outcomes_of(mates, best)
    curve = det(outcomes, rank=rank)
    # A mate beyond the list is one that no threshold returns: lower than all there is.
    scores = [float(score) if place <= rank else -9.0 for score, place in mates] + best
    labels = [1] * len(mates) + [0] * len(best)
    fpir, fnir, levels = det_curve(labels, scores)
    ours = {level: (a, b) for level, a, b in zip(*map(np.ndarray.tolist, curve), strict=True)}
    for level, a, b in zip(levels.tolist(), fpir.tolist(), fnir.tolist(), strict=True):
        if np.isfinite(level) and level > -9:
            assert ours[level] == pytest.approx((a, b))
    assert (curve.fpir[0], curve.fnir[0], curve.threshold[0]) == (0, 1, np.inf)
    assert curve.fpir[-1] == 1 or curve.threshold[-1] > min(best)
    assert (np.diff(curve.threshold) < 0).all()
    assert curve.fnir[-1] == pytest.approx(np.mean([place > rank for _, place in mates]))


def test_closed_set_rates_leave_out_who_is_not_enrolled() -> None:
    outcomes = outcomes_of([(0.9, 1), (0.8, 5), (0.7, 6), (0.6, 11)], [0.9] * 96)
    assert closed_set_rates(outcomes) == {1: 0.25, 5: 0.5, 10: 0.75}
    assert closed_set_rates(outcomes_of([], [0.5])) == {1: None, 5: None, 10: None}


def test_what_cannot_be_measured_says_why() -> None:
    points, warnings = fnir_at_fpir(outcomes_of([], [0.5] * 10), ["1e-1"])
    assert points[0].fnir is None and warnings == [
        "FNIR is not measured: no probe's identity is in the gallery, so there are no mated searches"
    ]
    points, warnings = fnir_at_fpir(outcomes_of([(0.5, 1)], []), ["1e-1"])
    assert points[0].fnir is None and "0 non-mated searches are fewer than 1/1e-1" in warnings[0]
    with pytest.raises(ValueError, match="both"):
        det(outcomes_of([(0.5, 1)], []))


def test_nobody_searches() -> None:
    rows = np.eye(3, dtype=np.float32)
    assert len(search_outcomes(rows[:0], rows, [], [0, 1, 2]).best) == 0
