"""A set of labelled face images: where the pictures of many people come from, whatever they are stored in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, overload
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from vidface.errors import MediaError
from vidface.manifest.names import IMAGE_SUFFIXES
from vidface.manifest.rows import show

__all__ = ["IMAGE_SUFFIXES", "ImageSet", "LeftOut", "Names", "cut_long_tail", "packed_names", "select"]

OPEN_FILES = 128  # a process may usually have 1,024


@dataclass(frozen=True)
class ImageSet:
    """Labelled images with random access; can be sent to worker processes.

    Attributes:
        identities: names of the people, in the order of their labels; every one has an image.
        labels: int64 [N], the person of every image, an index into ``identities``.
        names: what every image is called in messages, e.g. "Ada/0001.jpg" or "record 17".
        read: the encoded bytes (JPEG or PNG) of image ``i``. Raises MediaError.
        source: where they come from, for messages.
        problems: what was found and left out when the set was opened, a line each.
    """

    identities: tuple[str, ...]
    labels: NDArray[np.int64]
    names: Sequence[str]
    read: Callable[[int], bytes]
    source: str
    problems: tuple[str, ...] = ()


def select(images: ImageSet, keep: NDArray[np.integer[Any]]) -> ImageSet:
    """The images at the places ``keep``, int [M], in that order.

    People keep their order, their labels are numbered anew, and people without an image are dropped.

    Raises:
        IndexError: a place that is not in ``images``.
        ValueError: a place comes twice.
    """
    keep = np.asarray(keep, np.int64).reshape(-1)
    if len(keep) and not (keep.min() >= 0 and keep.max() < len(images.labels)):
        raise IndexError(f"places {keep.min()} to {keep.max()} are not all in 0 to {len(images.labels) - 1}")
    if len(np.unique(keep)) < len(keep):
        raise ValueError("an image is selected twice")
    people, labels = np.unique(images.labels[keep], return_inverse=True)
    return ImageSet(
        identities=tuple(images.identities[person] for person in people),
        labels=labels.astype(np.int64),
        names=Names(images.names.__getitem__, keep),
        read=partial(_read, images.read, keep),
        source=images.source,
        problems=images.problems,
    )


def _read(read: Callable[[int], bytes], keep: NDArray[np.int64], index: int) -> bytes:
    return read(int(keep[index]))


def cut_long_tail(images: ImageSet, min_images: int) -> ImageSet:
    """Leave out people with fewer than ``min_images`` images (at least 1); nothing may be left."""
    counts = np.bincount(images.labels, minlength=len(images.identities))
    return select(images, np.flatnonzero(counts[images.labels] >= min_images))


class Names(Sequence[str]):
    """Names of millions of images, each made from its place when it is asked for, not an object kept for each."""

    def __init__(self, name: Callable[[int], str], places: range | NDArray[np.int64]) -> None:
        self._name, self._places = name, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return Names(self._name, self._places[index])
        return self._name(int(self._places[index]))


def packed_names(names: Iterable[str]) -> Names:
    """Names kept as one block of UTF-8 and where each ends: arrays, which worker processes share."""
    encoded = [name.encode() for name in names]
    text = np.frombuffer(b"".join(encoded), np.uint8)
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
    return Names(partial(_packed_name, text, ends), range(len(encoded)))


def _packed_name(text: NDArray[np.uint8], ends: NDArray[np.int64], place: int) -> str:
    return text[ends[place] : ends[place + 1]].tobytes().decode()


class LeftOut:
    """What an opener met and left out, counted by reason with one example each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Count one more; ``reason`` is a plural noun, e.g. "links out of the folder"."""
        count, first = self._found.get(reason, (0, name))
        self._found[reason] = (count + 1, first)

    def lines(self) -> tuple[str, ...]:
        """A line each, e.g. "left out: 2 hidden files, first '.DS_Store'"."""
        return tuple(
            f"left out: {count:,} {reason}, first {show(first)}"
            for reason, (count, first) in self._found.items()
        )


def usable_name(name: str) -> bool:
    """Whether a name can stand in a message, a CSV file and JSON: UTF-8 on one line."""
    return name.isprintable() or not any(category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name)


class Stamp(NamedTuple):
    """A file as it was when its images were counted: offsets into another one would give wrong images."""

    path: str
    inode: int
    size: int
    modified_ns: int


def stamp_of(path: Path) -> Stamp:
    """Remember a file. Raises OSError."""
    status = path.stat()
    # Absolute, as a worker process may be started in another folder.
    return Stamp(str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)


def read_at(stamp: Stamp, offset: int, length: int) -> bytes:
    """Read bytes at an offset; fewer than asked for only at the end of the file.

    Safe in threads, and after a fork: no position in the file is shared.

    Raises:
        MediaError: ``unreadable-image``: the file cannot be read, or was changed since it was remembered.
    """
    try:
        return os.pread(_open(os.getpid(), stamp).number, length, offset)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MediaError("unreadable-image", f"{stamp.path}: cannot be read: {reason}") from None


class _Descriptor:
    """An open file that closes itself when neither the cache nor a reading thread holds it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@lru_cache(maxsize=OPEN_FILES)
def _open(_process: int, stamp: Stamp) -> _Descriptor:
    descriptor = _Descriptor(os.open(stamp.path, os.O_RDONLY | os.O_CLOEXEC))
    status = os.fstat(descriptor.number)
    if (status.st_ino, status.st_size, status.st_mtime_ns) != stamp[1:]:
        raise MediaError("unreadable-image", f"{stamp.path}: was changed since it was opened; open it again")
    return descriptor
