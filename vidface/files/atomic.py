"""Files that are whole or absent, their checksums, and the order of their names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vidface.errors import StoreError, UsageError
from vidface.files.pointers import POINTER_BYTES, refuse_pointer

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Name a file beside the target that takes the target's name only once it is complete and on the disk.

    When the block ends well the file is synced, renamed over the target, and the folder is synced. When it raises, the
    partial file is removed and an old target stays. What a killed process leaves behind, nothing ever reads.

    Raises:
        StoreError: The file cannot be renamed, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as handle:
            os.fsync(handle.fileno())
        try:
            partial.replace(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be replaced: {error.strerror}") from None
        _sync_folder(path.parent)
    except OSError as error:
        # Other OS errors in the block may be about another file, and keep their own words.
        if disk_is_full(error):
            raise StoreError(f"{path}: not written: no space left; make room and run again") from None
        raise
    finally:
        with contextlib.suppress(OSError):  # of a disk that may only be read, whatever is there
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def write_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes its name only once it is complete and on the disk; see `atomic_path`.

    Raises:
        StoreError: The file cannot be created or renamed, or the disk is full.
    """
    with atomic_path(path) as partial:
        try:
            handle = partial.open("w+b")
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {error.strerror}; check the folder and its rights"
            ) from None
        with handle:
            yield handle


def spare_inputs(output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Refuse, before the work, what would be written over a file that the command reads."""
    if output is None or not output.exists():
        return
    if any(path is not None and path.exists() and output.samefile(path) for path in inputs):
        raise UsageError(f"{output}: is an input of this command; name another output")


def disk_is_full(error: OSError) -> bool:
    """Tell whether the disk, or this user's share of it, is full; HDF5 says so only in its words."""
    return error.errno in _NO_SPACE or os.strerror(errno.ENOSPC) in str(error)


def _sync_folder(folder: Path) -> None:
    """Make a rename last: it is an entry of the folder, which has its own buffers."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes in lower-case hexadecimal, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _refuse_others(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def require_regular(path: Path) -> Path:
    """Give a path back that may be opened and read to its end; an OSError as in `read_regular`."""
    _refuse_others(path, path.stat().st_mode)
    with path.open("rb") as handle:
        refuse_pointer(path, handle.read(POINTER_BYTES))
    return path


def read_head(path: Path, count: int) -> tuple[bytes, int]:
    """The first bytes of a regular file, and how many it has; a StoreError if it cannot be read."""
    try:
        with require_regular(path).open("rb") as handle:
            return handle.read(count), path.stat().st_size
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None


def require_file(path: Path) -> None:
    """Refuse a path where there is no file, with a StoreError that says what is there instead."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not a file" if path.exists() else "no such file"
        raise StoreError(f"{path}: {what}")


def read_regular(path: Path) -> bytes:
    """Read a whole file; a pipe would wait for a writer for ever, and a device may have no end.

    Raises:
        OSError: It is not a regular file, cannot be read, or is a pointer of Git LFS.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _refuse_others(path, os.fstat(descriptor).st_mode)
        with open(descriptor, "rb", closefd=False) as handle:
            content = handle.read()
        refuse_pointer(path, content)
        return content
    finally:
        os.close(descriptor)


def natural_key(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Sort 2 before 10; the name itself breaks ties (1 and 01)."""
    parts = re.split(r"([0-9]+)", name)
    # Digits as the number they are; Python refuses to make one of thousands of them.
    parts[1::2] = [digits.lstrip("0") for digits in parts[1::2]]
    return [(len(part), part) if place % 2 else part for place, part in enumerate(parts)], name
