"""Open and write the .rec and .idx files that face sets such as MS1M-RetinaFace come in, without MXNet.

Record 0 says which records describe people, and each of those which images are that person's; files without these
are read by the label of every image.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vidface.errors import MediaError, StoreError, UsageError
from vidface.files.atomic import require_regular, write_atomic
from vidface.training.datasets.images import ImageSet, LeftOut, Names, Stamp, read_at, stamp_of
from vidface.training.datasets.recordio import (
    IMAGE_HEADER,
    MAGIC,
    MAX_LENGTH,
    SEGMENT,
    WHOLE,
    encode_record,
    image_payload,
    read_index,
    read_record,
    split_payload,
)

EXACT = 1 << 24  # float32 holds every whole number up to here, and labels are float32

Index = tuple[NDArray[np.int64], NDArray[np.int64]]
Found = tuple[
    NDArray[np.int64], NDArray[np.int64]
]  # of every image: its person's number, its place in the index


def open_rec(path: Path) -> ImageSet:
    """Open a .rec file with its .idx beside it.

    People are called by their number from 0 on where record 0 gives ranges, else by their label; the images of a
    person come in the order of their records. What does not change with the number of images is checked now, an
    image when it is read.

    Raises:
        UsageError: there is no .idx file beside it.
        StoreError: the .rec or .idx file is damaged, cut short, or they do not belong together.
    """
    left_out = LeftOut()
    try:
        stamp = stamp_of(require_regular(path))
        index = read_index(path.with_suffix(".idx"), stamp.size)
        read_record(stamp, int(index[1].max()), f"record {index[0][index[1].argmax()]}, the last one")
        people, places = _by_ranges(stamp, index, left_out) or _by_labels(stamp, index, left_out)
    except MediaError as error:
        raise StoreError(str(error)) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not len(people):
        raise StoreError(f"{path}: holds no images ({'; '.join(left_out.lines())})")
    named, labels = np.unique(people, return_inverse=True)
    numbers, offsets = index[0][places], index[1][places]
    return ImageSet(
        identities=tuple(map(str, named)),
        labels=labels.astype(np.int64),
        names=Names("record {}".format, numbers),
        read=partial(_read, stamp, numbers, offsets),
        source=str(path),
        problems=left_out.lines(),
    )


def _by_ranges(stamp: Stamp, index: Index, left_out: LeftOut) -> Found | None:
    """Who is who by record 0 and the people's records; None where there are none, or they cannot be trusted."""
    if index[0][0] != 0:
        return None
    labels, content = _labels(stamp, index, 0)
    # Beyond EXACT they are rounded to even numbers or worse: neighbours would be mixed up.
    if content or len(labels) < 2 or max(labels[:2]) > EXACT:
        return None
    first, last = _range(stamp, "record 0", labels)
    if np.searchsorted(index[0], first) == np.searchsorted(index[0], last):
        return None  # some writers count in record 0 and leave the people's records out
    ranges = np.zeros((last - first, 2), np.int64)
    for number in range(first, last):
        begin, end = _range(stamp, f"record {number}", _labels(stamp, index, number)[0])
        if begin == end:
            left_out.add("people without an image", f"record {number}")
        ranges[number - first] = begin, end
    counts = ranges[:, 1] - ranges[:, 0]
    if counts.sum() > len(index[0]):
        raise StoreError(
            f"{stamp.path}: the people's records list {counts.sum():,} images, the .idx file {len(index[0]):,}"
        )
    # The images of all people back to back: begin, begin + 1, ... of each.
    images = np.repeat(ranges[:, 0] - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    people = np.repeat(np.arange(len(counts)), counts)
    places = np.minimum(np.searchsorted(index[0], images), len(index[0]) - 1)
    gone = index[0][places] != images
    if gone.any():
        place = int(gone.argmax())
        raise StoreError(
            f"{stamp.path}: record {first + people[place]} lists record {images[place]} as an image, "
            f"but the .idx file does not hold it"
        )
    once, place_of_first = np.unique(images, return_index=True)
    if len(once) < len(images):
        twice = np.setdiff1d(np.arange(len(images)), place_of_first)[0]
        raise StoreError(f"{stamp.path}: record {images[twice]} is an image of two people by their records")
    return people, places


def _range(stamp: Stamp, name: str, labels: tuple[float, ...]) -> tuple[int, int]:
    """The first two labels as a range of record numbers."""
    whole = len(labels) >= 2 and all(label.is_integer() for label in labels[:2])
    if not (whole and 0 < labels[0] <= labels[1] <= EXACT):
        raise StoreError(f"{stamp.path}: {name}: {labels[:2]} is not a range of records")
    return int(labels[0]), int(labels[1])


def _labels(stamp: Stamp, index: Index, number: int) -> tuple[tuple[float, ...], bytes]:
    place = int(np.searchsorted(index[0], number))
    if place == len(index[0]) or index[0][place] != number:
        raise StoreError(
            f"{stamp.path}: record 0 says that record {number} describes a person, but the .idx file does not hold it"
        )
    return _parted(stamp, int(index[1][place]), f"record {number}")


def _parted(stamp: Stamp, offset: int, name: str) -> tuple[tuple[float, ...], bytes]:
    return split_payload(read_record(stamp, offset, name), stamp, name)


def _by_labels(stamp: Stamp, index: Index, left_out: LeftOut) -> Found:
    """Who is who by the label of each image: a small read a record, in the order of the file."""
    labels = np.full(len(index[0]), -1, np.int64)
    for place in np.argsort(index[1], kind="stable").tolist():
        name = f"record {index[0][place]}"
        label, has_image = _label_at(stamp, int(index[1][place]), name)
        if not has_image:
            left_out.add("records without an image", name)
        elif label < 0 or not label.is_integer():
            raise StoreError(f"{stamp.path}: {name}: its label {label} is not the number of a person")
        else:
            labels[place] = int(label)
    places = np.flatnonzero(labels >= 0)
    places = places[np.argsort(labels[places], kind="stable")]
    return labels[places], places


def _label_at(stamp: Stamp, offset: int, name: str) -> tuple[float, bool]:
    """The first label of a record, and whether an image follows."""
    head = read_at(stamp, offset, SEGMENT.size + IMAGE_HEADER.size + 4)
    if len(head) == SEGMENT.size + IMAGE_HEADER.size + 4:
        magic, word = SEGMENT.unpack_from(head)
        flag, label, _, _ = IMAGE_HEADER.unpack_from(head, SEGMENT.size)
        length = word & MAX_LENGTH
        if magic == MAGIC and word >> 29 == WHOLE and length >= IMAGE_HEADER.size + max(4, 4 * flag):
            if flag:
                (label,) = struct.unpack("<f", head[-4:])
            return label, length > IMAGE_HEADER.size + 4 * flag
    # Cut into segments, without room for an image, or damaged: all of it tells.
    labels, content = _parted(stamp, offset, name)
    return labels[0], bool(content)


def _read(stamp: Stamp, numbers: NDArray[np.int64], offsets: NDArray[np.int64], index: int) -> bytes:
    name = f"record {numbers[index]}"
    _, content = _parted(stamp, int(offsets[index]), name)
    if not content:
        raise MediaError("unreadable-image", f"{stamp.path}: {name}: holds no image")
    return content


def write_rec(path: Path, images: ImageSet, advance: Callable[[int], None] = lambda _done: None) -> None:
    """Write PATH.rec and PATH.idx with the records that public readers expect.

    Record 0 holds [N + 1, N + 1 + P), the records of the P people; records 1 to N the images, those of a person
    back to back, with the person's number as the label; each of the people's records the range of their images.
    The names of people and images are not kept: the format has no place for them.

    Raises:
        UsageError: ``path`` does not end in .rec, or there are more records than float32 labels can count.
        StoreError: an image is too long, or the files cannot be written.
        MediaError: an image cannot be read.
    """
    if path.suffix != ".rec":
        raise UsageError(f"{path}: name the output with .rec")
    people, total = len(images.identities), len(images.labels)
    if total + people + 1 > EXACT:
        raise UsageError(
            f"{path}: {total + people + 1:,} records are more than the format's float32 labels can count ({EXACT:,}); "
            f"use tar shards"
        )
    order = np.argsort(images.labels, kind="stable")
    ends = 1 + np.cumsum(np.bincount(images.labels, minlength=people))
    begins = np.concatenate([[1], ends[:-1]])
    # The .idx takes its name first: where the .rec is there, both are.
    with write_atomic(path) as records, write_atomic(path.with_suffix(".idx")) as index:

        def put(number: int, payload: bytes) -> None:
            index.write(f"{number}\t{records.tell()}\n".encode())
            records.write(encode_record(payload))

        put(0, image_payload((total + 1, total + 1 + people), 0))
        for number, image in enumerate(order.tolist(), 1):
            content = images.read(image)
            if len(content) > MAX_LENGTH - 64:
                raise StoreError(
                    f"{path}: {images.names[image]} has {len(content):,} bytes, too many for a record"
                )
            put(number, image_payload((float(images.labels[image]),), number, content))
            advance(1)
        for person in range(people):
            put(total + 1 + person, image_payload((begins[person], ends[person]), total + 1 + person))
