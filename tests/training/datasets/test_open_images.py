"""What a path holds is told by its content; a set goes to worker processes whole; subsets keep their order."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from face_sets import NATURAL, contents, jpeg, naive_write, payload, write_people, write_shard

from vidface.errors import MediaError, StoreError, UsageError
from vidface.frames.folder import decode_image
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_folder, open_images
from vidface.training.datasets.rec import write_rec

Maker = Callable[[Path], Path]


def folder(root: Path) -> Path:
    return write_people(root / "set", contents())


def tar(root: Path) -> Path:
    return write_shard(root / "set.tar", contents())


def shards(root: Path) -> Path:
    (root / "set").mkdir()
    for number in range(3):  # every shard has some of everybody
        held = {name: content for i, (name, content) in enumerate(contents().items()) if i % 3 == number}
        write_shard(root / "set" / f"{number}.tar", held)
    return root / "set"


def rec(root: Path) -> Path:
    write_rec(root / "train.rec", open_images(folder(root)))
    return root / "train.rec"


def rec_folder(root: Path) -> Path:
    """As MS1M-RetinaFace is distributed: with a property file and verification sets beside it."""
    (root / "ms1m").mkdir()
    write_rec(root / "ms1m" / "train.rec", open_images(folder(root)))
    (root / "ms1m" / "property").write_text("5,112,112\n")
    (root / "ms1m" / "lfw.bin").write_bytes(b"\x80")
    return root / "ms1m"


MAKERS = [folder, tar, shards, rec, rec_folder]


@pytest.mark.parametrize("make", MAKERS)
def test_every_form_gives_the_same_labels_and_bytes(make: Maker, tmp_path: Path) -> None:
    images = open_images(make(tmp_path))
    expected = [
        (label, content)
        for label, person in enumerate(NATURAL)
        for name, content in contents().items()
        if name.startswith(f"{person}/")
    ]
    assert [(int(label), images.read(i)) for i, label in enumerate(images.labels)] == expected
    assert len(images.names) == len(expected) and images.labels.dtype == np.int64 and images.problems == ()


def read_all(images: ImageSet) -> list[bytes]:
    return [images.read(i) for i in range(len(images.labels))]


@pytest.mark.parametrize("make", MAKERS)
def test_a_set_survives_the_way_to_a_worker(make: Maker, tmp_path: Path) -> None:
    images = open_images(make(tmp_path))
    expected = read_all(images)  # the files are open in this process already
    copy = pickle.loads(pickle.dumps(images))  # noqa: S301  # our own bytes, as they go to workers
    assert read_all(copy) == expected and list(copy.names) == list(images.names)
    assert copy.identities == images.identities and (copy.labels == images.labels).all()


@pytest.mark.filterwarnings(
    "ignore:This process:DeprecationWarning"
)  # newer Pythons, of a fork beside threads
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_set_works_in_another_process_in_another_folder(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for make in MAKERS:
        (tmp_path / make.__name__).mkdir()
        made.append(make(tmp_path / make.__name__).relative_to(tmp_path))
    monkeypatch.chdir(tmp_path)
    sets = [open_images(path) for path in made]
    expected = [read_all(images) for images in sets]
    monkeypatch.chdir("/")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(start)) as pool:
        assert list(pool.map(read_all, sets)) == expected
    assert [read_all(images) for images in sets] == expected


NOTHING = [
    ("missing", lambda path: None, UsageError, "no such file or folder; say a folder of people"),
    ("empty folder", lambda path: path.mkdir(), UsageError, "holds 0 files and no folders of people"),
    (
        "pictures",
        lambda path: write_people(path, {"1.jpg": jpeg(1)}),
        UsageError,
        "holds 1 files and no folders",
    ),
    ("text", lambda path: path.write_text("first,second,same"), UsageError, "not images of people"),
    ("nothing", lambda path: path.write_bytes(b""), UsageError, "not images of people"),
    ("a picture", lambda path: path.write_bytes(jpeg(1)), UsageError, "not images of people"),
]


@pytest.mark.parametrize(
    ("make", "kind", "message"), [row[1:] for row in NOTHING], ids=[row[0] for row in NOTHING]
)
def test_what_is_no_set(
    make: Callable[[Path], object], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    make(tmp_path / "it")
    with pytest.raises(kind, match=message):
        open_images(tmp_path / "it")


@pytest.mark.parametrize("name", ["set.tar", "train.rec"])
def test_a_name_does_not_make_a_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"<html>not found</html>" * 99)
    with pytest.raises(StoreError, match=rf"{name}: damaged, or not a .* its first bytes are b'<htm'"):
        open_images(tmp_path / name)


def test_the_name_does_not_matter_where_the_content_tells(tmp_path: Path) -> None:
    tar(tmp_path).rename(tmp_path / "faces")
    assert len(open_images(tmp_path / "faces").labels) == len(contents())


def test_the_oldest_tar_headers_are_known(tmp_path: Path) -> None:
    """Before "ustar" stood in them, there was only the checksum."""
    data = bytearray(
        write_shard(tmp_path / "set.tar", {"ada/1.jpg": b"x"}, tarfile.USTAR_FORMAT).read_bytes()
    )
    data[257:345] = bytes(88)
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "set.tar").write_bytes(data)
    assert list(open_images(tmp_path / "set.tar").names) == ["ada/1.jpg"]


def test_an_index_names_its_rec_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.idx: is an index; say the \.rec"):
        open_images(rec(tmp_path).with_suffix(".idx"))


def test_two_kinds_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    tar(tmp_path)
    rec(tmp_path)
    naive_write(tmp_path / "val.rec", [(1, payload(0, content=b"a"))])
    with pytest.raises(UsageError) as caught:
        open_images(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: holds 1 folders (set) and 1 .tar files (set.tar) and 2 .rec files (train.rec, val.rec); "
        "say which one, or put them apart"
    )


def test_two_rec_files_in_one_folder_are_not_guessed(tmp_path: Path) -> None:
    for name in ("train.rec", "val.rec"):
        naive_write(tmp_path / name, [(1, payload(0, content=b"a"))])
    with pytest.raises(UsageError, match=r"holds 2 \.rec files \(train\.rec, val\.rec\); say which one"):
        open_images(tmp_path)


def test_real_faces(shared_data: Path) -> None:
    images = open_images(shared_data / "lfw" / "aligned.tar")
    assert (len(images.labels), len(images.identities)) == (7959, 3493) and images.problems == ()
    with tarfile.open(shared_data / "lfw" / "aligned.tar") as archive:
        for index in range(0, 7959, 997):
            assert images.identities[images.labels[index]] == images.names[index].split("/")[0]
            member = archive.extractfile(images.names[index])
            assert member is not None and images.read(index) == member.read()
            assert decode_image(images.read(index)).shape == (112, 112, 3)


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
