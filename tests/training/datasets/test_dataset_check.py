"""A check finds what was planted, and nothing else, for any number of processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from face_sets import contents, jpeg, write_people

from vidface.training.datasets import check as dataset_check
from vidface.training.datasets.check import Checked, Fault, check


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    held = contents({"ada": 3, "bob": 3, "cy": 1, "di": 2})
    held["ada/2.jpg"] = held["ada/1.jpg"]
    held["ada/7.jpg"] = held["bob/3.jpg"] = held["di/2.jpg"]
    held["bob/2.jpg"] = held["bob/2.jpg"][:-60]
    held["bob/4.jpg"] = b"no picture"
    held["cy/1.jpg"] = jpeg(99, (10, 12))
    held["notes.txt"] = b""
    return write_people(tmp_path / "set", held)


@pytest.mark.parametrize("workers", [1, 2])
def test_planted_faults_are_found(workers: int, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_check, "CHUNK", 2)
    found = check(planted, workers=workers)
    assert [fault.name for fault in found.unreadable] == ["bob/2.jpg", "bob/4.jpg"]
    assert "truncated" in found.unreadable[0].detail
    assert found.unreadable[1].detail == "it is neither a JPEG nor a PNG image, or is damaged"
    assert (found.size, found.other_sizes) == ("12x10", [Fault("cy/1.jpg", "10x12")])
    assert found.duplicates == [["ada/1.jpg", "ada/2.jpg"]]
    assert found.duplicates_across == [["ada/7.jpg", "bob/3.jpg", "di/2.jpg"]]
    assert found.single == ["cy"]
    assert found.left_out == ["left out: 1 files beside the folders of people, first 'notes.txt'"]
    assert (found.long_tail.people, found.long_tail.images) == (4, 11) and not found.ok


def test_strangers_as_one_person_and_one_person_as_two(tmp_path: Path) -> None:
    held = contents({"ada": 2, "Ada": 1, "strangers": 3, "bob": 2})
    found = check(write_people(tmp_path / "set", held), workers=1)
    assert found.ok and [text.partition(" and ")[0] for text in found.warnings] == [
        "1 people ('strangers'), in 3 images, look like a missing value,",
        "2 people ('ada', 'Ada'), in 3 images, differ only by spelling",
    ]
    assert check(write_people(tmp_path / "good", contents({"ada": 2, "bob": 2})), workers=1).warnings == []


@pytest.mark.parametrize("fault", ["unreadable", "duplicates_across"])
def test_each_of_the_two_alone_is_not_ok(fault: str, tmp_path: Path) -> None:
    held = contents({"ada": 2, "bob": 2})
    held["bob/2.jpg"] = b"" if fault == "unreadable" else held["ada/1.jpg"]
    found = check(write_people(tmp_path, held), workers=1)
    assert not found.ok and getattr(found, fault)
    assert not getattr(found, ({"unreadable", "duplicates_across"} - {fault}).pop())


def test_nothing_can_be_decoded(tmp_path: Path) -> None:
    found = check(write_people(tmp_path, {"ada/1.jpg": b"a", "ada/2.jpg": b"b"}), workers=1)
    assert (found.size, found.other_sizes, len(found.unreadable)) == ("", [], 2)


def test_an_image_that_cannot_be_read_is_no_duplicate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images without bytes are two faults, not one picture of two people."""
    root = write_people(tmp_path, contents({"ada": 2, "bob": 1}))
    opened = dataset_check.open_images(root)
    for name in ("ada/1.jpg", "bob/1.jpg"):
        (root / name).unlink()
    monkeypatch.setattr(dataset_check, "open_images", lambda _path: opened)
    found: Checked = check(root, workers=1)
    assert [fault.name for fault in found.unreadable] == ["ada/1.jpg", "bob/1.jpg"]
    assert found.duplicates_across == []


def test_digests_that_end_in_zeros_are_told_apart() -> None:
    """They are kept in fixed width, which numpy shows without zeros at the end."""
    images = dataset_check.ImageSet(("a", "b"), np.array([0, 1, 1]), ["a/1", "b/1", "b/2"], bytes, "memory")
    digests = np.array([b"x" * 31, b"x" * 32, b"x" * 31 + b"\0"], "S32")
    assert dataset_check._duplicates(images, digests) == ([], [["a/1", "b/2"]])
    digests = np.array([b"\0" * 31 + b"x", b"\0" * 30 + b"x", b"\0" * 31 + b"y"], "S32")
    assert dataset_check._duplicates(images, digests) == ([], [])


def test_records_say_whose_they_are() -> None:
    images = dataset_check.ImageSet(("4", "7"), np.array([0, 1]), ["record 1", "record 2"], bytes, "memory")
    digests = np.array([b"x", b"x"], "S32")
    assert dataset_check._duplicates(images, digests) == (
        [],
        [["record 1 of person 4", "record 2 of person 7"]],
    )
