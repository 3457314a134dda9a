"""Identities that are no person or one in several spellings are noticed; those of well-made sets are not."""

from __future__ import annotations

import csv
import io

import pytest

from vidface.manifest.identities import is_nobody, suspicions
from vidface.manifest.known_sets import known_names, read_known


def kinds(identities: list[str], splits: list[str] | None = None) -> list[str]:
    return [found.kind for found in suspicions(identities, splits or [""] * len(identities))]


NAMES = ["Ann Lee", "Bo Chen", "Carla Diaz"]
ONE_WORD = """
    nan NaN NAN None none NULL Null null nil N/A n/a n.a. <NA> #N/A NA unknown Unknown UNKNOWN _unknown un-known
    unidentified - -- — ? ??? _ . "" '' undefined missing (null) [none] nobody No-Body stranger Strangers distractor
    _distractors_ others noise background no_identity unlabelled 0 0.0 00 -1 -1.0 −1 －１ -99 unbekannt inconnu
    неизвестно 未知 不明 ｕｎｋｎｏｗｎ \u200bunknown ＮＡＮ
"""
VALUES = [*ONE_WORD.split(), "unknown person", "not known", "( )", "other people", "no face"]


@pytest.mark.parametrize("value", VALUES)
def test_what_is_written_for_nobody_is_noticed_among_names(value: str) -> None:
    (found,) = suspicions([*NAMES, value, *NAMES, value], [""] * 8)
    assert (found.kind, found.row, found.names) == ("missing-value", 3, [value])
    assert found.warning.startswith("2 of 8 videos have the identity ") and found.warning.share == 2 / 8


@pytest.mark.parametrize(
    "names",
    [
        [str(i) for i in range(12)],  # 0 is a person as any other
        [str(i) for i in (0, 3, 17, 400, 85741)],
        [f"{i:03}" for i in range(12)],
        [f"{i}.0" for i in range(4)],
        ["-3", "-2", "-1", "0", "1"],
        ["NA", "BB", "CD", "EF"],  # initials
        ["Na", "Kim", "Lee"],
        ["Nan Goldin", "Nan", "Ann"],
        ["Christopher Null", "Peter Noone", "Xavier None", "Unknown Mortal Orchestra"],
        ["x", "y", "z"],
        ["unknown_001", "unknown_002", "unknown_003"],  # strangers who are told apart
        ["n000001", "n000010", "id10270", "m.0bc1d", "A6384"],
        ["1-2", "12", "1-20", "a1", "1a"],
        ["かな", "がな", "किरण", "कारण", "محمد", "مُحَمَّد"[:2]],
        ["9" * 30, "9" * 29 + "8"],  # beyond what a number is told apart by
    ],
    ids=repr,
)
def test_well_made_identities_are_quiet(names: list[str]) -> None:
    assert kinds(names * 3) == []
    assert kinds([*names, "", ""]) == []


def test_zero_among_numbers_is_noticed_where_it_holds_far_more_videos_or_is_written_otherwise() -> None:
    people = [str(i) for i in range(1, 12) for _ in range(4)]
    assert kinds([*people, *["0"] * 5]) == []
    assert kinds([*people, *["0"] * 20]) == ["missing-value"]
    assert kinds([*(f"{i:04}" for i in range(1, 12)), "0"]) == ["missing-value"]
    assert kinds([*people, "-1"]) == ["missing-value"]


def test_numbers_below_zero_of_many_people_are_ids_made_by_hashing() -> None:
    ids = [str(value - 45) for value in range(100)]  # 45 of them below 0
    assert kinds(ids * 2) == []
    (found,) = suspicions([*(str(value) for value in range(1, 100)), "-1", "-2"], [""] * 101)
    assert found.names == ["-1", "-2"]


@pytest.mark.parametrize("name", known_names())
def test_the_sets_that_the_program_knows_are_quiet(name: str) -> None:
    example = list(csv.DictReader(io.StringIO(read_known(name).manifest.example)))
    assert kinds([row["identity"] for row in example], [row["split"] for row in example]) == []


SPELLINGS = (
    "12|12.0 12|12.00 7|007 7|+7 1000|1,000 1000|1e3 12|１２.0 Ann|ann Ann|ANN A_B|A·B A-B|A_B A·B|A··B A.B|A·B "
    "Ann|Ann. Ann–Lee|Ann-Lee José|Jose Zoë|ZOE O'Brien|O’Brien O'Brien|OBrien Strauß|STRAUSS p7|p007 Ann\u200b|Ann "
    "Ann·(2)|Ann·2 Андрей|андрей ٣|3 id_5|ID-05"
)


@pytest.mark.parametrize(("one", "other"), [pair.replace("·", " ").split("|") for pair in SPELLINGS.split()])
def test_one_person_in_two_spellings_is_noticed(one: str, other: str) -> None:
    (found,) = suspicions(["Bo", one, one, other, "Cy"], [""] * 5)
    assert (found.kind, found.row, found.names) == ("two-spellings", 3, [one, other])
    assert found.warning.startswith("2 of 4 identities ") and "in 3 of 5 videos" in found.warning
    assert found.warning.share == 3 / 5 and found.warning.isprintable()


def test_a_split_in_two_spellings_is_noticed() -> None:
    (found,) = suspicions(NAMES, ["val", "Val", "val"])
    assert (found.kind, found.names) == ("two-splits", ["Val"])
    assert found.warning.startswith("1 of 3 videos are in a split ")
    assert kinds(NAMES, ["val", "train", ""]) == []


@pytest.mark.parametrize(
    ("name", "nobody"), [("strangers", True), ("_Unknown_", True), ("Strang", False), ("7", False)]
)
def test_names_of_folders(name: str, nobody: bool) -> None:
    assert is_nobody(name) is nobody
