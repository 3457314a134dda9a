"""RecordIO against a plain parser that knows only the format: whole, cut and damaged records."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from face_sets import MAGIC, naive_records, payload
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import MediaError, StoreError, UsageError
from vidface.training.datasets.images import stamp_of
from vidface.training.datasets.recordio import (
    FIRST_READ,
    encode_record,
    image_payload,
    read_index,
    read_record,
    split_payload,
)

WORD = struct.pack("<I", MAGIC)

# Payloads full of magics, aligned and not, overlapping ends included.
PIECES = st.sampled_from([WORD, WORD[:1], WORD[1:], WORD[:2], b"\0", b"abcd"])
PAYLOADS = st.lists(
    st.lists(PIECES, max_size=9).map(b"".join) | st.binary(max_size=40), min_size=1, max_size=4
)


@settings(max_examples=150)
@given(payloads=PAYLOADS)
def test_records_come_back_and_are_what_a_plain_parser_reads(
    payloads: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.rec"
    path.write_bytes(b"".join(map(encode_record, payloads)))
    found = naive_records(path)
    assert [content for _, content in found] == payloads
    stamp = stamp_of(path)
    assert [read_record(stamp, offset, "") for offset, _ in found] == payloads


@settings(max_examples=150)
@given(payloads=PAYLOADS)
def test_a_magic_at_a_multiple_of_four_begins_a_segment(payloads: list[bytes]) -> None:
    """So that a reader which starts anywhere finds the next record by it."""
    for content in payloads:
        encoded = encode_record(content)
        begins, place = [], 0
        while place < len(encoded):
            begins.append(place)
            length = struct.unpack_from("<I", encoded, place + 4)[0] % 2**29
            place += 8 + length + -length % 4
        assert [i for i in range(0, len(encoded), 4) if encoded[i : i + 4] == WORD] == begins


def test_padding_follows_every_segment(tmp_path: Path) -> None:
    """No writer cuts at other places than multiples of 4, but the format pads every segment."""
    parts = (
        WORD
        + struct.pack("<I", 1 << 29 | 5)
        + b"abcde\0\0\0"
        + WORD
        + struct.pack("<I", 3 << 29 | 1)
        + b"f\0\0\0"
    )
    (tmp_path / "a.rec").write_bytes(parts)
    assert read_record(stamp_of(tmp_path / "a.rec"), 0, "") == b"abcde" + WORD + b"f"


@pytest.mark.parametrize("size", [FIRST_READ - 9, FIRST_READ - 8, FIRST_READ - 7, 3 * FIRST_READ + 1])
@pytest.mark.parametrize("cut", [False, True])
def test_records_longer_than_one_read(size: int, cut: bool, tmp_path: Path) -> None:
    content = bytearray(np.random.default_rng(size).bytes(size))
    if cut:
        for place in (8, FIRST_READ - 20, size - size % 4 - 4):
            content[place - place % 4 : place - place % 4 + 4] = WORD
    path = tmp_path / "a.rec"
    path.write_bytes(encode_record(bytes(content)) + encode_record(b"next"))
    (_, first), (offset, second) = naive_records(path)
    assert first == content and second == b"next"
    assert read_record(stamp_of(path), 0, "") == content
    assert read_record(stamp_of(path), offset, "") == b"next"


@pytest.mark.parametrize("labels", [(3.0,), (3.0, 4.0), (5.0, 1.5, 2.0)])
def test_image_headers_are_those_of_mxnet(labels: tuple[float, ...], tmp_path: Path) -> None:
    (tmp_path / "a.rec").write_bytes(b"")
    stamp = stamp_of(tmp_path / "a.rec")
    packed = payload(*labels, content=b"image", number=7)
    assert image_payload(labels, 7, b"image") == packed
    assert split_payload(packed, stamp, "") == (labels, b"image")


DAMAGE = {
    "no record begins at byte 0": lambda data: b"\0" + data[1:],
    "the file is cut short in it": lambda data: data[:-5],
    "its segments are out of order at byte 0": lambda data: (
        data[:4] + struct.pack("<I", 2 << 29 | 4) + data[8:]
    ),
    "its segments are out of order at byte 12": lambda data: (
        data[:16] + struct.pack("<I", 1 << 29 | 4) + data[20:]
    ),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_damage_names_file_record_and_place(message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(DAMAGE[message](encode_record(b"abcd" + WORD + b"efgh")))
    with pytest.raises(MediaError) as caught:
        read_record(stamp_of(path), 0, "record 9")
    assert str(caught.value) == f"{path}: record 9: {message}" and caught.value.kind == "unreadable-image"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x" * 23, "23 bytes are too few for an image header"),
        (payload(1, 2)[:-1], "its header promises 2 labels"),
    ],
)
def test_a_payload_too_short_for_its_header(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.rec").write_bytes(b"")
    with pytest.raises(MediaError, match=f"record 9: {message}"):
        split_payload(content, stamp_of(tmp_path / "a.rec"), "record 9")


@given(
    rows=st.dictionaries(
        st.integers(0, 10**7), st.integers(0, 10**10).map(lambda n: 4 * n), min_size=1, max_size=20
    )
)
def test_an_index_is_sorted_by_number(rows: dict[int, int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_text("".join(f"{number}\t{offset}\n" for number, offset in rows.items()))
    numbers, offsets = read_index(path, 10**12)
    assert list(zip(numbers.tolist(), offsets.tolist(), strict=True)) == sorted(rows.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no records"),
        ("0\t0\n1\tx\n", ":2: '1\\tx' is not 'number<TAB>offset'"),
        ("0\t0\n1\n", ":2: '1' is not"),
        ("0 0\n", ":1: '0 0' is not"),
        ("0\t0\t0\n", ":1: '0\\t0\\t0' is not"),
        ("0\t1.5\n", ":1: "),
        ("\xff\t1\n", ":1: "),
        ("0\t99999999999999999999\n", "not lines of 'number<TAB>offset'"),
        ("0\t0\n1\t4\n0\t8\n", "record 0 is listed twice"),
        ("0\t0\n7\t96\n", "record 7 at byte 96 lies outside of the .rec file (100 bytes)"),
        ("0\t-4\n", "record 0 at byte -4 lies outside"),
        ("0\t6\n", "record 0 at byte 6 is not a multiple of 4"),
    ],
)
def test_damaged_indexes(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.idx"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError) as caught:
        read_index(path, 100)
    assert str(caught.value).startswith(f"{path}:") and message in str(caught.value)


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.idx: not there"):
        read_index(tmp_path / "a.idx", 100)
