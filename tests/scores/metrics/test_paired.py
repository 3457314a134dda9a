"""Paired bootstrap: against sets that are really made again, and against scipy."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.metrics.bootstrap import difference, draw, interval, mean_replicates
from vidface.scores.pairs import replicates as resampled_pairs
from vidface.scores.pairs import zones as impostor_zones
from vidface.scores.pairs.distribution import pair_distribution
from vidface.scores.pairs.replicates import tpr_replicates

TARGETS = ["2e-2", "1e-1", "1e-3"]


def faces(seed: int, people: int, others: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and identities, shuffled; people have 1 to 4 videos, and numbers that are not in a row."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, people)
    identities = np.concatenate([np.repeat(3 * np.arange(people), sizes), np.full(others, -1)])
    rows = random.normal(size=(3 * people + 1, 12))[identities] * (identities >= 0)[:, None]
    rows += spread * random.normal(size=rows.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    order = random.permutation(len(rows))
    return rows[order].astype(np.float32), identities[order]


def made_again(
    cosines: np.ndarray, identities: np.ndarray, people: list[int], others: list[int], target: str
) -> float:
    """TPR of a set in which these people and these videos of nobody stand, as often as they are listed."""
    of_nobody = np.flatnonzero(identities < 0)
    video, unit, copy = [], [], []
    for number, person in enumerate(people):
        own = np.flatnonzero(identities == person)
        video += own.tolist()
        unit += [person] * len(own)
        copy += [number] * len(own)
    for number, other in enumerate(others):
        video.append(of_nobody[other])
        unit.append(-1 - other)
        copy.append(-1 - number)
    left, right = np.triu_indices(len(video), 1)
    video, unit, copy = np.array(video), np.array(unit), np.array(copy)
    scores = cosines[np.minimum(video[left], video[right]), np.maximum(video[left], video[right])]
    genuine = scores[copy[left] == copy[right]]
    impostor = np.sort(scores[unit[left] != unit[right]])[::-1]
    refused = impostor[int(Fraction(target) * len(impostor))]
    return float((genuine > refused).mean())


def drawn_lists(column: np.ndarray, identities: np.ndarray) -> tuple[list[int], list[int]]:
    names = np.unique(identities[identities >= 0])
    return np.repeat(names, column[: len(names)]).tolist(), np.repeat(
        np.arange(len(column) - len(names)), column[len(names) :]
    ).tolist()


@pytest.mark.parametrize("others", [0, 12])
@pytest.mark.parametrize(("most", "block", "workers"), [(2**25, 768, 2), (40, 7, 3)])
def test_a_replicate_is_the_score_of_the_set_that_was_drawn(
    others: int, most: int, block: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(impostor_zones, "CHUNK", 10 if block == 7 else 2**18)
    rows, identities = faces(others, 20, others)
    cosines = rows.astype(np.float64) @ rows.astype(np.float64).T
    drawn = draw(20, others, replicates=40)
    found = tpr_replicates(rows, identities, TARGETS, drawn, most=most, block=block, workers=workers)
    for t, target in enumerate(TARGETS):
        for r, column in enumerate(drawn.T):
            wanted = made_again(cosines, identities, *drawn_lists(column, identities), target)
            assert found[t, r] == wanted, (target, r)


@pytest.mark.parametrize(
    ("finest", "step", "steps", "most"),
    [(1, 1.2, 3, 2**25), (1, 1.2, 3, 60), (40, 1.5, 1, 60), (1, 1.0001, 1, 60), (10**6, 1.2, 2, 60)],
)
@pytest.mark.parametrize("spread", ["not known", "known", "wrong"])
def test_zones_change_nothing(
    spread: str, finest: int, step: float, steps: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thresholds inside the edges, above all of them, and far below, where new edges have to be found."""
    for name, value in {"FEW": 0, "TOGETHER": 3}.items():
        monkeypatch.setattr(resampled_pairs, name, value)
    for name, number in {"FINEST": finest, "STEP": step, "STEPS": steps}.items():
        monkeypatch.setattr(impostor_zones, name, number)
    rows, identities = faces(3, 40, 30)
    cosines = rows.astype(np.float64) @ rows.astype(np.float64).T
    drawn = draw(40, 30, replicates=16)
    targets = ["3e-1", "1e-3", "5e-2"]
    others = rows if spread == "known" else rows[::-1, ::-1] * (np.arange(len(rows)) > 5)[:, None]
    told = pair_distribution(others, identities, [str(n) for n in range(len(rows))], listed=1)
    known = None if spread == "not known" else told
    found = tpr_replicates(rows, identities, targets, drawn, spread=known, most=most, block=16)
    for t, target in enumerate(targets):
        for r, column in enumerate(drawn.T):
            assert found[t, r] == made_again(cosines, identities, *drawn_lists(column, identities), target)


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.integers(1, 8),
    st.integers(0, 6),
    st.integers(1, 60),
    st.sampled_from([0, 2**20]),
)
def test_ties_are_all_refused_or_all_accepted(
    seed: int, people: int, others: int, most: int, few: int
) -> None:
    random = np.random.default_rng(seed)
    identities = np.concatenate([np.repeat(np.arange(people), 2), np.full(others, -1)])
    rows = (
        random.choice([-0.5, 0.5], (len(identities), 4))
        * random.choice([1, 1, 1, 0], len(identities))[:, None]
    )
    rows = rows.astype(np.float32)
    drawn = draw(people, others, replicates=5, seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resampled_pairs, "FEW", few)
        patch.setattr(impostor_zones, "FINEST", 1)
        found = tpr_replicates(rows, identities, ["1e-1"], drawn, most=most, block=5)
    for r, column in enumerate(drawn.T):
        listed = drawn_lists(column, identities)
        if len(set(listed[0])) + len(set(listed[1])) < 2:
            assert np.isnan(found[0, r])  # no impostor pair is left
        else:
            assert found[0, r] == made_again(rows @ rows.T, identities, *listed, "1e-1")


def test_everybody_drawn_once_is_the_score_itself() -> None:
    rows, identities = faces(1, 50, 30)
    once = np.ones((80, 1), np.uint8)
    assert (
        tpr_replicates(rows, identities, TARGETS, once)[:, 0].tolist()
        == tpr_of_all_pairs(rows, identities, TARGETS).tpr
    )


def test_without_genuine_pairs_there_is_no_rate() -> None:
    rows, _ = faces(1, 10, 0)
    assert np.isnan(tpr_replicates(rows, np.arange(len(rows)), ["1e-1"], draw(len(rows), replicates=4))).all()
    nobody = np.full(len(rows), -1)
    assert np.isnan(tpr_replicates(rows, nobody, ["1e-1"], draw(0, len(rows), replicates=4))).all()


def test_the_interval_of_a_difference_in_map_agrees_with_scipy() -> None:
    random = np.random.default_rng(0)
    first = random.beta(5, 1, 150)
    second = np.clip(first + random.normal(0.01, 0.05, 150), 0, 1)
    replicates = [mean_replicates(values, replicates=10_000) for values in (first, second)]
    found = difference(first.mean(), second.mean(), *replicates)

    def gain(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return b.mean(axis=axis) - a.mean(axis=axis)

    expected = stats.bootstrap(
        (first, second), gain, paired=True, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=3e-4)
    assert found.value == pytest.approx((second - first).mean())
    apart = [interval(one) for one in replicates]
    assert found.high - found.low < 0.5 * (apart[0][1] - apart[0][0])  # what pairing is for


def test_the_interval_of_a_difference_in_tpr_agrees_with_scipy() -> None:
    rows, identities = faces(5, 24, 10)
    random = np.random.default_rng(2)
    better = rows + 0.05 * random.normal(size=rows.shape)
    better = (better / np.linalg.norm(better, axis=1, keepdims=True)).astype(np.float32)
    target = "5e-2"
    tables = [one.astype(np.float64) @ one.astype(np.float64).T for one in (rows, better)]

    def gain(people: np.ndarray, others: np.ndarray) -> float:
        drawn = people.tolist(), others.tolist()
        first, second = (made_again(table, identities, *drawn, target) for table in tables)
        return second - first

    names = np.unique(identities[identities >= 0])
    expected = stats.bootstrap(
        (names, np.arange(10)), gain, vectorized=False, method="percentile", n_resamples=2500, rng=1
    ).confidence_interval
    drawn = draw(24, 10, replicates=10_000)
    found = difference(
        *(tpr_of_all_pairs(one, identities, [target]).tpr[0] for one in (rows, better)),
        *(tpr_replicates(one, identities, [target], drawn)[0] for one in (rows, better)),
    )
    assert found.value == gain(names, np.arange(10))
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.12 * width)


def test_units_of_both_kinds_are_drawn_as_often_as_there_are() -> None:
    drawn = draw(30, 50, replicates=400)
    assert drawn.shape == (80, 400)
    assert (drawn[:30].sum(axis=0) == 30).all() and (drawn[30:].sum(axis=0) == 50).all()
    assert drawn.mean(axis=1) == pytest.approx(np.ones(80), abs=0.2)
    assert drawn.astype(float).var() == pytest.approx(1 - 1 / 42, abs=0.05)  # nearly Poisson(1)
    assert draw(30, 50, seed=1).tobytes() == draw(30, 50, seed=1).tobytes() != draw(30, 50, seed=2).tobytes()


def test_a_mean_is_that_of_those_drawn() -> None:
    drawn = draw(9, replicates=7)
    values = np.random.default_rng(0).random(9)
    wanted = [np.repeat(values, column).mean() for column in drawn.T]
    assert mean_replicates(values, replicates=7).tolist() == pytest.approx(wanted)


def test_several_comparisons_widen_every_interval() -> None:
    values = np.linspace(0, 1, 10_001)
    assert interval(values) == pytest.approx((0.025, 0.975))
    assert interval(values, comparisons=5) == pytest.approx((0.005, 0.995))


@pytest.mark.parametrize(("shift", "verdict"), [(0.6, 1), (0.0, 0), (-0.6, -1)])
def test_a_verdict_needs_the_whole_interval_on_one_side(shift: float, verdict: int) -> None:
    spread = np.linspace(-0.5, 0.5, 1001)
    found = difference(0.5, 0.5 + shift, np.zeros(1001), spread + shift)
    assert found.verdict == verdict and found.value == pytest.approx(shift)


def test_no_difference_at_all_is_none_that_can_be_told() -> None:
    same = np.random.default_rng(0).random(100)
    assert difference(0.5, 0.5, same, same) == (0.0, 0.0, 0.0, 0)


def test_wrong_calls_of_paired() -> None:
    rows, identities = faces(1, 10, 5)
    with pytest.raises(ValueError, match="drawn has 9 units, the set 15"):
        tpr_replicates(rows, identities, ["1e-2"], draw(9))
    with pytest.raises(ValueError, match="not finite"):
        tpr_replicates(rows * np.nan, identities, ["1e-2"], draw(10, 5))
    with pytest.raises(ValueError, match="identities must be"):
        tpr_replicates(rows, identities[1:], ["1e-2"], draw(10, 5))
    with pytest.raises(ValueError, match="FPR target"):
        tpr_replicates(rows, identities, ["1"], draw(10, 5))
    with pytest.raises(ValueError, match="at least one identity"):
        mean_replicates([])
    with pytest.raises(ValueError, match="values must be"):
        mean_replicates([[0.5, 0.6]])
