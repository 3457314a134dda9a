"""The RecordIO format of dmlc and MXNet: one record, its image header, and the index beside the file.

A record is one or more segments: magic, a word with 3 bits that say which segment this is and 29 bits of length,
the bytes, and zeros up to a multiple of 4. A payload that holds the magic at a multiple of 4 is cut there, and the
magic itself is left out, so that a reader that starts anywhere can find the next record.

An image record's payload begins with MXNet's header (flag, label, id, id2); a flag above 0 says how many float32
labels follow it.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidface.errors import MediaError, StoreError, UsageError
from vidface.files.pointers import pointer_at
from vidface.manifest.rows import show
from vidface.training.datasets.images import Stamp, read_at

MAGIC = struct.pack("<I", 0xCED7230A)
MAX_LENGTH = (1 << 29) - 1
SEGMENT = struct.Struct("<4sI")
IMAGE_HEADER = struct.Struct("<IfQQ")

WHOLE, FIRST, MIDDLE, LAST = range(4)  # which segment of its record
FIRST_READ = 1 << 14  # most faces of 112x112 need one read


def read_record(stamp: Stamp, offset: int, name: str) -> bytes:
    """Read the payload of the record at an offset, joined where it was cut; ``name`` is for messages.

    Raises:
        MediaError: ``unreadable-image``: no record begins there, or it is cut short.
    """
    begin, block = offset, read_at(stamp, offset, FIRST_READ)

    def take(place: int, length: int) -> bytes:
        nonlocal begin, block
        if place + length > begin + len(block):
            begin, block = place, read_at(stamp, place, max(length, FIRST_READ))
            if length > len(block):
                raise _damaged(stamp, name, "the file is cut short in it")
        return block[place - begin : place - begin + length]

    parts: list[bytes] = []
    while True:
        magic, word = SEGMENT.unpack(take(offset, SEGMENT.size))
        which, length = word >> 29, word & MAX_LENGTH
        if magic != MAGIC:
            raise _damaged(stamp, name, f"no record begins at byte {offset}")
        if which not in ((MIDDLE, LAST) if parts else (WHOLE, FIRST)):
            raise _damaged(stamp, name, f"its segments are out of order at byte {offset}")
        parts.append(take(offset + SEGMENT.size, length))
        if which in (WHOLE, LAST):
            return MAGIC.join(parts)
        offset += SEGMENT.size + length + -length % 4


def encode_record(payload: bytes) -> bytes:
    """The bytes of one record (payload: `MAX_LENGTH` at most), cut where it holds the magic at a multiple of 4."""
    parts, begin, found = [], 0, payload.find(MAGIC)
    while found >= 0:
        if found % 4 == 0:
            parts.append(payload[begin:found])
            begin = found + 4
        found = payload.find(MAGIC, found + 4)  # it cannot overlap itself
    parts.append(payload[begin:])
    kinds = [WHOLE] if len(parts) == 1 else [FIRST, *[MIDDLE] * (len(parts) - 2), LAST]
    return b"".join(
        SEGMENT.pack(MAGIC, kind << 29 | len(part)) + part + bytes(-len(part) % 4)
        for kind, part in zip(kinds, parts, strict=True)
    )


def image_payload(labels: tuple[float, ...], number: int, content: bytes = b"") -> bytes:
    """The payload of a record: one label stands in the header, several follow it as float32."""
    if len(labels) == 1:
        return IMAGE_HEADER.pack(0, labels[0], number, 0) + content
    return IMAGE_HEADER.pack(len(labels), 0.0, number, 0) + struct.pack(f"<{len(labels)}f", *labels) + content


def split_payload(payload: bytes, stamp: Stamp, name: str) -> tuple[tuple[float, ...], bytes]:
    """The labels of a record, and the encoded image behind them (empty in records that only hold numbers).

    Raises:
        MediaError: ``unreadable-image``: the payload is too short for its header.
    """
    if len(payload) < IMAGE_HEADER.size:
        raise _damaged(stamp, name, f"{len(payload)} bytes are too few for an image header")
    flag, label, _, _ = IMAGE_HEADER.unpack_from(payload)
    end = IMAGE_HEADER.size + 4 * flag
    if len(payload) < end:
        raise _damaged(stamp, name, f"its header promises {flag} labels, more than it holds")
    labels = struct.unpack_from(f"<{flag}f", payload, IMAGE_HEADER.size) if flag else (label,)
    return labels, payload[end:]


def read_index(path: Path, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Read an .idx file, a line "number<TAB>offset" for each record of a .rec file of ``size`` bytes.

    Returns:
        Numbers of the records, int64 [N], ascending, and their offsets, int64 [N].

    Raises:
        UsageError: there is no such file.
        StoreError: it is empty, a line is not two numbers, an offset lies outside of the .rec file or between
            records, or a number comes twice.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: not there; a .rec file is opened by the .idx file of the same name beside it"
        )
    if advice := pointer_at(path):
        raise StoreError(f"{path}: {advice}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file: told below
            table = np.loadtxt(path, np.int64, comments=None, delimiter="\t", ndmin=2, encoding="utf-8")
    except ValueError:
        raise StoreError(_first_bad_line(path)) from None
    if table.size == 0:
        raise StoreError(f"{path}: holds no records")
    if table.shape[1] != 2:
        raise StoreError(_first_bad_line(path))
    numbers, offsets = table[:, 0], table[:, 1]
    for wrong, what in (
        ((offsets < 0) | (offsets > size - SEGMENT.size), f"lies outside of the .rec file ({size:,} bytes)"),
        (offsets % 4 != 0, "is not a multiple of 4, as every record's is"),
    ):
        if wrong.any():
            place = int(wrong.argmax())
            raise StoreError(
                f"{path}: record {numbers[place]} at byte {offsets[place]} {what}; "
                f"is one of the two files cut short, or of another set?"
            )
    order = np.argsort(numbers, kind="stable")
    numbers, offsets = numbers[order], offsets[order]
    twice = numbers[1:] == numbers[:-1]
    if twice.any():
        raise StoreError(f"{path}: record {numbers[int(twice.argmax())]} is listed twice")
    return numbers, offsets


def _first_bad_line(path: Path) -> str:
    """Look again for the line to name: only done where a fast read failed."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            fields = line.strip().split(b"\t")
            if line.strip() and not (len(fields) == 2 and all(field.isdigit() for field in fields)):
                text = line.decode(errors="replace").rstrip("\r\n")
                return f"{path}:{number}: {show(text)} is not 'number<TAB>offset'"
    return f"{path}: not lines of 'number<TAB>offset'"


def _damaged(stamp: Stamp, name: str, what: str) -> MediaError:
    return MediaError("unreadable-image", f"{stamp.path}: {name}: {what}")
