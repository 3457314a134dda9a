from __future__ import annotations

import tracemalloc
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np
import pytest
from exact_rows import completed, scores_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from vidface.arrays import on_grid
from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics.all_pairs import VerificationResult, tpr_of_all_pairs

TARGETS = ["0.5", "1e-1", "3e-2", "1e-2", "1e-3", "1e-4"]


def exact_data(seed: int, videos: int, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Few different values, so that many pairs tie."""
    random = np.random.default_rng(seed)
    centres = random.integers(-2, 3, (people, 16))
    who = random.integers(0, people, videos)
    rows = centres[who] + random.integers(-1, 2, (videos, 16))
    rows[random.random(videos) < 0.05] = 0
    who[random.random(videos) < 0.2] = -1
    return completed(rows / 64), who


def sorted_out(
    rows: np.ndarray, who: np.ndarray, far: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of all impostor pairs, highest first, and of all genuine pairs."""
    upper = np.triu_indices(len(rows), 1)
    scores = scores_of(rows, rows)[upper]
    genuine = ((who[:, None] == who) & (who >= 0))[upper]
    distant = np.empty(0, np.float32) if far is None else scores_of(rows, on_grid(far.astype(np.float32)))
    return np.sort(np.append(scores[~genuine], distant))[::-1], scores[genuine]


def check(result: VerificationResult, impostors: np.ndarray, genuine: np.ndarray) -> None:
    """The threshold is one step above the first impostor that must be refused."""
    assert (result.genuine_pairs, result.impostor_pairs) == (len(genuine), len(impostors))
    for target, threshold, tpr in zip(result.targets, result.threshold, result.tpr, strict=True):
        refused = impostors[int(Fraction(target) * len(impostors))]
        assert threshold == np.nextafter(refused, np.float32(2))
        assert tpr == (genuine > refused).mean()


def test_features_that_were_not_normalised_are_refused_not_scored() -> None:
    """Inner products of raw features give another TPR than their cosines: 0.22 where 0.63 is true."""
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(60), 5)
    raw = random.standard_normal((60, 64))[who] + 1.2 * random.standard_normal((300, 64))
    raw *= random.uniform(5, 20, (300, 1))
    with pytest.raises(
        ValueError, match=r"row 0 has length \d+\.?\d*, not 1 or 0 \(300 of 300 rows are wrong\)"
    ):
        tpr_of_all_pairs(raw, who, ["1e-3"])
    rows, columns = np.triu_indices(300, 1)
    truth, lengths = who[rows] == who[columns], np.linalg.norm(raw, axis=1)
    products = np.einsum("pd,pd->p", raw[rows], raw[columns])
    fpr, tpr, _ = roc_curve(truth, products / lengths[rows] / lengths[columns], drop_intermediate=False)
    found = tpr_of_all_pairs(normalise_rows(raw), who, ["1e-3"]).tpr[0]
    assert found == pytest.approx(tpr[fpr <= 1e-3][-1], abs=2 / truth.sum())
    of_products = roc_curve(truth, products, drop_intermediate=False)
    assert found > of_products[1][of_products[0] <= 1e-3][-1] + 0.1


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 200), st.integers(1, 250), st.randoms(use_true_random=False))
def test_neither_block_nor_order_matters(seed: int, videos: int, block: int, random) -> None:
    rows, who = exact_data(seed, videos, 10)
    whole = tpr_of_all_pairs(rows, who, TARGETS)
    order = list(range(videos))
    random.shuffle(order)
    other = tpr_of_all_pairs(rows[order], who[order], TARGETS, block=block)
    assert (other.tpr, other.threshold, other.warnings) == (whole.tpr, whole.threshold, whole.warnings)
    assert (other.hits_by_identity == whole.hits_by_identity).all()
    assert (other.pairs_by_identity == whole.pairs_by_identity).all()


@pytest.mark.parametrize("videos", [900, 2500])
def test_neither_threads_nor_block_nor_order_change_a_bit(videos: int) -> None:
    random = np.random.default_rng(4)
    who = random.integers(0, videos // 6, videos)
    rows = normalise_rows(
        random.standard_normal((videos // 6, 48))[who] + random.standard_normal((videos, 48))
    )
    whole = tpr_of_all_pairs(rows, who, TARGETS, workers=1)
    assert len(set(whole.threshold)) == len(TARGETS)
    check(whole, *sorted_out(rows, who))
    order = random.permutation(videos)
    for workers, block in ((2, 768), (3, 100), (7, 331)):
        other = tpr_of_all_pairs(rows[order], who[order], TARGETS, workers=workers, block=block)
        assert (other.tpr, other.threshold) == (whole.tpr, whole.threshold)
        assert (other.hits_by_identity == whole.hits_by_identity).all()


@pytest.mark.parametrize("mostly", [0, 350])
def test_many_ties(mostly: int) -> None:
    """And one person with most videos."""
    rows, who = exact_data(2, 700, 3 if mostly else 120)
    who[:mostly] = 0
    for block in (64, 100, 1024):
        check(tpr_of_all_pairs(rows, who, TARGETS, block=block), *sorted_out(rows, who))


def test_scores_that_rise_from_block_to_block() -> None:
    rows = completed(np.linspace(0.01, 1, 1500).astype(np.float32)[:, None])
    who = np.full(1500, -1)
    who[:2] = 7
    for order in (slice(None), slice(None, None, -1)):
        result = tpr_of_all_pairs(rows[order], who[order], ["1e-2", "1e-3"], block=128)
        check(result, *sorted_out(rows, who))


@pytest.mark.parametrize("same", [0, 1])
def test_all_scores_are_equal(same: int) -> None:
    """Nothing is kept then: 1.1 million scores are one number."""
    rows = np.full((1500, 3), same / np.sqrt(3), np.float32)
    result = tpr_of_all_pairs(rows, [0, 0, *[-1] * 1498], TARGETS)
    one = rows[0, 0] * rows[0, 0]
    assert result.threshold == [float(np.nextafter(one + one + one, np.float32(2)))] * len(TARGETS)
    assert result.tpr == [0.0] * len(TARGETS)


def test_distractors_on_disk(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(100), 6)
    rows = normalise_rows(random.standard_normal((100, 64))[who] + random.standard_normal((600, 64)))
    far = normalise_rows(random.standard_normal((5000, 64))).astype(np.float16)
    far.tofile(tmp_path / "far")
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file["far"] = far
    mapped = np.memmap(tmp_path / "far", np.float16, "r", shape=far.shape)
    with h5py.File(tmp_path / "far.h5") as file:
        for distractors in (far, mapped, file["far"]):
            result = tpr_of_all_pairs(rows, who, ["1e-2", "1e-4", "1e-6"], distractors=distractors, workers=2)
            check(result, *sorted_out(rows, who, far))


def test_distractors_must_be_of_unit_length() -> None:
    far = np.eye(8, dtype=np.float32)
    far[5] *= 1.1
    for wrong, message in ((far, "distractors: row 5 has length 1.1, not 1 or 0"), (far[0], r"\[M, 8\]")):
        with pytest.raises(ValueError, match=message):
            tpr_of_all_pairs(np.eye(8, dtype=np.float32), [0] * 4 + [1] * 4, ["0.2"], distractors=wrong)


def test_counts_by_identity() -> None:
    rows, who = exact_data(5, 120, 9)
    who[who == 3] = -1
    who[who >= 0] *= 10  # any numbers from 0 up
    result = tpr_of_all_pairs(rows, who, TARGETS, block=50)
    people = sorted(set(who[who >= 0].tolist()))
    scores = rows @ rows.T
    assert result.hits_by_identity.shape == (len(TARGETS), len(people))
    for column, person in enumerate(people):
        own = np.flatnonzero(who == person)
        pairs = [(i, j) for i, j in combinations(own, 2)]
        assert result.pairs_by_identity[column] == len(pairs)
        for t, threshold in enumerate(result.threshold):
            hits = 0 if threshold is None else sum(scores[i, j] >= threshold for i, j in pairs)
            assert result.hits_by_identity[t, column] == hits
    for t, value in enumerate(result.tpr):
        if value is not None:
            assert value == result.hits_by_identity[t].sum() / result.pairs_by_identity.sum()


def test_allowed_false_accepts_are_counted_exactly() -> None:
    """0.29 * 100 is 28.999... in floating point, one false accept too few."""
    assert int(0.29 * 100) == 28
    length = np.arange(1, 16) / 32
    rows = completed(length[:, None])
    who = np.full(15, -1)
    who[[1, 4, 7]], who[[2, 6]], who[[10, 14]] = 0, 1, 2  # 5 of the 105 pairs are genuine
    result = tpr_of_all_pairs(rows, who, ["0.29", "0.57"])
    assert result.impostor_pairs == 100
    assert result.fpr == [0.29, 0.56]  # two that tie are refused
    check(result, *sorted_out(rows, who))


def test_videos_without_identity_are_impostors_to_each_other() -> None:
    rows = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
    result = tpr_of_all_pairs(rows, [4, 4, -1, -1, -1], ["0.2", "0.1"])
    assert (result.genuine_pairs, result.impostor_pairs) == (1, 9)
    assert result.tpr == [1.0, None]
    assert result.warnings == ["TPR at FPR 0.1 is not measured: 9 impostor pairs are fewer than 1/0.1"]
    # One false accept of nine is allowed: the pair of equal strangers. The next impostor has 0.
    assert result.threshold[0] == np.nextafter(np.float32(0), np.float32(1))


def test_one_step_above_the_refused_impostor_is_accepted() -> None:
    step = np.nextafter(np.float32(0.5), np.float32(1))
    rows = completed(np.float32([[1, 0], [step, 0], [0.5, 0], [0.75, 0.5]]))
    # Impostors: 0.75, 0.5 (refused), step * 0.75, step / 2, 0.375; one of five may be accepted.
    result = tpr_of_all_pairs(rows, [0, 0, 1, 2], ["0.2"])
    assert result.threshold == [float(step)]
    assert result.tpr == [1.0]


def test_zero_rows_stay_in_the_pairs() -> None:
    rows = np.float32([[1, 0], [0, 0], [-1, 0], [0, 1]])
    result = tpr_of_all_pairs(rows, [0, 0, 1, 1], ["0.3"])
    assert (result.genuine_pairs, result.impostor_pairs) == (2, 4)
    assert result.tpr == [0.0]  # both genuine pairs score 0, as the refused impostor does
    assert result.hits_by_identity.tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("rows", "who", "pairs", "said"),
    [
        (
            np.eye(3),
            [0, 1, -1],
            (0, 3),
            "is not measured: no identity has two videos, so there are no genuine pairs",
        ),
        (
            np.ones((3, 1)),
            [2, 2, 2],
            (3, 0),
            "at FPR 1e-1 is not measured: 0 impostor pairs are fewer than 1/1e-1",
        ),
        (
            np.eye(0, 4),
            [],
            (0, 0),
            "is not measured: no identity has two videos, so there are no genuine pairs",
        ),
        (
            np.eye(1, 4),
            [0],
            (0, 0),
            "is not measured: no identity has two videos, so there are no genuine pairs",
        ),
    ],
    ids=["no genuine pairs", "no impostors", "no videos", "one video"],
)
def test_what_cannot_be_measured(rows: np.ndarray, who: list[int], pairs: tuple[int, int], said: str) -> None:
    result = tpr_of_all_pairs(rows, np.array(who, np.int64), ["1e-1"])
    assert result.tpr == result.threshold == [None]
    assert (result.genuine_pairs, result.impostor_pairs) == pairs
    assert result.warnings == [f"TPR {said}"]
    assert result.hits_by_identity.tolist() == [[0] * len({one for one in who if one >= 0})]


def test_memory_does_not_grow_with_the_pairs() -> None:
    random = np.random.default_rng(3)
    rows, who = normalise_rows(random.normal(size=(3000, 16))), random.integers(0, 750, 3000)
    tpr_of_all_pairs(rows[:50], who[:50], ["1e-1"])
    tracemalloc.start()
    tpr_of_all_pairs(rows, who, ["1e-4"], block=256, workers=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000  # 4.5 million pairs: the matrix would be 36 MB
