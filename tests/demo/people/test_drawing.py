"""Drawn people: the same call gives the same picture, and who it is does not depend on the view."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.demo.people.drawing import draw_person
from vidface.demo.people.noise import draw_thing, occlude
from vidface.demo.people.people import BEARDS, GLASSES, HAIR_STYLES, make_person

whole = st.integers(0, 2**31)


@settings(max_examples=25)
@given(person=whole, view=whole, seed=whole, scene=st.none() | whole)
def test_every_number_gives_a_picture(person: int, view: int, seed: int, scene: int | None) -> None:
    frame = draw_person(person, view, seed=seed, scene=scene)
    assert frame.shape == (112, 112, 3)
    assert frame.dtype == np.uint8
    assert frame.std() > 8  # something is on it
    np.testing.assert_array_equal(frame, draw_person(person, view, seed=seed, scene=scene))


def test_another_process_draws_the_same() -> None:
    code = (
        "import hashlib; from vidface.demo.people.drawing import draw_person;"
        "from vidface.demo.people.noise import occlude;"
        "print(hashlib.sha256(b''.join(draw_person(p, 5, seed=9).tobytes() for p in range(6))"
        "+ occlude(draw_person(1, 3, seed=9), 3, seed=9).tobytes()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    words = [sys.executable, "-c", code]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    pictures = b"".join(draw_person(p, 5, seed=9).tobytes() for p in range(6))
    here = pictures + occlude(draw_person(1, 3, seed=9), 3, seed=9).tobytes()
    assert told.stdout.strip() == hashlib.sha256(here).hexdigest()


def test_each_number_matters() -> None:
    base = draw_person(1, 2, seed=3, scene=4).astype(int)
    for person, view, seed, scene in (
        (2, 2, 3, 4),
        (1, 3, 3, 4),
        (1, 2, 4, 4),
        (1, 2, 3, 5),
        (1, 2, 3, None),
    ):
        assert np.abs(base - draw_person(person, view, seed=seed, scene=scene)).mean() > 5


def test_pictures_of_one_scene_share_the_background() -> None:
    def corner(view: int, scene: int) -> float:
        return float(draw_person(0, view, seed=1, scene=scene)[:12, :8].mean())

    within = np.std([[corner(v, s) for v in range(6)] for s in range(8)], axis=1).mean()
    between = np.std([np.mean([corner(v, s) for v in range(6)]) for s in range(8)])
    assert between > 2 * within


def test_all_looks_occur_and_people_differ() -> None:
    people = [make_person(number, seed=5) for number in range(300)]
    assert {p.hair_style for p in people} == set(HAIR_STYLES)
    assert {p.beard for p in people} == set(BEARDS)
    assert {p.glasses for p in people} == set(GLASSES)
    assert {bool(p.freckles) for p in people} == {True, False}
    for name in vars(people[0]):
        assert len({repr(getattr(p, name)) for p in people}) > 1, f"{name} is the same for everybody"
    assert make_person(7, seed=5) == people[7]
    assert make_person(7, seed=6) != people[7]


def test_a_covered_face_is_mostly_covered() -> None:
    shares = []
    for number in range(40):
        frame = draw_person(number, 0, seed=8)
        kept = frame.copy()
        covered = occlude(frame, number, seed=8)
        np.testing.assert_array_equal(frame, kept)
        inner = np.s_[30:100, 25:87]  # where the face is
        shares.append(np.mean(np.abs(frame[inner].astype(int) - covered[inner]).max(axis=2) > 20))
        np.testing.assert_array_equal(covered, occlude(frame, number, seed=8))
    assert np.mean(shares) > 0.6
    assert min(shares) > 0.3


def test_things_differ_by_their_number() -> None:
    thing = draw_thing(4, seed=1)
    np.testing.assert_array_equal(thing, draw_thing(4, seed=1))
    assert thing.shape == (112, 112, 3)
    assert np.abs(thing.astype(int) - draw_thing(5, seed=1)).mean() > 5
