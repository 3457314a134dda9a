"""Against loops over the list of all pairs, and scikit-learn's roc_curve."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from exact_rows import scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vidface.embeddings.exact import normalise_rows
from vidface.scores.pairs.distribution import BINS, pair_distribution, rates_at_edges


def sample(seed: int, videos: int, people: int, width: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Unit rows with repeats (exact ties), failed videos, somebody unknown, and ids in no order."""
    random = np.random.default_rng(seed)
    who = random.integers(0, people, videos)
    rows = random.standard_normal((people, width))[who] + random.standard_normal((videos, width))
    rows = normalise_rows(rows)
    rows[random.random(videos) < 0.1] = 0
    if videos:
        rows[random.random(videos) < 0.3] = rows[0]
        rows[random.random(videos) < 0.1] = -rows[0]
    who[random.random(videos) < 0.2] = -1
    return rows, who, [f"v{number}" for number in random.permutation(3 * videos)[:videos]]


def listed(
    rows: np.ndarray, who: np.ndarray, ids: list[str]
) -> tuple[list[tuple[float, str, str]], list[tuple[float, str, str]]]:
    """(score, id, id) of all genuine pairs, weakest first, and of all impostor pairs, strongest first."""
    scores = scores_of(rows, rows).tolist()
    same, different = [], []
    for i, j in combinations(range(len(rows)), 2):
        pair = (scores[i][j], *sorted((ids[i], ids[j])))
        (same if who[i] == who[j] >= 0 else different).append(pair)
    return sorted(same), sorted(different, key=lambda pair: (-pair[0], *pair[1:]))


def binned(pairs: list[tuple[float, str, str]], edges: np.ndarray) -> list[int]:
    scores = np.clip([pair[0] for pair in pairs], -1, 1)
    return np.histogram(scores, edges)[0].tolist()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    videos=st.integers(0, 60),
    people=st.integers(1, 20),
    width=st.sampled_from([2, 5, 33, 128]),
    block=st.integers(1, 70),
    workers=st.integers(1, 3),
    most=st.sampled_from([0, 1, 7, 5000]),
)
def test_every_pair_is_in_its_bin_and_the_ends_are_in_order(
    seed: int, videos: int, people: int, width: int, block: int, workers: int, most: int
) -> None:
    rows, who, ids = sample(seed, videos, people, width)
    found = pair_distribution(rows, who, ids, listed=most, workers=workers, block=block)
    same, different = listed(rows, who, ids)
    assert found.same.tolist() == binned(same, found.edges)
    assert found.different.tolist() == binned(different, found.edges)
    for extremes, expected in ((found.weakest, same), (found.strongest, different)):
        pairs = [(ids[a], ids[b]) for a, b in extremes.pairs.tolist()]
        assert [(score, *pair) for score, pair in zip(extremes.scores.tolist(), pairs, strict=True)] == (
            expected[:most]
        )


def test_scores_on_the_edges_of_bins_belong_to_the_upper_bin() -> None:
    # cosines k / 512 exactly: unit rows (k/512, something) against (1, 0)
    steps = np.arange(-512, 513)
    rows = np.zeros((len(steps) + 1, 2), np.float32)
    rows[0, 0] = 1
    rows[1:, 0] = steps / 512
    rows[1:, 1] = np.sqrt(1 - (steps / 512) ** 2)
    only_first = np.arange(len(rows))
    only_first[1:] = 1  # all but the first are one person: only pairs with the first are impostors
    found = pair_distribution(rows, only_first, [f"{i:04d}" for i in range(len(rows))], block=100)
    expected = np.ones(BINS, np.int64)
    expected[-1] = 2  # 1 has no bin above it
    assert found.different.tolist() == expected.tolist()


def test_cosines_that_leave_the_bins_by_the_length_of_the_rows_are_in_the_outer_ones() -> None:
    """What is read may be longer than 1 by a thousandth."""
    rows = np.float32([[1.0009, 0], [1.0009, 0], *[[-1.0009, 0]] * 9])
    found = pair_distribution(rows, np.full(11, -1), [f"{i:02}" for i in range(11)], block=4)
    assert found.different[0] == 2 * 9
    assert found.different[-1] == 1 + 9 * 8 // 2
    assert found.different.sum() == 11 * 10 // 2


def test_rates_are_those_of_scikit_learn_at_the_edges() -> None:
    rows, who, ids = sample(3, 300, 40, 64)
    found = pair_distribution(rows, who, ids, block=64)
    same, different = listed(rows, who, ids)
    scores = np.array([pair[0] for pair in same + different])
    genuine = np.arange(len(scores)) < len(same)
    fpr, tpr, thresholds = roc_curve(genuine, scores, drop_intermediate=False)
    ours = rates_at_edges(found.different), rates_at_edges(found.same)
    for b in range(1, BINS):  # the ends also hold what rounding put beyond them
        last = np.flatnonzero(thresholds >= found.edges[b])[-1]
        assert (ours[0][b], ours[1][b]) == (pytest.approx(fpr[last]), pytest.approx(tpr[last]))
    assert (ours[0][0], ours[0][-1], ours[1][0], ours[1][-1]) == (1, 0, 1, 0)


def test_no_pairs_have_no_rates() -> None:
    assert np.isnan(rates_at_edges(np.zeros(3, int))).all()


def test_thousands_of_equal_pairs_are_cut_by_id() -> None:
    rows = np.zeros((400, 8), np.float32)
    rows[:, 0] = 1
    ids = [f"v{i:03d}" for i in np.random.default_rng(0).permutation(400)]
    found = pair_distribution(rows, np.full(400, -1), ids, listed=5, block=32, workers=3)
    assert [(ids[a], ids[b]) for a, b in found.strongest.pairs] == [("v000", f"v00{i}") for i in range(1, 6)]
    assert len(found.weakest.scores) == 0
