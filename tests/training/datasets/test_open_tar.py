"""Tar shards as Python's tarfile writes them: read where they lie, and every trap of the format refused or counted."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
from face_sets import NATURAL, PEOPLE, add, contents, jpeg, write_shard
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import MediaError, StoreError, UsageError
from vidface.training.datasets import images as image_sets
from vidface.training.datasets.open import open_images
from vidface.training.datasets.tar import open_tars


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("above", ["", "./", "lfw/aligned/"])
def test_people_images_and_bytes(form: int, above: str, tmp_path: Path) -> None:
    held = contents({**PEOPLE, "many": 11})
    shuffled = {above + name: held[name] for name in sorted(held, reverse=True)}
    images = open_images(write_shard(tmp_path / "set.tar", shuffled, form))
    assert list(images.identities) == [*NATURAL[:3], "many", *NATURAL[3:]] and images.problems == ()
    assert [images.identities[label] for label in images.labels] == [
        name.split("/")[0] for name in images.names
    ]
    assert {name: images.read(i) for i, name in enumerate(images.names)} == held
    assert list(images.names)[4:15] == [f"many/{number}.jpg" for number in range(1, 12)]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(form: int, tmp_path: Path) -> None:
    held = {f"{'Zoë' * 60}/{'Ünal' * 40}.jpg": jpeg(1), "ada/" + "a" * 97 + ".jpg": jpeg(2)}
    images = open_images(write_shard(tmp_path / "set.tar", held, form))
    assert {name: images.read(i) for i, name in enumerate(images.names)} == held


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(0, 1600), min_size=1, max_size=6), data=st.data())
def test_any_sizes_over_any_shards(
    sizes: list[int], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    held = {f"p{number % 2}/{number}.jpg": bytes([number]) * size for number, size in enumerate(sizes)}
    home = {name: data.draw(st.integers(0, 2)) for name in held}
    for shard in range(3):
        write_shard(folder / f"{shard}.tar", {n: c for n, c in held.items() if home[n] == shard})
    images = open_images(folder)
    assert {name: images.read(i) for i, name in enumerate(images.names)} == held
    assert len(images.identities) == min(2, len(sizes))


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add(archive, "ada", kind=tarfile.DIRTYPE)
        add(archive, "ada/1.jpg", jpeg(1))
        add(archive, "ada/2.jpg", kind=tarfile.SYMTYPE)
        add(archive, "ada/3.jpg", kind=tarfile.LNKTYPE)
        add(archive, "ada/4.jpg", kind=tarfile.CHRTYPE)
        add(archive, "ada/5.jpg", kind=tarfile.FIFOTYPE)
        add(archive, "/etc/6.jpg", jpeg(1))
        add(archive, "ada/../../7.jpg", jpeg(1))
        add(archive, "ada/._1.jpg", jpeg(1))
        add(archive, "ada/notes.txt", b"x")
        add(archive, "8.jpg", jpeg(1))
        add(archive, "ada/9\x1b.jpg", jpeg(1))
        add(archive, "ada/1.jpg", jpeg(2))
    images = open_images(tmp_path / "set.tar")
    assert list(images.names) == ["ada/1.jpg"]
    assert images.read(0) == jpeg(2)  # the later one, as on unpacking
    assert images.problems == (
        "left out: 2 links, first 'set.tar:ada/2.jpg'",
        "left out: 2 devices and other members that are no plain files, first 'set.tar:ada/4.jpg'",
        "left out: 2 names that lead out of the archive, first 'set.tar:/etc/6.jpg'",
        "left out: 1 hidden files, first 'set.tar:ada/._1.jpg'",
        "left out: 1 files that are not .jpg, .jpeg or .png, first 'set.tar:ada/notes.txt'",
        "left out: 1 images in no person's folder, first 'set.tar:8.jpg'",
        "left out: 1 names that are not UTF-8 on one line, first 'set.tar:ada/9\\x1b.jpg'",
        "left out: 1 images whose name comes again later, first 'ada/1.jpg'",
    )


@pytest.mark.parametrize("names", [["ada/1.jpg", "more/ada/2.jpg"], ["train/ada/1.jpg", "val/ada/1.jpg"]])
def test_people_under_different_folders_are_not_guessed(names: list[str], tmp_path: Path) -> None:
    write_shard(tmp_path / "set.tar", dict.fromkeys(names, jpeg(1)))
    with pytest.raises(
        StoreError, match=r"which folder names the person is not clear: 'set\.tar:.*pack them as"
    ):
        open_images(tmp_path / "set.tar")


def test_a_name_of_thousands_of_digits_is_no_traceback(tmp_path: Path) -> None:
    held = {"ada/" + "9" * 5000 + ".jpg": jpeg(1), "ada/2.jpg": jpeg(2)}
    images = open_images(write_shard(tmp_path / "set.tar", held))
    assert [images.read(i) for i in range(2)] == [jpeg(2), jpeg(1)]


@pytest.mark.parametrize(
    ("held", "why"), [({}, "nothing is in it"), ({"ada/notes.txt": b"x"}, r".*notes\.txt.*")]
)
def test_no_images(held: dict[str, bytes], why: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=rf"set\.tar: no PERSON/IMAGE .*\({why}\)"):
        open_images(write_shard(tmp_path / "set.tar", held))


# Two members of a header and 600 bytes, padded to 1,024, and the end marker after them.
CUTS = {
    "in a header": (1736, "cut short: it has no end marker"),
    "in an image": (1536 + 512 + 500, "cut short in 'bob/2.jpg'"),
    "in the padding": (1536 + 512 + 610, "cut short in 'bob/2.jpg'"),
    "before the end marker": (3072, "cut short: it has no end marker"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_truncated_shard_is_named(cut: str, tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", {"ada/1.jpg": jpeg(1)})
    shard = write_shard(tmp_path / "1.tar", {"bob/1.jpg": b"x" * 600, "bob/2.jpg": b"y" * 600})
    size, message = CUTS[cut]
    shard.write_bytes(shard.read_bytes()[:size])
    with pytest.raises(StoreError, match=rf"1\.tar: {message}"):
        open_images(tmp_path)


def test_a_damaged_header_does_not_end_the_shard_in_silence(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set.tar", contents({"ada": 3}))
    data = bytearray(shard.read_bytes())
    second = data.index(b"ada/2.jpg")
    data[second] ^= 1
    shard.write_bytes(data)
    with pytest.raises(StoreError, match=rf"set\.tar: damaged: the header at byte {second} cannot be read"):
        open_images(shard)


@pytest.mark.parametrize(("chunks", "damaged"), [(b"1\n0\n3\n", False), (b"\0", True)])
def test_sparse_files_are_left_out_and_damaged_ones_an_error(
    chunks: bytes, damaged: bool, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "ada/1.jpg", jpeg(1))
        member = tarfile.TarInfo("ada/GNUSparseFile.1/2.jpg")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        member.size = 512
        archive.addfile(member, io.BytesIO(chunks.ljust(512, b"\0")))
    if damaged:
        with pytest.raises(StoreError, match=r"set\.tar: damaged, or not a tar file"):
            open_images(tmp_path / "set.tar")
    else:
        images = open_images(tmp_path / "set.tar")
        assert list(images.names) == ["ada/1.jpg"] and "no plain files" in images.problems[0]


def test_joined_archives_are_not_half_read(tmp_path: Path) -> None:
    one, two = (write_shard(tmp_path / f"{n}.tar", contents({n: 1})).read_bytes() for n in ("ada", "bob"))
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "set.tar").write_bytes(one + two)
    with pytest.raises(StoreError, match=r"set\.tar: more follows its end marker"):
        open_images(tmp_path / "both")


@pytest.mark.parametrize(("squeeze", "tool"), [(gzip, "gunzip"), (bz2, "bunzip2"), (lzma, "unxz")])
def test_a_compressed_archive_is_refused_with_a_way_out(squeeze: object, tool: str, tmp_path: Path) -> None:
    content = write_shard(tmp_path / "set.tar", contents({"ada": 1})).read_bytes()
    (tmp_path / "set.tar").write_bytes(squeeze.compress(content))  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=rf"is compressed.*unpack it with {tool} first"):
        open_images(tmp_path / "set.tar")
    with pytest.raises(StoreError, match=r"set\.tar: damaged, or not a tar file"):
        open_tars([tmp_path / "set.tar"], "set")


def test_a_file_changed_after_opening_is_not_read(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "set.tar", contents({"ada": 2}))
    images = open_images(shard)
    shard.rename(tmp_path / "old.tar")
    write_shard(shard, contents({"bob": 2}))
    with pytest.raises(MediaError, match=r"set\.tar: was changed since it was opened"):
        images.read(0)


def test_more_shards_than_files_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = {f"p/{number}.jpg": jpeg(number) for number in range(image_sets.OPEN_FILES + 9)}
    for number, (name, content) in enumerate(held.items()):
        write_shard(tmp_path / f"{number}.tar", {name: content})
    images = open_images(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        assert {name: images.read(i) for i, name in enumerate(images.names)} == held
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= image_sets.OPEN_FILES
