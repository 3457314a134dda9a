"""Listed pairs against scikit-learn and plain loops, with the traps that published numbers have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from vidface.scores.protocols.pairs import fold_numbers, pair_scores, score_folds, score_listed_pairs


def made(seed: int, people: int = 40, per_person: int = 4, pairs: int = 600) -> tuple[Any, ...]:
    """Embeddings around a direction a person, hard enough for errors; random pairs, half of them of one person."""
    random = np.random.default_rng(seed)
    person = np.repeat(np.arange(people), per_person)
    vectors = random.normal(size=(people, 12))[person] + random.normal(size=(len(person), 12)) * 0.8
    embeddings = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    first, second = random.integers(0, len(person), (2, pairs * 40))
    same = person[first] == person[second]
    picked = [np.flatnonzero(same & (first != second))[: pairs // 2], np.flatnonzero(~same)[: pairs // 2]]
    keep = random.permutation(np.concatenate(picked))
    assert len(keep) == pairs
    return embeddings, first[keep], second[keep], same[keep], (person[first[keep]], person[second[keep]])


def alone(pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Videos of nobody known, each by itself."""
    return np.arange(pairs), pairs + np.arange(pairs)


def test_scores_are_cosines_also_in_blocks_and_where_rows_are_zero() -> None:
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(30, 5)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    embeddings[[3, 4]] = 0
    first, second = random.integers(0, 30, (2, 9000))
    first[:2], second[:2] = [3, 3], [4, 5]
    scores, usable = pair_scores(embeddings, first, second)
    wanted = [
        float(np.dot(embeddings[a].astype(float), embeddings[b].astype(float)))
        for a, b in zip(first, second, strict=True)
    ]
    assert np.allclose(scores, wanted, rtol=0, atol=1e-6)
    assert usable.tolist() == [
        a not in (3, 4) and b not in (3, 4) for a, b in zip(first, second, strict=True)
    ]
    assert (scores[~usable] == 0).all() and not usable[0]


@pytest.mark.parametrize("seed", [1, 2])
def test_rates_against_scikit_learn(seed: int) -> None:
    embeddings, first, second, same, people = made(seed)
    scores, _ = pair_scores(embeddings, first, second)
    result = score_listed_pairs(scores, same, *people, ["0.1", "0.01", "0.001"])
    fpr, tpr, _ = roc_curve(same, scores, drop_intermediate=False)
    for target in (0.1, 0.01):
        best = np.flatnonzero(fpr <= target + 1e-12)[-1]
        assert result["tpr@fpr"][str(target)] == pytest.approx(tpr[best], abs=1e-12)
        assert result["fpr_reached"][str(target)] == pytest.approx(fpr[best], abs=1e-12)
        low, high = result["ci95"]["tpr@fpr"][str(target)]
        assert low < tpr[best] < high
    assert 0.3 < result["tpr@fpr"]["0.01"] < 0.99
    assert result["tpr@fpr"]["0.001"] is None and "TPR at FPR 0.001 is not measured" in result["warnings"][0]
    assert result["auc"] == pytest.approx(roc_auc_score(same, scores), abs=1e-12)
    gap = np.abs(1 - tpr - fpr)
    assert result["eer"] == pytest.approx(fpr[gap.argmin()], abs=2 / 300)
    for name in ("auc", "eer"):
        low, high = result["ci95"][name]
        assert low < result[name] < high
    assert result["counts"] == {"pairs": 600, "same": 300, "different": 300}


def test_the_nearest_rule_exceeds_the_target_and_says_so() -> None:
    """Of 14 impostors 0.12 is 1.68: one may be accepted; two is nearer, and takes more genuine pairs in."""
    scores = np.array([9.0, 7.0, 5.0, 8.0, 7.5, *range(-12, 0)])
    same = np.array([True] * 3 + [False] * 14)
    exact = score_listed_pairs(scores, same, *alone(17), ["0.12"])
    assert (exact["tpr@fpr"]["0.12"], exact["fpr_reached"]["0.12"]) == (1 / 3, 1 / 14)
    nearest = score_listed_pairs(scores, same, *alone(17), ["0.12"], fpr_rule="nearest")
    assert (nearest["tpr@fpr"]["0.12"], nearest["fpr_reached"]["0.12"]) == (1.0, 2 / 14)
    between = score_listed_pairs(scores, same, *alone(17), ["0.12"], fpr_rule="interpolated")
    # Points (1/14, 1/3) and (2/14, 1/3): the two genuine pairs come in with the second impostor, at its own score.
    assert between["tpr@fpr"]["0.12"] == pytest.approx(1 / 3)
    assert between["threshold@fpr"]["0.12"] is None and between["ci95"]["tpr@fpr"]["0.12"] is None


def test_a_reversed_pair_is_the_same_pair() -> None:
    embeddings, first, second, same, people = made(3)
    one, other = pair_scores(embeddings, first, second)[0], pair_scores(embeddings, second, first)[0]
    assert (one == other).all()
    assert score_listed_pairs(one, same, *people) == score_listed_pairs(other, same, *people)


def test_intervals_draw_people_not_pairs() -> None:
    """All pairs of one person agree, so there are 4 values, not 400: the interval is as wide as that."""
    same = np.array([True] * 400 + [False] * 100)
    scores = np.where(np.arange(500) < 300, 0.9, 0.1) + np.linspace(0, 1e-6, 500)
    scores[400:] = np.linspace(-1, 0.5, 100)
    by_person = score_listed_pairs(scores, same, np.arange(500) // 100, np.arange(500) // 100, ["0.01"])
    low, high = by_person["ci95"]["tpr@fpr"]["0.01"]
    assert by_person["tpr@fpr"]["0.01"] == 0.75 and low <= 0.5 and high == 1.0
    unknown = score_listed_pairs(scores, same, *alone(500), ["0.01"])
    low, high = unknown["ci95"]["tpr@fpr"]["0.01"]
    assert 0.69 < low < 0.75 < high < 0.81  # 400 pairs by themselves


def lfw_by_loops(
    embeddings: Any, first: Any, second: Any, same: Any, split: list[Any]
) -> list[tuple[float, float]]:
    """Distances of the float32 rows themselves, and a loop over the 400 thresholds."""
    rows = embeddings.astype(float)
    distances = np.array([np.sum((rows[a] - rows[b]) ** 2) for a, b in zip(first, second, strict=True)])
    found = []
    for train, test in split:
        best, chosen = -1.0, 0.0
        for threshold in np.arange(0, 4, 0.01):
            right = float(np.mean((distances[train] < threshold) == same[train]))
            if right > best:
                best, chosen = right, float(threshold)
        found.append((float(np.mean((distances[test] < chosen) == same[test])), chosen))
    return found


def test_ten_folds_in_order_against_scikit_learn() -> None:
    embeddings, first, second, same, _ = made(4)
    scores, _ = pair_scores(embeddings, first, second)
    result = score_folds(scores, same, fold_numbers(None, len(same)))
    wanted = lfw_by_loops(embeddings, first, second, same, list(KFold(10, shuffle=False).split(first)))
    assert [row["accuracy"] for row in result["folds"]] == pytest.approx([a for a, _ in wanted], abs=1e-12)
    assert [row["threshold"] for row in result["folds"]] == pytest.approx([t for _, t in wanted], abs=1e-12)
    assert result["accuracy"] == pytest.approx(np.mean([a for a, _ in wanted]), abs=1e-12)
    assert 0.8 < result["accuracy"] < 0.99
    assert [row["fold"] for row in result["folds"]] == list(range(1, 11))
    low, high = result["ci95"]["accuracy"]
    assert low < result["accuracy"] < high
    assert result["val@far"] is None and "VAL at FAR 1e-3 is not measured" in result["warnings"][-1]


def test_folds_of_the_list_and_no_threshold_of_its_own_fold() -> None:
    """The trap: with thresholds chosen on the very fold, the same pairs give a better number."""
    embeddings, first, second, same, _ = made(5, pairs=200)
    scores, _ = pair_scores(embeddings, first, second)
    folds = np.random.default_rng(1).integers(1, 5, 200)
    result = score_folds(scores, same, folds)
    split = [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in range(1, 5)]
    wanted = lfw_by_loops(embeddings, first, second, same, split)
    assert [(row["accuracy"], row["threshold"]) for row in result["folds"]] == [
        (pytest.approx(a, abs=1e-12), pytest.approx(t, abs=1e-12)) for a, t in wanted
    ]
    cheating = lfw_by_loops(embeddings, first, second, same, [(test, test) for _, test in split])
    assert np.mean([a for a, _ in cheating]) > result["accuracy"]


def test_a_zero_embedding_is_another_person_also_beside_another_zero() -> None:
    """Their squared distance would be 0 if it were taken of the rows: the best match of all."""
    scores = np.array([0.9, 0.0, 0.9, 0.0, 0.9, -0.2])
    same = np.array([True, False, True, False, True, False])
    embeddings = np.zeros((4, 2), np.float32)
    embeddings[0] = [1, 0]
    found, usable = pair_scores(embeddings, np.array([1]), np.array([2]))
    assert found.tolist() == [0.0] and not usable[0]
    result = score_folds(scores, same, np.array([1, 1, 2, 2, 3, 3]))
    assert result["accuracy"] == 1.0  # pairs of zeros lie at distance 2


def test_folds_of_one_kind_are_told() -> None:
    scores, same = np.linspace(1, -1, 20), np.arange(20) < 10
    result = score_folds(scores, same, fold_numbers(None, 20))
    assert "10 of 10 folds hold pairs of one kind only (fold 1, 2, " in result["warnings"][0]
    with pytest.raises(ValueError, match="9 pairs cannot be cut"):
        fold_numbers(None, 9)
