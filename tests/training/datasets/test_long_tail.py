"""Images a person, counted by hand and by plain loops."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.statistics import cut_long_tail, long_tail


def people_with(counts: list[int]) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(0).shuffle(labels)
    return ImageSet(
        identities=tuple(f"p{person}" for person in range(len(counts))),
        labels=labels,
        names=[f"p{label}/{i}" for i, label in enumerate(labels)],
        read=bytes,
        source="memory",
    )


def test_by_hand() -> None:
    tail = long_tail(people_with([1, 1, 2, 6, 50]))
    assert (tail.people, tail.images, tail.fewest, tail.median, tail.mean, tail.most) == (
        5,
        60,
        1,
        2.0,
        12.0,
        50,
    )
    assert [(cut.minimum, cut.people, cut.images) for cut in tail.cuts] == [
        (1, 5, 60),
        (2, 3, 58),
        (3, 2, 56),
        (5, 2, 56),
        (10, 1, 50),
        (20, 1, 50),
        (50, 1, 50),
    ]


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 13))
def test_cuts_against_a_plain_loop(counts: list[int], minimum: int) -> None:
    images = people_with(counts)
    tail, cut = long_tail(images), cut_long_tail(images, minimum)
    assert tail.median == statistics.median(counts) and tail.mean == pytest.approx(statistics.mean(counts))
    kept = [f"p{person}" for person, count in enumerate(counts) if count >= minimum]
    assert list(cut.identities) == kept
    names = [name for name in images.names if name.split("/")[0] in kept]
    assert list(cut.names) == names
    assert [cut.identities[label] for label in cut.labels] == [name.split("/")[0] for name in names]
    for row in tail.cuts:
        stays = [count for count in counts if count >= row.minimum]
        assert (row.people, row.images) == (len(stays), sum(stays))


def test_nothing_to_count_and_no_minimum() -> None:
    empty = ImageSet((), np.zeros(0, np.int64), [], bytes, "memory")
    with pytest.raises(ValueError, match="no images"):
        long_tail(empty)
    with pytest.raises(ValueError, match="min_images is 0"):
        cut_long_tail(empty, 0)
