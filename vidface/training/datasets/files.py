"""Bytes at a place of a file that stays open in each process, and a refusal where the file was changed meanwhile.

Tested in ``tests/training/datasets/test_open_tar.py``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from vidface.errors import MediaError

__all__ = ["Stamp", "read_at", "stamp_of"]

OPEN_FILES = 128  # a process may usually have 1,024


class Stamp(NamedTuple):
    """A file as it was when its images were counted: offsets into another one would give wrong images."""

    path: str
    inode: int
    size: int
    modified_ns: int


class _Descriptor:
    """An open file that closes itself when neither the cache nor a reading thread holds it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


def stamp_of(path: Path) -> Stamp:
    """Remember a file.

    Raises:
        OSError: it cannot be looked at.
    """
    status = path.stat()
    # Absolute, as a worker process may be started in another folder.
    return Stamp(str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns)


def read_at(stamp: Stamp, offset: int, length: int) -> bytes:
    """Read bytes at an offset; fewer than asked for only at the end of the file.

    Safe in threads, and after a fork: no position in the file is shared.

    Raises:
        MediaError: ``unreadable-image``, where the file cannot be read or is no longer the one remembered.
    """
    try:
        return os.pread(_open(os.getpid(), stamp).number, length, offset)
    except OSError as error:
        reason = error.strerror or str(error)
        raise MediaError("unreadable-image", f"{stamp.path}: cannot be read: {reason}") from None


@lru_cache(maxsize=OPEN_FILES)
def _open(_process: int, stamp: Stamp) -> _Descriptor:
    descriptor = _Descriptor(os.open(stamp.path, os.O_RDONLY | os.O_CLOEXEC))
    status = os.fstat(descriptor.number)
    if (status.st_ino, status.st_size, status.st_mtime_ns) != stamp[1:]:
        raise MediaError("unreadable-image", f"{stamp.path}: was changed since it was opened; open it again")
    return descriptor
