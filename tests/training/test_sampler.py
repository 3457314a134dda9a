from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import UsageError
from vidface.training.sampler import epoch_batches, epoch_steps


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
