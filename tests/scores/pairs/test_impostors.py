from __future__ import annotations

import numpy as np
import pytest
from exact_rows import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.scores.pairs import impostors
from vidface.scores.pairs.blocks import Found, Pairs, scan_blocks
from vidface.scores.pairs.impostors import Place, places_at


def pairs_of(seed: int, kind: str, videos: int = 90, others: int = 40) -> Pairs:
    random = np.random.default_rng(seed)
    rows = random.standard_normal((videos + others, 24)).astype(np.float32)
    if kind == "ties":
        rows = rows[random.integers(0, 6, len(rows))]
    if kind == "one":
        rows = rows[np.zeros(len(rows), np.int64)]
    if kind == "hubs":  # a few videos have all the high scores
        rows[: videos // 10] += 10
    rows = normalise_rows(rows)
    if kind == "zero":
        rows[random.random(len(rows)) < 0.7] = 0
    sizes = random.multinomial(videos, np.ones(9) / 9)
    far = rows[videos:] if others else None
    return Pairs(rows[:videos], np.repeat(np.cumsum(sizes), sizes), far)


def sorted_scores(pairs: Pairs) -> np.ndarray:
    rows, until, far = pairs
    scores = [scores_of(rows, rows)[np.arange(len(rows)) >= until[:, None]]]
    scores += [] if far is None else [scores_of(rows, far).ravel()]
    return np.sort(np.concatenate(scores))[::-1]


def find(pairs: Pairs, ranks: list[int], total: int) -> tuple[list[Place], list[Found]]:
    passes = []

    def scan(low: np.ndarray, high: np.ndarray) -> Found:
        passes.append(scan_blocks(pairs, low, high, block=32, workers=2))
        return passes[-1]

    return places_at(ranks, pairs, total, scan), passes


def expected_places(scores: np.ndarray, ranks: list[int]) -> list[tuple[float, int, int]]:
    return [(scores[rank], (scores > scores[rank]).sum(), (scores >= scores[rank]).sum()) for rank in ranks]


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["any", "ties", "one", "zero", "hubs"]),
    st.sampled_from([0, 40]),
    st.sampled_from([0.1, 1.0, 3.5]),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5),
)
def test_the_same_as_sorting_all(
    seed: int, kind: str, others: int, deviations: float, shares: list[float]
) -> None:
    pairs = pairs_of(seed, kind, others=others)
    expected = sorted_scores(pairs)
    ranks = [int(share * len(expected)) for share in shares] + [len(expected) - 1, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(impostors, "FEW", 0)
        patch.setattr(impostors, "DEVIATIONS", deviations)
        patch.setattr(impostors, "SAMPLE", 40)
        found, _ = find(pairs, ranks, len(expected))
    assert found == expected_places(expected, ranks)


@pytest.mark.parametrize("wrong", ["low", "high"])
def test_a_sample_that_misleads_costs_time_only(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """The rows that the sample takes are the least, or the most, alike of all."""
    pairs = pairs_of(1, "any", videos=200, others=0)
    expected = sorted_scores(pairs)
    alike = pairs.rows @ pairs.rows.sum(axis=0)
    order = np.argsort(alike if wrong == "low" else -alike)
    monkeypatch.setattr(impostors, "FEW", 0)
    monkeypatch.setattr(impostors, "SAMPLE", 30)
    monkeypatch.setattr(impostors, "DEVIATIONS", 0.5)
    draw = impostors._draw

    def misled(pairs: Pairs, share: float) -> object:
        rows = pairs.rows[np.sort(order[:60])]
        return draw(Pairs(rows, np.arange(1, 61), None), share)

    monkeypatch.setattr(impostors, "_draw", misled)
    ranks = [2, 200, 2000, len(expected) // 2]
    found, passes = find(pairs, ranks, len(expected))
    assert found == expected_places(expected, ranks)
    assert len(passes) > 1


def test_all_high_scores_in_the_columns_that_are_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 17th score of the sample says how many are ranked: with 17 columns these are all of one column."""
    monkeypatch.setattr(impostors, "FEW", 0)
    random = np.random.default_rng(0)
    rows = random.standard_normal((170, 24))
    rows[:, 0] = 3
    hubs = np.arange(0, 170, 17)
    rows[hubs, 1:] *= 0.1
    pairs = Pairs(normalise_rows(rows), np.arange(1, 171), None)
    expected = sorted_scores(pairs)
    ranks = [int(share * len(expected)) for share in (0.09, 0.1, 0.2)]
    found, _ = find(pairs, ranks, len(expected))
    assert found == expected_places(expected, ranks)


def test_one_pass_and_little_kept() -> None:
    pairs = pairs_of(2, "any", videos=1500, others=0)
    pairs = pairs._replace(until=np.arange(1, 1501))
    total = 1500 * 1499 // 2
    assert total > impostors.FEW
    ranks = [int(share * total) for share in (1e-2, 1e-3, 1e-4, 1e-5)]
    _, passes = find(pairs, ranks, total)
    assert len(passes) == 1
    assert len(passes[0].inside) < 0.01 * total
