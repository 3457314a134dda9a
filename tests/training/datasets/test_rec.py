""".rec files as public tools write and read them: people by ranges or by labels, against a plain parser."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from face_sets import contents, naive_records, naive_write, payload, write_people
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import MediaError, StoreError, UsageError
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.open import open_images
from vidface.training.datasets.rec import EXACT, open_rec, write_rec

MAGIC = struct.pack("<I", 0xCED7230A)


def in_memory(labels: list[int], held: list[bytes]) -> ImageSet:
    people = sorted(set(labels))
    return ImageSet(
        identities=tuple(f"p{person}" for person in people),
        labels=np.searchsorted(people, labels).astype(np.int64),
        names=[f"image {i}" for i in range(len(held))],
        read=held.__getitem__,
        source="memory",
    )


CONTENT = st.lists(st.sampled_from([MAGIC, b"abcd", b"x"]), min_size=1, max_size=6).map(b"".join)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(st.integers(0, 4), CONTENT), min_size=1, max_size=9))
def test_what_is_written_is_read_by_us_and_by_a_plain_parser(
    rows: list[tuple[int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.rec"
    labels, held = [label for label, _ in rows], [content for _, content in rows]
    images = in_memory(labels, held)
    write_rec(path, images)
    order = sorted(range(len(rows)), key=lambda i: labels[i])

    opened = open_rec(path)
    assert opened.labels.tolist() == images.labels[order].tolist()
    assert [opened.read(i) for i in range(len(rows))] == [held[i] for i in order]
    assert opened.identities == tuple(map(str, range(len(images.identities)))) and opened.problems == ()
    assert list(opened.names) == [f"record {number}" for number in range(1, len(rows) + 1)]

    # As the public readers do it: record 0 -> people's records -> ranges of images; each image knows its label.
    records = dict(naive_records(path))
    at = dict(tuple(map(int, line.split("\t"))) for line in path.with_suffix(".idx").read_text().splitlines())
    flag, _, _, _, first, last = struct.unpack("<IfQQff", records[at[0]])
    assert flag == 2 and last - first == len(images.identities) and first == len(rows) + 1
    seen = []
    for person, number in enumerate(range(int(first), int(last))):
        begin, end = struct.unpack("<IfQQff", records[at[number]])[4:]
        for image in range(int(begin), int(end)):
            flag, label, _, _ = struct.unpack("<IfQQ", records[at[image]][:24])
            assert (flag, label) == (0, person)
            seen.append(records[at[image]][24:])
    assert (
        seen == [held[i] for i in order] and len(at) == len(records) == len(rows) + len(images.identities) + 1
    )


def test_people_by_ranges(tmp_path: Path) -> None:
    """Records in any order of the file; a person without images; labels of images that are several numbers."""
    path = naive_write(
        tmp_path / "train.rec",
        [
            (5, payload(3, 5)),
            (2, payload(0, content=b"two")),
            (4, payload(7, 9, content=b"four")),
            (1, payload(0, content=b"one")),
            (3, payload(7, 9, content=b"three")),
            (6, payload(5, 5)),
            (7, payload(1, 3)),
            (0, payload(5, 8)),
        ],
    )
    images = open_rec(path)
    assert images.identities == ("0", "2") and images.labels.tolist() == [0, 0, 1, 1]
    assert [images.read(i) for i in range(4)] == [b"three", b"four", b"one", b"two"]
    assert images.names[0] == "record 3"
    assert images.problems == ("left out: 1 people without an image, first 'record 6'",)


@pytest.mark.parametrize("header", [[], [(0, payload(2.0 * EXACT, 2.0 * EXACT + 4))], [(0, payload(17, 19))]])
def test_people_by_the_labels_of_images(header: list[tuple[int, bytes]], tmp_path: Path) -> None:
    """Without record 0; where its float32 numbers are too large to be exact; where no people's records follow."""
    rows = [
        (11, payload(70, content=b"c")),
        (12, payload(3, content=b"a")),
        (13, payload(70, 0.5, content=b"d")),
        (14, payload(3, content=b"b")),
        (15, payload(3)),
        (16, payload(1, 2)),
    ]
    images = open_rec(naive_write(tmp_path / "train.rec", [*rows, *header]))
    assert images.identities == ("3", "70") and images.labels.tolist() == [0, 0, 1, 1]
    assert [images.read(i) for i in range(4)] == [b"a", b"b", b"c", b"d"]
    assert images.problems == (f"left out: {2 + len(header)} records without an image, first 'record 15'",)


@pytest.mark.parametrize(
    ("first", "last", "content"),
    [
        # The magic stands in the header itself, as an id that is the same number; or right behind two labels.
        (struct.pack("<If", 0, 5.0), struct.pack("<IQ", 0, 0) + b"image", b"image"),
        (payload(5, 0.5), b"image", MAGIC + b"image"),
    ],
)
def test_labels_of_cut_records(first: bytes, last: bytes, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    heads = [MAGIC + struct.pack("<I", kind << 29 | len(part)) for kind, part in ((1, first), (3, last))]
    path.write_bytes(heads[0] + first + heads[1] + last + bytes(-len(last) % 4))
    path.with_suffix(".idx").write_text("1\t0\n")
    images = open_rec(path)
    assert images.identities == ("5",) and images.read(0) == content and images.problems == ()


HEAD, TWO, IMAGE = (0, payload(2, 3)), (0, payload(2, 4)), (1, payload(0, content=b"a"))
NO_RANGE = "record 2: .* is not a range"
FAULTS: dict[str, tuple[list[tuple[int, bytes]], str]] = {
    "a person's record is missing": ([TWO, IMAGE, (2, payload(1, 2))], "record 3 describes"),
    "an image is missing": ([HEAD, IMAGE, (2, payload(1, 8))], "list 7 images"),
    "an image number is missing": (
        [HEAD, IMAGE, (2, payload(8, 9))],
        "record 2 lists record 8 as an image, but",
    ),
    "one image of two people": (
        [TWO, IMAGE, (2, payload(1, 2)), (3, payload(1, 2))],
        "record 1 is an image of two people",
    ),
    "a range backwards": ([HEAD, (2, payload(4, 1))], r"record 2: \(4\.0, 1\.0\) is not a range"),
    "a range of halves": ([HEAD, (2, payload(1, 2.5))], NO_RANGE),
    "a range that is not a number": (
        [(0, payload(float("nan"), 3)), (2, payload(1, 2))],
        "record 0: .* not a range",
    ),
    "a range beyond all numbers": ([HEAD, (2, payload(1, 1e30))], NO_RANGE),
    "a person's record that is an image": ([HEAD, (2, payload(1, content=b"a"))], NO_RANGE),
    "half a label": ([(1, payload(0.5, content=b"a"))], r"record 1: its label 0\.5 is not"),
    "a negative label": ([(1, payload(-1, content=b"a"))], "record 1: its label"),
    "more labels than bytes": (
        [(1, struct.pack("<IfQQ", 9, 0, 0, 0) + b"x")],
        "record 1: its header promises 9 labels",
    ),
    "no header": ([(1, b"short")], "record 1: 5 bytes are too few"),
    "no images": ([(0, payload(1, 2)), (1, payload(1, 1))], "holds no images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_file_and_record(fault: str, tmp_path: Path) -> None:
    rows, message = FAULTS[fault]
    with pytest.raises(StoreError, match=rf"train\.rec: .*{message}"):
        open_rec(naive_write(tmp_path / "train.rec", rows))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _zero(path: Path) -> None:
    last = max(offset for offset, _ in naive_records(path))
    path.write_bytes(path.read_bytes()[:last] + bytes(8) + path.read_bytes()[last + 8 :])


def _foreign(path: Path) -> None:
    path.with_suffix(".idx").write_text("0\t0\n1\t4\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"train\.rec: record 17, the last one: the file is cut short in it"),
        (_zero, r"train\.rec: record 17, the last one: no record begins at byte \d+"),
        (_foreign, r"train\.rec: record 1, the last one: no record begins at byte 4"),
    ],
)
def test_damaged_or_mismatched_files(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, open_images(write_people(tmp_path / "set", contents({"ada": 7, "bob": 8}))))
    damage(path)
    with pytest.raises(StoreError, match=message):
        open_images(path)


def test_a_damaged_record_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    write_rec(path, open_images(write_people(tmp_path / "set", contents({"ada": 3}))))
    data = bytearray(path.read_bytes())
    data[naive_records(path)[2][0]] ^= 1
    path.write_bytes(data)
    images = open_images(path)
    images.read(0)
    with pytest.raises(MediaError, match=r"train\.rec: record 2: no record begins at byte"):
        images.read(1)


def test_refusals_of_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = in_memory([0, 1, 1], [b"a", b"b", b"c"])
    with pytest.raises(UsageError, match=r"name the output with \.rec"):
        write_rec(tmp_path / "train", images)
    monkeypatch.setattr("vidface.training.datasets.rec.EXACT", 5)
    with pytest.raises(UsageError, match="6 records are more than"):
        write_rec(tmp_path / "train.rec", images)
    monkeypatch.setattr("vidface.training.datasets.rec.EXACT", 6)
    write_rec(tmp_path / "train.rec", images)
    monkeypatch.setattr("vidface.training.datasets.rec.MAX_LENGTH", 64)
    with pytest.raises(StoreError, match="image 0 has 1 bytes, too many"):
        write_rec(tmp_path / "other.rec", images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.idx", "train.rec"]
