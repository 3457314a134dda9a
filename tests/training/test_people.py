from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from drawn_faces import place_of
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import UsageError
from vidface.training.datasets.images import ImageSet
from vidface.training.people import Divided, divide
from vidface.training.recipe import People

NAMES = [f"person {number}" for number in range(60)]


def image_set(counts: dict[str, int], seed: int = 0) -> ImageSet:
    """So many images of each, in no order, called NAME/NUMBER by when they come."""
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    labels = np.random.default_rng(seed).permutation(labels).astype(np.int64)
    people, names, seen = tuple(counts), [], Counter[str]()
    for label in labels:
        names.append(f"{people[label]}/{seen[people[label]]}")
        seen[people[label]] += 1
    return ImageSet(people, labels, names, lambda index: str(index).encode(), "the set")


def who(images: ImageSet | None) -> Counter[str]:
    """Images a person, by the names of the images, which must agree with the labels."""
    if images is None:
        return Counter()
    for name, label in zip(images.names, images.labels, strict=True):
        assert name.split("/")[0] == images.identities[label]
    return Counter(name.split("/")[0] for name in images.names)


def expected(counts: dict[str, int], people: People, seed: int) -> tuple[Counter[str], ...]:
    places = {name: place_of(name, seed) for name in counts}
    cut, split = people.images_per_person, people.validation + people.test
    training = {n: c for n, c in counts.items() if places[n] >= split and c >= people.min_images}
    validation = {n: min(c, cut) for n, c in counts.items() if places[n] < people.validation}
    test = {n: min(c, cut) for n, c in counts.items() if people.validation <= places[n] < split}
    return Counter(training), Counter(validation), Counter(test)


@settings(max_examples=150)
@given(
    st.lists(st.integers(1, 9), min_size=60, max_size=60),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.2, 0.4]),
    st.sampled_from([0.0, 0.3]),
    st.integers(1, 6),
    st.integers(2, 5),
)
def test_people_are_divided_by_name(
    sizes: list[int], seed: int, validation: float, test: float, fewest: int, most: int
) -> None:
    counts = dict(zip(NAMES, sizes, strict=True))
    people = People(min_images=fewest, validation=validation, test=test, images_per_person=most)
    wanted = expected(counts, people, seed)
    if len(wanted[0]) < 2 or any(
        share and max(held.values(), default=0) < 2
        for share, held in ((validation, wanted[1]), (test, wanted[2]))
    ):
        return  # an error; see below
    found = divide(image_set(counts, seed), people, seed)
    assert (who(found.training), who(found.validation), who(found.test)) == wanted
    assert (found.validation is None, found.test is None) == (validation == 0, test == 0)
    left = {n: c for n, c in counts.items() if place_of(n, seed) >= validation + test and n not in wanted[0]}
    assert (found.cut_people, found.cut_images) == (len(left), sum(left.values()))


def parts(found: Divided) -> dict[str, str]:
    sets = {"training": found.training, "validation": found.validation, "test": found.test}
    return {name: part for part, images in sets.items() for name in who(images)}


def test_another_person_moves_nobody() -> None:
    people = People(validation=0.3, test=0.3)
    before = parts(divide(image_set(dict.fromkeys(NAMES[:40], 3)), people, 5))
    counts = dict.fromkeys(["new at the front", *NAMES[:17], "in the middle", *NAMES[17:]], 3)
    after = parts(divide(image_set(counts), people, 5))
    assert len(before) == 40 and len(after) == 62
    assert {name: after[name] for name in before} == before
    assert set(before.values()) == {"training", "validation", "test"}


def test_the_first_images_of_a_held_out_person_are_kept_in_order() -> None:
    counts = dict.fromkeys(NAMES[:20], 6)
    held = divide(image_set(counts), People(validation=0.5, images_per_person=3), 0).validation
    assert held is not None
    assert {name.split("/")[1] for name in held.names} == {"0", "1", "2"}
    all_names = list(image_set(counts).names)
    assert sorted(held.names, key=all_names.index) == list(held.names)
    for index, name in enumerate(held.names):
        assert held.read(index) == str(all_names.index(name)).encode(), "a name goes with its own picture"


@pytest.mark.parametrize(
    ("count", "people", "said"),
    [
        (3, {"min_images": 4}, "^the set: 0 people with 4 images or more are left to train on: "),
        (1, {"min_images": 1}, "^the set: people.validation holds out nobody with two images"),
        (3, {"test": 1e-9}, "^the set: people.test holds out nobody with two images: raise it$"),
    ],
)
def test_sets_that_are_of_no_use(count: int, people: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        divide(image_set(dict.fromkeys(NAMES, count)), People(validation=0.2, **people), 0)
