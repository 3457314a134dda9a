"""Identification among distractors against loops over all searches."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics import mate_search as module
from vidface.scores.metrics.fpr_rules import FPR_RULES, FprRule
from vidface.scores.metrics.mate_search import best_distractor, search_among_distractors

TARGETS = ["0.5", "1/3", "0.12", "0.05", "1e-3"]


def quantised(seed: int, images: int, people: int, others: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of four halves, some of zero: scores are quarters, so nearly all of them tie."""
    random = np.random.default_rng(seed)
    rows, far = np.zeros((images, 8)), np.zeros((others, 8))
    for matrix in (rows, far):
        for row in matrix:
            row[random.choice(8, 4, replace=False)] = random.choice([-0.5, 0.5], 4)
    who = random.integers(0, people, images)
    centres = rows[:people] if images >= people else rows
    rows = np.where((random.random(images) < 0.6)[:, None], centres[who % max(len(centres), 1)], rows)
    rows[random.random(images) < 0.05] = 0
    return rows.astype(np.float32), who, far.astype(np.float16)


def by_loops(
    rows: np.ndarray, who: np.ndarray, far: np.ndarray, target: str, rule: FprRule
) -> tuple[float | None, float | None, float | None]:
    """(TPR, FPR reached, rank-1) from every search one at a time."""
    wide = far.astype(np.float32)
    best = [max(float(np.sum(row * other)) for other in wide) for row in rows]
    searches = [  # (the mate's score, the best distractor's)
        (float(np.sum(rows[i] * rows[j])), best[i])
        for i in range(len(rows))
        for j in range(len(rows))
        if i != j and who[i] == who[j]
    ]
    if not searches:
        return None, None, None
    rank1 = sum(score > other for score, other in searches) / len(searches)
    aim = Fraction(target) * len(best)
    if aim < 1:
        return None, None, rank1
    # Every threshold that accepts another number of searches without a mate: (accepted, TPR), TPR as large as can be.
    points = []
    for level in [*sorted(set(best), reverse=True), -np.inf]:
        accepted = sum(score > level for score in best)
        succeed = sum(score > other and score > level for score, other in searches)
        points.append((accepted, succeed / len(searches)))
    place = max(i for i, (accepted, _) in enumerate(points) if accepted <= aim)
    below, tpr = points[place]
    if rule == "at-most":
        return tpr, below / len(best), rank1
    above, _ = points[place + 1]
    if rule == "nearest":
        further = above - aim <= aim - below
        return points[place + further][1], points[place + further][0] / len(best), rank1
    level = sorted(set(best), reverse=True)[
        place
    ]  # accepted as well: what is above it, and what ties with it
    with_ties = sum(score > other and score >= level for score, other in searches) / len(searches)
    return tpr + float((aim - below) / (above - below)) * (with_ties - tpr), float(Fraction(target)), rank1


@settings(max_examples=60)
@given(
    st.tuples(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 8), st.integers(1, 40)),
    st.sampled_from(FPR_RULES),
    st.sampled_from(["cpu", "cpu:0"]),  # the second is torch's name for the same
    st.sampled_from([(1, 1, 1), (3, 7, 2), (256, 16_384, 3)]),
)
def test_equals_loops_over_all_searches(
    sizes: tuple[int, int, int, int], rule: FprRule, device: str, blocks: tuple[int, int, int]
) -> None:
    rows, who, far = quantised(*sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MATES", blocks[0])
        patch.setattr(module, "DISTRACTORS", blocks[1])
        found = search_among_distractors(rows, who, far, TARGETS, rule=rule, workers=blocks[2], device=device)
    assert found.mated == sum(int(a == b) for a in who for b in who) - len(who)
    assert found.unmated == len(rows)
    for t, target in enumerate(TARGETS):
        tpr, fpr, rank1 = by_loops(rows, who, far, target, rule)
        assert found.rank1 == (None if rank1 is None else pytest.approx(rank1, abs=1e-12))
        if tpr is None:
            assert found.tpr[t] is found.fpr[t] is found.threshold[t] is None
            continue
        assert found.tpr[t] == pytest.approx(tpr, abs=1e-12)
        assert found.fpr[t] == pytest.approx(fpr, abs=1e-12)
        assert found.hits_by_identity[t].sum() == pytest.approx(tpr * found.mated, abs=1e-6)
        assert (found.threshold[t] is None) == (rule == "interpolated")
    assert found.mated_by_identity.tolist() == [
        int((who == person).sum() * ((who == person).sum() - 1)) for person in sorted(set(who.tolist()))
    ]


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_the_best_distractor_to_the_last_bit(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    rows, far = (normalise_rows(random.standard_normal((count, 96))) for count in (150, 900))
    far[300:600] = far[0]
    far[300:600, 0] += np.float32(2**-26) * np.arange(300)  # products hardly tell them apart
    rows[:50] = normalise_rows(far[0] + 0.05 * random.standard_normal((50, 96)))
    expected = (rows.astype(np.float64) @ far.T.astype(np.float64)).max(axis=1).astype(np.float32)
    for workers, block in ((1, 64), (3, 100), (2, 16_384)):
        monkeypatch.setattr(module, "DISTRACTORS", block)
        found = best_distractor(rows, far, workers=workers, device=device)
        assert found.tobytes() == expected.tobytes()


def test_by_hand() -> None:
    """Two people; a distractor stands between the images of the first."""
    rows = np.float32([[1, 0, 0], [0.8, 0.6, 0], [0, 0, 1], [0, 0.6, 0.8]])
    far = np.float32([[0, 1, 0], [0.96, 0.28, 0]])
    # Best distractors: 0.96, 0.936, 0, 0.6. Mates: 0.8 (twice) and 0.8 (twice): only the second person's come first.
    found = search_among_distractors(rows, [0, 0, 7, 7], far, ["0.25", "0.6"])
    assert found.rank1 == 0.5
    assert found.first_by_identity.tolist() == [0, 2]
    assert found.mated_by_identity.tolist() == [2, 2]
    assert found.tpr == [0.0, 0.5]  # one search may fail: the threshold lies above 0.936; two may: above 0.6
    assert found.fpr == [0.25, 0.5]


def test_a_distractor_as_good_as_the_mate_is_no_success() -> None:
    rows = np.float32([[1, 0], [0, 1], [1, 0], [1, 0]])
    found = search_among_distractors(rows, [0, 0, 1, 1], np.float32([[1, 0]]), ["0.9"])
    assert (found.rank1, found.tpr) == (0.0, [0.0])


@pytest.mark.parametrize(
    ("people", "distractors", "target", "rank1", "said"),
    [
        ([0, 0, 1], 0, "0.5", None, "is not measured: there are no distractors to search among"),
        ([0, 1, 2], 3, "0.5", None, "is not measured: no identity has two images, so no search has a mate"),
        (
            [0, 0, 1],
            3,
            "0.1",
            0,
            "TPR at FPR 0.1 is not measured: 3 searches without a mate are fewer than 1/0.1",
        ),
    ],
)
def test_what_cannot_be_measured_is_said(
    people: list[int], distractors: int, target: str, rank1: float | None, said: str
) -> None:
    rows = np.eye(3, dtype=np.float32)
    found = search_among_distractors(rows, people, rows[:distractors], [target])
    assert (found.tpr, found.rank1) == ([None], rank1)
    assert found.warnings == [f"identification {said}"]
