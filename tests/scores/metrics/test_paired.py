"""Paired bootstrap: against sets that are really made again, and against scipy."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from exact_rows import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.metrics.bootstrap import difference, draw, interval, mean_replicates
from vidface.scores.pairs import replicates as resampled_pairs
from vidface.scores.pairs.replicates import tpr_replicates

TARGETS = ["2e-2", "1e-1", "1e-3"]


def faces(seed: int, people: int, others: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and identities, shuffled; people have 1 to 4 videos, and numbers that are not in a row."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 5, people)
    identities = np.concatenate([np.repeat(3 * np.arange(people), sizes), np.full(others, -1)])
    rows = random.normal(size=(3 * people + 1, 12))[identities] * (identities >= 0)[:, None]
    rows += spread * random.normal(size=rows.shape)
    order = random.permutation(len(rows))
    return normalise_rows(rows)[order], identities[order]


def made_again(
    table: np.ndarray, identities: np.ndarray, people: list[int], others: list[int], target: str
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
    scores = table[np.minimum(video[left], video[right]), np.maximum(video[left], video[right])]
    genuine = scores[copy[left] == copy[right]]
    impostor = np.sort(scores[unit[left] != unit[right]])[::-1]
    refused = impostor[int(Fraction(target) * len(impostor))]
    return float((genuine > refused).mean())


def drawn_lists(column: np.ndarray, identities: np.ndarray) -> tuple[list[int], list[int]]:
    names = np.unique(identities[identities >= 0])
    return np.repeat(names, column[: len(names)]).tolist(), np.repeat(
        np.arange(len(column) - len(names)), column[len(names) :]
    ).tolist()


def check(found: np.ndarray, rows: np.ndarray, identities: np.ndarray, drawn: np.ndarray) -> None:
    """Against the score of every set that was drawn."""
    table = scores_of(rows, rows)
    for t, target in enumerate(TARGETS):
        for r, column in enumerate(drawn.T):
            assert found[t, r] == made_again(table, identities, *drawn_lists(column, identities), target), (
                target
            )


@pytest.mark.parametrize("others", [0, 12])
@pytest.mark.parametrize(("block", "workers"), [(768, 2), (7, 3)])
def test_a_replicate_is_the_score_of_the_set_that_was_drawn(others: int, block: int, workers: int) -> None:
    rows, identities = faces(others, 20, others)
    drawn = draw(20, others, replicates=40)
    found = tpr_replicates(rows, identities, TARGETS, drawn, block=block, workers=workers)
    check(found, rows, identities, drawn)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs are listed, one number for each list."""
    counts: list[int] = []

    def spy(*arguments: Any) -> Any:
        for one in real(*arguments):
            counts.append(len(one[0]))
            yield one

    real = resampled_pairs._listed
    monkeypatch.setattr(resampled_pairs, "_listed", spy)
    return counts


@pytest.mark.parametrize("hub", [False, True])
def test_only_the_best_pairs_are_listed(hub: bool, listed: list[int]) -> None:
    """A hub is like everybody: where it was not drawn, many more pairs than the target allows have to be known."""
    rows, identities = faces(7, 300, 0)
    if hub:
        random = np.random.default_rng(0)
        wide = 0.77 * random.normal(size=(900, 200))[identities] + random.normal(size=(len(rows), 200))
        rows = normalise_rows(np.pad(0.8 * normalise_rows(wide), ((0, 0), (1, 0)), constant_values=0.6))
        rows[identities == 0] = np.eye(1, 201)
    total = len(rows) * (len(rows) - 1) // 2
    assert total > resampled_pairs.MOST
    drawn = draw(300, replicates=12)
    check(tpr_replicates(rows, identities, TARGETS, drawn), rows, identities, drawn)
    assert len(listed) > 3 if hub else len(listed) == 3
    assert max(listed) < total / 2


@pytest.mark.parametrize("noise", [1e-3, 1e-6, 0.0])
def test_no_more_than_a_share_is_listed(
    noise: float, listed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where many pairs score nearly alike, too: memory does not follow their number."""
    random = np.random.default_rng(0)
    rows = normalise_rows(random.normal(size=8) + noise * random.normal(size=(600, 8)))
    identities = np.repeat(np.arange(60), 10)
    drawn = draw(60, replicates=50)
    exact = tpr_replicates(rows, identities, ["1e-1", "1e-2"], drawn)
    listed.clear()
    monkeypatch.setattr(resampled_pairs, "MOST", 2000)
    found = [
        tpr_replicates(rows, identities, ["1e-1", "1e-2"], drawn, workers=workers, block=block)
        for workers, block in ((1, 768), (3, 64))
    ]
    assert found[0].tobytes() == found[1].tobytes()
    assert max(listed) <= 2200
    ends, wanted = (np.quantile(one, [0.025, 0.975], axis=1) for one in (found[0], exact))
    assert ends == pytest.approx(wanted, abs=0.01)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 8), st.integers(0, 6))
def test_ties_are_all_refused_or_all_accepted(seed: int, people: int, others: int) -> None:
    random = np.random.default_rng(seed)
    identities = np.concatenate([np.repeat(np.arange(people), 2), np.full(others, -1)])
    rows = random.choice([-0.5, 0.5], (len(identities), 4)).astype(np.float32)
    rows *= random.choice([1, 1, 1, 0], len(identities))[:, None]
    drawn = draw(people, others, replicates=5, seed=seed)
    found = tpr_replicates(rows, identities, ["1e-1"], drawn, block=5)
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
    better = normalise_rows(better)
    target = "5e-2"
    tables = [scores_of(one, one) for one in (rows, better)]

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


@pytest.mark.parametrize(("size", "verdict"), [(1e-13, 0), (-1e-13, 0), (1e-9, 1), (-1e-9, -1)])
def test_differences_that_are_rounding_are_none(size: float, verdict: int) -> None:
    first = np.random.default_rng(1).uniform(0.4, 0.6, 1000)
    gain = difference(0.5, 0.5 + size, first, first + size)
    assert gain.verdict == verdict
    assert (gain.low, gain.high) == (0, 0) if verdict == 0 else gain.low != 0


def test_units_of_another_set_are_refused() -> None:
    rows, identities = faces(1, 10, 5)
    with pytest.raises(ValueError, match="drawn has 9 units, the set 15"):
        tpr_replicates(rows, identities, ["1e-2"], draw(9))
