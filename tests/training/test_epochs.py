from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import UsageError
from vidface.training.epochs import epoch_batches, epoch_steps, plateau_drops, rate
from vidface.training.recipe import Plateau, Stage


def labels_of(counts: list[int], seed: int = 0) -> np.ndarray:
    """int64 [N], in no order, with so many images of each person."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 9), st.integers(0, 2**40))
def test_shuffled_takes_each_image_at_most_once(counts: list[int], batch: int, seed: int) -> None:
    labels = labels_of(counts)
    if len(labels) < batch:
        with pytest.raises(
            UsageError, match=f"^{len(labels)} training images do not fill one batch of {batch}$"
        ):
            epoch_batches(labels, batch, None, [seed, 0, 0])
        return
    found = epoch_batches(labels, batch, None, [seed, 0, 0])
    assert found.shape == (len(labels) // batch, batch) and found.dtype == np.int64
    assert len(np.unique(found)) == found.size
    assert found.min() >= 0 and found.max() < len(labels)
    assert len(found) == epoch_steps(labels, batch, None)


@st.composite
def pk_epochs(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Images of each person, people a batch, images of each; often as many people as a batch takes."""
    apart, each = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    people = draw(st.integers(apart, apart + 4))
    counts = draw(st.lists(st.integers(1, 14), min_size=people, max_size=people))
    counts[0] += max(0, apart * each - sum(counts))
    return counts, apart, each


@settings(max_examples=300)
@given(pk_epochs(), st.integers(0, 2**40))
def test_pk_batches(drawn: tuple[list[int], int, int], seed: int) -> None:
    counts, apart, each = drawn
    labels = labels_of(counts)
    found = epoch_batches(labels, apart * each, each, [seed, 1, 2])
    assert found.shape == (len(labels) // (apart * each), apart * each)
    groups = found.reshape(-1, each)
    whose = labels[groups]
    assert (whose == whose[:, :1]).all(), "a group is of one person"
    people = whose[:, 0]
    for batch in people.reshape(-1, apart):
        assert len(set(batch.tolist())) == apart, "nobody comes twice in a batch"

    # All people in turn: nobody's turn comes much more often than another's.
    turns = np.bincount(people, minlength=len(counts))
    assert turns.max() - turns.min() <= 2
    assert turns.min() >= len(people) // len(counts) - 1

    # Dealt like cards: after any number of cards no image of a person is ahead of another by more than one.
    dealt = np.zeros(len(labels), int)
    for group in groups:
        for image in group:
            dealt[image] += 1
            own = dealt[labels == labels[image]]
            assert own.max() - own.min() <= 1


def test_everybody_comes_once_before_anybody_comes_again() -> None:
    """But for the seam of two rounds, where somebody may wait for the next batch."""
    labels = np.repeat(np.arange(12), 8)
    people = labels[epoch_batches(labels, 8, 2, [3, 0, 0])].reshape(-1, 2)[:, 0]
    assert sorted(people[:12].tolist()) == list(
        range(12)
    )  # 12 people are 3 batches of 4: no seam within a batch
    assert sorted(people[12:24].tolist()) == list(range(12))


@pytest.mark.parametrize("each", [None, 2])
def test_the_seed_decides(each: int | None) -> None:
    labels = labels_of([6] * 10)
    first = epoch_batches(labels, 8, each, [1, 2, 3])
    assert np.array_equal(first, epoch_batches(labels.copy(), 8, each, [1, 2, 3]))
    for other in ([0, 2, 3], [1, 0, 3], [1, 2, 0]):
        assert not np.array_equal(first, epoch_batches(labels, 8, each, other))


def test_draws_stay_as_they_are() -> None:
    """A run that was begun goes on after an update: these batches were drawn by the first version."""
    labels = np.repeat(np.arange(5), [1, 2, 3, 4, 5])
    assert epoch_batches(labels, 5, None, [1, 0, 2]).tolist() == SHUFFLED
    assert epoch_batches(labels, 6, 2, [1, 0, 2]).tolist() == PK


SHUFFLED = [[6, 14, 10, 8, 1], [9, 7, 12, 11, 5], [3, 13, 2, 0, 4]]
PK = [[1, 2, 8, 7, 0, 0], [3, 5, 13, 14, 9, 6]]


def test_too_few_people() -> None:
    said = "^a batch of 8 with 2 images a person needs 4 people, but 3 are trained on$"
    for function in (epoch_steps, lambda *given: epoch_batches(*given, [0])):
        with pytest.raises(UsageError, match=said):
            function(labels_of([5, 5, 5]), 8, 2)
        with pytest.raises(UsageError, match="15 training images do not fill one batch of 16"):
            function(labels_of([5, 5, 5]), 16, 2)


def rates(steps: int, drops: int = 0, **fields: Any) -> list[float]:
    stage = Stage(name="a", epochs=1, **{"learning_rate": 0.8, **fields})
    return [rate(stage, step, steps, drops) for step in range(steps)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"schedule": "constant"}, [0.8] * 8),
        ({"schedule": "constant", "warmup": 0.5}, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8]),
        ({"schedule": "step", "milestones": (0.5, 0.75)}, [0.8] * 4 + [0.08] * 2 + [0.008] * 2),
        ({"schedule": "step", "milestones": (0.5,), "warmup": 0.25}, [0.4, 0.8, 0.8, 0.8] + [0.08] * 4),
        (
            {"schedule": "cosine"},
            [0.8, 0.769551813, 0.682842712, 0.553073373, 0.4, 0.246926627, 0.117157288, 0.030448187],
        ),
        (  # the half circle over the last four steps
            {"schedule": "cosine", "warmup": 0.5},
            [0.2, 0.4, 0.6, 0.8, 0.8, 0.682842712, 0.4, 0.117157288],
        ),
        # A share that is no whole number of steps: three of them rise, the third to the top.
        ({"schedule": "constant", "warmup": 0.3}, [0.8 / 3, 1.6 / 3, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]),
    ],
)
def test_worked_out_by_hand(fields: dict[str, Any], expected: list[float]) -> None:
    assert rates(8, **fields) == pytest.approx(expected, abs=1e-9)


def test_drops() -> None:
    plateau = Plateau(patience=1, factor=0.5, drops=3)
    assert rates(2, drops=0, schedule="constant", plateau=plateau) == [0.8, 0.8]
    assert rates(2, drops=2, schedule="constant", plateau=plateau) == pytest.approx([0.2, 0.2])


@given(
    st.integers(1, 300),
    st.floats(0, 0.99),
    st.sampled_from(
        [{"schedule": "cosine"}, {"schedule": "constant"}, {"schedule": "step", "milestones": (0.5,)}]
    ),
)
def test_rises_then_falls_and_stays_within(steps: int, warmup: float, fields: dict[str, Any]) -> None:
    found = rates(steps, warmup=warmup, **fields)
    assert all(0 < value <= 0.8 * (1 + 1e-9) for value in found)
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)


def naive_plateau(rule: Plateau, measured: list[float]) -> tuple[int, bool]:
    """The rule as its docstring says it, told epoch by epoch."""
    drops, since = 0, 0  # epochs since the last better one, or since the last drop
    for epoch, value in enumerate(measured):
        if all(value > before for before in measured[:epoch]) and value > -math.inf:
            since = 0
        else:
            since += 1
        if since == rule.patience and drops < rule.drops:
            drops, since = drops + 1, 0
        elif since == rule.patience:
            return drops, True
    return drops, False


@given(
    st.lists(st.sampled_from([-math.inf, 0.0, 0.25, 0.5, 0.75, 1.0]), max_size=25),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_the_plateau_rule(measured: list[float], patience: int, drops: int) -> None:
    rule = Plateau(patience=patience, drops=drops)
    assert plateau_drops(rule, measured) == naive_plateau(rule, measured)
