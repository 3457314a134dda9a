"""Names without an object each, what is left out, selections, and images a person: against plain lists and loops."""

from __future__ import annotations

import pickle
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.training.datasets.check import long_tail
from vidface.training.datasets.images import (
    ImageSet,
    LeftOut,
    Names,
    cut_long_tail,
    packed_names,
    select,
    usable_name,
)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=8), st.data())
def test_packed_and_chosen_names_are_the_list_they_were_made_of(
    names: list[str], data: st.DataObject
) -> None:
    packed = pickle.loads(pickle.dumps(packed_names(names)))  # noqa: S301  # as it goes to workers
    assert list(packed) == names and len(packed) == len(names)
    assert [packed[i] for i in range(-len(names), 0)] == names
    assert list(packed[1:5:2]) == names[1:5:2]
    places = data.draw(st.lists(st.sampled_from(range(len(names))), max_size=5)) if names else []
    chosen = Names(packed.__getitem__, np.array(places, np.int64))
    assert list(chosen) == [names[place] for place in places]
    assert list(chosen[::-1]) == [names[place] for place in places][::-1]


def test_numbered_names_and_what_is_beyond_the_end() -> None:
    names = Names("record {}".format, np.array([5, 1, 7]))
    assert list(names) == ["record 5", "record 1", "record 7"] and "record 7" in names
    for kind in (names, packed_names("abc")):
        for place in (3, -4):
            with pytest.raises(IndexError):
                kind[place]


def test_what_is_left_out_is_counted_by_reason_with_the_first() -> None:
    left_out = LeftOut()
    for reason, name in (("links", "b"), ("links", "a"), ("hidden files", "\x1b[31m")):
        left_out.add(reason, name)
    assert left_out.lines() == ("left out: 2 links, first 'b'", "left out: 1 hidden files, first '\\x1b[31m'")


def test_names_that_cannot_stand_on_a_line() -> None:
    assert all(map(usable_name, ("Zoë Ünal/2 (1).jpg", "a\u3000b", "a\xa0b")))
    assert not any(map(usable_name, ("a\nb", "a\x1bb", b"\xff".decode(errors="surrogateescape"), "a\u2028b")))


def people_with(counts: list[int]) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    np.random.default_rng(0).shuffle(labels)
    people = tuple(f"p{person}" for person in range(len(counts)))
    return ImageSet(people, labels, [f"p{label}/{i}" for i, label in enumerate(labels)], bytes, "memory")


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.data())
def test_a_selection_against_a_plain_one(counts: list[int], data: st.DataObject) -> None:
    images = people_with(counts)
    keep = data.draw(st.lists(st.sampled_from(range(len(images.labels))), unique=True))
    chosen = select(images, np.array(keep))
    left = [f"p{person}" for person in sorted({images.labels[i] for i in keep})]
    assert list(chosen.identities) == left
    assert list(chosen.names) == [images.names[i] for i in keep]
    assert [left[label] for label in chosen.labels] == [name.split("/")[0] for name in chosen.names]
    assert [chosen.read(place) for place in range(len(keep))] == [bytes(i) for i in keep]


@pytest.mark.parametrize(("keep", "error"), [([0, 0], ValueError), ([-1], IndexError), ([1], IndexError)])
def test_a_selection_of_what_is_not_there_or_twice(keep: list[int], error: type[Exception]) -> None:
    with pytest.raises(error):
        select(people_with([1]), np.array(keep))


def test_images_a_person_by_hand() -> None:
    tail = long_tail(np.array([1, 1, 2, 6, 50]))
    found = (tail.people, tail.images, tail.fewest, tail.median, tail.mean, tail.most)
    assert found == (5, 60, 1, 2.0, 12.0, 50)
    cuts = [(1, 5, 60), (2, 3, 58), (3, 2, 56), (5, 2, 56), (10, 1, 50), (20, 1, 50), (50, 1, 50)]
    assert [(cut.minimum, cut.people, cut.images) for cut in tail.cuts] == cuts


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 13))
def test_cuts_against_a_plain_loop(counts: list[int], minimum: int) -> None:
    images = people_with(counts)
    tail, cut = long_tail(np.array(counts)), cut_long_tail(images, minimum)
    assert tail.median == statistics.median(counts) and tail.mean == pytest.approx(statistics.mean(counts))
    kept = [f"p{person}" for person, count in enumerate(counts) if count >= minimum]
    names = [name for name in images.names if name.split("/")[0] in kept]
    assert list(cut.identities) == kept and list(cut.names) == names
    assert [cut.identities[label] for label in cut.labels] == [name.split("/")[0] for name in names]
    for row in tail.cuts:
        stays = [count for count in counts if count >= row.minimum]
        assert (row.people, row.images) == (len(stays), sum(stays))
