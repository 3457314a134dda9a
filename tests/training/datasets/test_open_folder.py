"""A folder of people: whose is what, in an order of its own, and nothing from outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from face_sets import NATURAL, contents, jpeg, write_people

from vidface.errors import MediaError, StoreError
from vidface.training.datasets.open import open_folder


def test_the_order_is_not_the_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_people(tmp_path, contents())
    expected = list(open_folder(tmp_path).names)
    real = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with real(path) as found:
                self.entries = sorted(found, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    images = open_folder(tmp_path)
    assert list(images.names) == expected and list(images.identities) == NATURAL


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    root = write_people(tmp_path / "set", {"ada/1.jpg": jpeg(1), "ada/2.PNG": jpeg(2, kind="PNG")})
    write_people(tmp_path / "outside", {"bob/1.jpg": jpeg(3)})
    write_people(
        root,
        {
            "notes.txt": b"",
            ".git/x.jpg": b"",
            "ada/x.bmp": b"",
            "ada/.hidden.jpg": b"",
            "ada/deep/3.jpg": b"",
        },
    )
    (root / "empty").mkdir()
    (root / "bob").symlink_to(tmp_path / "outside" / "bob")
    (root / "ada" / "3.jpg").symlink_to(tmp_path / "outside" / "bob" / "1.jpg")
    (root / "ada" / "4.jpg").symlink_to("1.jpg")  # inside: as good as a copy
    (root / "ada" / "5.jpg").symlink_to("gone.jpg")
    (root / "ada" / "8.jpg").symlink_to("8.jpg")
    (root / "loop").symlink_to("loop")
    (root / "ada" / "6\n.jpg").write_bytes(b"")
    os.mkfifo(root / "ada" / "7.jpg")
    images = open_folder(root)
    assert list(images.names) == ["ada/1.jpg", "ada/2.PNG", "ada/4.jpg"]
    assert images.read(2) == jpeg(1)
    assert sorted(images.problems) == [
        "left out: 1 entries that are no regular files, first 'ada/7.jpg'",
        "left out: 1 files beside the folders of people, first 'notes.txt'",
        "left out: 1 files that are not .jpg, .jpeg or .png, first 'ada/x.bmp'",
        "left out: 1 folders inside a person's folder, first 'ada/deep'",
        "left out: 1 names that are not UTF-8 on one line, first 'ada/6\\n.jpg'",
        "left out: 1 people's folders without an image, first 'empty'",
        "left out: 2 hidden entries, first '.git'",
        "left out: 2 links that lead out of the folder, first 'ada/3.jpg'",
        "left out: 3 links that lead nowhere, first 'ada/5.jpg'",
    ]


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "ada").mkdir()
    with pytest.raises(
        StoreError, match=r"no DIR/PERSON/IMAGE .*people's folders without an image, first 'ada'"
    ):
        open_folder(tmp_path)


def test_an_image_that_is_gone(tmp_path: Path) -> None:
    images = open_folder(write_people(tmp_path, contents({"ada": 2})))
    (tmp_path / "ada" / "2.jpg").unlink()
    images.read(0)
    with pytest.raises(MediaError, match=r"ada/2\.jpg: No such file") as caught:
        images.read(1)
    assert caught.value.kind == "unreadable-image"
