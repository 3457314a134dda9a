"""Names without an object each are still a sequence of strings; what is left out is counted."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.training.datasets.names import LeftOut, NumberedNames, PackedNames, SelectedNames, usable_name

TEXTS = st.lists(st.text(st.characters(codec="utf-8"), max_size=6), max_size=8)


@settings(deadline=None)
@given(TEXTS, st.data())
def test_packed_and_selected_names_are_the_list_they_were_made_of(
    names: list[str], data: st.DataObject
) -> None:
    packed = pickle.loads(pickle.dumps(PackedNames(names)))  # noqa: S301  # as it goes to workers
    assert list(packed) == names and len(packed) == len(names)
    assert [packed[i] for i in range(-len(names), 0)] == names
    assert list(packed[1:5:2]) == names[1:5:2]
    places = data.draw(st.lists(st.sampled_from(range(len(names))), max_size=5)) if names else []
    selected = SelectedNames(packed, np.array(places, np.int64))
    assert list(selected) == [names[place] for place in places]
    assert list(selected[::-1]) == [names[place] for place in places][::-1]


def test_numbered_names() -> None:
    names = NumberedNames("record", np.array([5, 1, 7]))
    assert list(names) == ["record 5", "record 1", "record 7"]
    assert list(names[1:]) == ["record 1", "record 7"]
    assert "record 7" in names


@pytest.mark.parametrize("kind", [PackedNames(["a", "b"]), NumberedNames("record", np.array([1, 2]))])
def test_beyond_the_end_is_an_index_error(kind: PackedNames | NumberedNames) -> None:
    with pytest.raises(IndexError):
        kind[2]
    with pytest.raises(IndexError):
        kind[-3]


def test_what_is_left_out_is_counted_by_reason_with_the_first() -> None:
    left_out = LeftOut()
    for name in ("b", "a"):
        left_out.add("links", name)
    left_out.add("hidden files", "\x1b[31m")
    assert left_out.lines() == (
        "left out: 2 links, first 'b'",
        "left out: 1 hidden files, first '\\x1b[31m'",
    )


def test_names_that_cannot_stand_on_a_line() -> None:
    for name in ("Zoë Ünal/2 (1).jpg", "a\u3000b", "a\xa0b"):
        assert usable_name(name)
    for name in ("a\nb", "a\x1bb", b"\xff".decode(errors="surrogateescape"), "a\u2028b"):
        assert not usable_name(name)
