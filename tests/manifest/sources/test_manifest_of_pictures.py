from __future__ import annotations

from pathlib import Path

import pytest

from vidface.errors import ManifestError, UsageError
from vidface.manifest.manifest import check_manifest, read_manifest
from vidface.manifest.sources import Converted, from_pictures

Rows = list[tuple[str, str, str, str]]


def convert(tmp_path: Path, *names: str, enrol: int = 1) -> tuple[Rows, Converted]:
    for name in names:
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / name).touch()
    result = from_pictures(tmp_path / "faces", tmp_path / "set.csv", enrol=enrol)
    assert check_manifest(tmp_path / "set.csv") == []
    found = read_manifest(tmp_path / "set.csv")
    return list(zip(found.video_ids, found.paths, found.identities, found.splits, strict=True)), result


def test_every_picture_is_a_video(tmp_path: Path) -> None:
    rows, result = convert(
        tmp_path,
        "Ann/Ann_0010.jpg",
        "Ann/Ann_0002.PNG",
        "Bo/Bo_0001.jpeg",
        "_unknown/x.jpg",
        "Bo/notes.txt",
        ".a/b.jpg",
    )
    assert rows == [
        ("Ann/Ann_0002", "faces/Ann/Ann_0002.PNG", "Ann", "train"),
        ("Ann/Ann_0010", "faces/Ann/Ann_0010.jpg", "Ann", "val"),
        ("Bo/Bo_0001", "faces/Bo/Bo_0001.jpeg", "Bo", "val"),
        ("_unknown/x", "faces/_unknown/x.jpg", "", "val"),
    ]
    assert result.ignored == {"file that is no image": ["Bo/notes.txt"], "hidden": [".a"]}


def test_folders_between_person_and_picture(tmp_path: Path) -> None:
    rows, _ = convert(tmp_path, "001/frontal/01.jpg", "001/profile/01.jpg", "002/frontal/01.jpg", enrol=0)
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("001/frontal/01", "001", "val"),
        ("001/profile/01", "001", "val"),
        ("002/frontal/01", "002", "val"),
    ]


def test_pictures_of_nobody_known(tmp_path: Path) -> None:
    rows, _ = convert(tmp_path, "2.jpg", "10.jpg", "train/1.jpg", "Bo/1.jpg")
    assert [(row[0], row[2]) for row in rows] == [("2", ""), ("10", ""), ("Bo/1", "Bo"), ("train/1", "train")]


def test_links_that_lead_out_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "secret.jpg").touch()
    inside = tmp_path / "in" / "faces"
    (inside / "Ann").mkdir(parents=True)
    (inside / "Ann" / "1.jpg").touch()
    (inside / "Ann" / "2.jpg").symlink_to(tmp_path / "out" / "secret.jpg")
    (inside / "Ann" / "up").symlink_to(inside)
    result = from_pictures(inside, tmp_path / "in" / "set.csv")
    assert result.rows == 1
    assert result.ignored == {
        "link that leaves the root": ["Ann/2.jpg"],
        "link to a folder above": ["Ann/up"],
    }


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Ann/1.jpg", "Ann/1.png"], "would both have the id 'Ann/1'"),
        (["train/Ann/1.jpg", "val/Ann/2.jpg"], "its folders are splits"),
        (["Ann/1.mp4"], "no .jpg, .jpeg or .png image in it; left out: 1 file that is no image"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path: Path, names: list[str], said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        convert(tmp_path, *names)
    assert not (tmp_path / "set.csv").exists()


def test_enrol_is_not_negative(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="enrol is -1"):
        convert(tmp_path, "Ann/1.jpg", enrol=-1)
