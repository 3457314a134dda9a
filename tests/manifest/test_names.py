"""Names that mean the same, by hand."""

from __future__ import annotations

import unicodedata

import pytest

from vidface.manifest.names import NameIndex, without_suffix

E = "\u00e9"  # one character; its other form is a letter and an accent
APART = unicodedata.normalize("NFD", E)


@pytest.mark.parametrize(
    "suffix",
    [
        *("mp4", "avi", "mov", "mkv", "webm", "mpg", "mpeg", "m4v", "3gp", "ts", "mts", "m2ts", "vob", "flv"),
        *("wmv", "ogv", "jpg", "jpeg", "png", "MP4", "Mov", "JPG", "wav"),
    ],
)
def test_a_name_is_found_with_the_suffix_and_without(suffix: str) -> None:
    assert without_suffix(f"Ann/1.{suffix}") == "Ann/1"
    assert NameIndex(["Bob/1", "Ann/1"]).find(f"Ann/1.{suffix}") == [1]
    assert NameIndex(["Bob/1", f"Ann/1.{suffix}"]).find("Ann/1") == [1]


@pytest.mark.parametrize("name", ["a.b", "v1.0", "Mr. Smith", "mp4", ".", ""])
def test_what_is_no_suffix_stays(name: str) -> None:
    assert without_suffix(name) == name


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        ([f"{E}/1"], f"{APART}/1", [0]),
        ([f"{APART}/1"], f"{E}/1", [0]),
        ([f"{APART}/1.jpg"], f"{E}/1.png", [0]),
        ([f"{E}/1", f"{APART}/1"], f"{APART}/1", [1]),  # exactly that one is there
        (["e/1"], f"{E}/1", []),  # an accent is no matter of form
        (["Ann/1"], "ann/1", []),  # nor is case
        (["Ann/1"], "./Ann/1.jpg", [0]),
        (["Ann/1"], ".\\Ann\\1.jpg", [0]),
        (["Ann\\1", "Ann/1"], "Ann\\1", [0]),
        (["a.jpg", "a.png"], "a", [0, 1]),  # it does not say which
        (["a", "a.jpg"], "a", [0]),
        ([], "a", []),
    ],
)
def test_what_a_name_may_mean(names: list[str], wanted: str, found: list[int]) -> None:
    assert NameIndex(names).find(wanted) == found


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["aligned images/Ann_1.jpg", "aligned images/Bob_1.jpg"], "Ann_1.jpg", [0]),
        (["Ann_0001"], "Ann/Ann_0001.jpg", [0]),
        (["x/Ann_1", "y/Ann_1"], "Ann_1", [0, 1]),
        (["Ann_1", "y/Ann_1"], "Ann_1", [0]),
    ],
)
def test_the_last_part_alone(names: list[str], wanted: str, found: list[int]) -> None:
    assert NameIndex(names).find(wanted, flat=True) == found
