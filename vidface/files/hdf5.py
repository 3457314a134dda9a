"""HDF5 for people: files that are whole or not there, and errors that are one line and name the file."""

from __future__ import annotations

import errno
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, printable
from vidface.files.atomic import atomic_path, disk_is_full, require_file
from vidface.files.pointers import pointer_at

SCHEMA_VERSION = 1

_LOCK = "unable to lock file"  # as HDF5 says it
_HEAP = re.compile(b"GCOL\x01")
_MOST_BETWEEN = 4 << 20  # bytes between two arrays that are looked through; ours have some kilobytes there
_MOST_DATASETS = 64
_SMALL = 64 << 20  # what may be unpacked, however little it is stored in: labels are often all alike
_MOST_UNPACKED = 32  # times the size that it has in the file, beyond that
_HDF5_BYTES = 16_384  # what HDF5 adds to the arrays of a file, with attributes, and some more


@contextmanager
def create(path: Path, n_bytes: int) -> Iterator[h5py.File]:
    """A new file, whole or not at all, for about so many bytes of arrays.

    HDF5 cannot close a file that the disk has no room for, and takes the process down with it later on. So it is
    asked before whether there is room.
    """
    with atomic_path(path) as temporary:
        if hasattr(os, "posix_fallocate"):
            with temporary.open("wb") as handle:
                os.posix_fallocate(handle.fileno(), 0, n_bytes + _HDF5_BYTES)
        try:
            file = h5py.File(temporary, "w")
        except OSError as error:
            if _LOCK in str(error):
                raise StoreError(f"{path}: {_system_says(error)}") from None
            raise _of_system(error, path) from None
        try:
            yield file
        finally:
            try:
                file.close()
            except RuntimeError as error:
                # HDF5 writes what it holds back while it closes; h5py has another class for what fails then.
                raise _of_system(error, path) from None


def _of_system(error: Exception, path: Path) -> OSError:
    """What HDF5 says in many words, as the system says it."""
    number = _errno_in(error) or errno.EIO
    return OSError(number, os.strerror(number), str(path))


def _errno_in(error: Exception) -> int | None:
    """The system's error number: of the error itself, or as HDF5 puts it into its messages; None: it is HDF5's own."""
    found = re.search(r"errno = (\d+)", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return number or None


@contextmanager
def open_file(path: Path, *kinds: str) -> Iterator[h5py.File]:
    """Open for reading, a file of these kinds or any; whatever is wrong with it becomes one line that names it."""
    require_file(path)
    if advice := pointer_at(path):
        raise StoreError(f"{path}: {advice}")
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise StoreError(
            f"{path}: {_system_says(error) or f'not a readable HDF5 file ({_first_line(error)})'}"
        ) from None
    with file:
        try:
            _refuse_unsafe(path, file)
            _refuse_endless_heaps(path, file)
            if kinds:
                _refuse_other_kinds(path, attributes_of(file), kinds)
            yield file
        except _DAMAGE as error:
            if isinstance(error, OSError) and disk_is_full(error):
                raise  # of a file that is written from this one
            raise StoreError(f"{path}: {_system_says(error) or f'damaged ({_first_line(error)})'}") from None


def _system_says(error: Exception) -> str | None:
    """Why the system does not let a file be read, with the way on; None if its content is at fault."""
    number = _errno_in(error)
    if number is None:
        return None
    if _LOCK not in str(error):
        return f"cannot be read: {os.strerror(number)}"
    if number in (errno.EAGAIN, errno.EACCES):
        return "is open in a program that writes it: close it there, or set HDF5_USE_FILE_LOCKING=FALSE"
    return f"cannot be locked ({os.strerror(number)}): set HDF5_USE_FILE_LOCKING=FALSE if nobody writes it"


# What h5py raises where a file is damaged, and what follows from numbers that cannot be.
_DAMAGE = (
    *(KeyError, OSError, ValueError, TypeError, AttributeError, IndexError),
    *(MemoryError, RuntimeError, OverflowError, ZeroDivisionError),
)


def attributes_of(file: h5py.File) -> dict[str, Any]:
    """The attributes that are a text, a number or a flag, as values of Python; others say nothing to us."""
    found: dict[str, Any] = {}
    for name in file.attrs:
        value = file.attrs[name]
        if isinstance(value, bytes):
            value = value.decode()
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, np.bool_ | np.integer | np.floating):
            found[name] = value.item()
    return found


def _refuse_other_kinds(path: Path, attributes: Mapping[str, Any], kinds: Sequence[str]) -> None:
    found, version = attributes.get("kind"), attributes.get("schema_version")
    if found not in kinds:
        what = f"found {printable(str(found))}" if found else "found another HDF5 file"
        if found == "features" and "embeddings" in kinds:
            what += "; vidface cluster makes embeddings of them"
        raise StoreError(f"{path}: expected a vidface {' or '.join(kinds)} file, {what}")
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        other = "a newer program wrote it" if newer else "make it again"
        raise StoreError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}: {other}")


def _refuse_unsafe(path: Path, file: h5py.File) -> None:
    """Refuse what no such file needs, and what would open other files or unpack to no end.

    HDF5 can name other files as the place of its data (external links and storage, virtual datasets), and store in a
    kilobyte what unpacks to a terabyte.
    """
    if len(file) > _MOST_DATASETS:
        raise StoreError(f"{path}: {len(file):,} objects in it; no vidface file has more than a few")
    for name in file:
        link = file.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise StoreError(f"{path}: {printable(name)} is a link to somewhere else, which is not followed")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset):
            raise StoreError(f"{path}: {printable(name)} is no array; a vidface file holds nothing else")
        properties = dataset.id.get_create_plist()
        if properties.get_external_count() or dataset.is_virtual:
            raise StoreError(f"{path}: {printable(name)} lies in other files, which are not opened")
        if dataset.dtype.kind not in "iufS" or dataset.shape is None:
            raise StoreError(f"{path}: {printable(name)} holds neither numbers nor text of one length")
        chunk = math.prod(dataset.chunks or (0,)) * dataset.dtype.itemsize
        # h5py multiplies in 64 bits, which may overflow.
        size = math.prod(dataset.shape) * dataset.dtype.itemsize
        if max(size, chunk) > max(_SMALL, _MOST_UNPACKED * dataset.id.get_storage_size()):
            raise StoreError(
                f"{path}: {printable(name)} claims {size:,} bytes and has {dataset.id.get_storage_size():,}"
            )


def _refuse_endless_heaps(path: Path, file: h5py.File) -> None:
    """Refuse a heap of texts in which HDF5, looking for the next one, would stay for ever.

    h5py keeps the texts of attributes in it. Only what lies outside the arrays is looked through. See "Global Heap
    Collection" in HDF5's specification of its format.
    """
    size = path.stat().st_size
    arrays = [(file[name].id.get_offset() or 0, file[name].id.get_storage_size()) for name in file]
    place = 0
    with path.open("rb") as raw:
        for begin, length in [*sorted(arrays), (size, 0)]:
            if begin > place:
                raw.seek(place)
                for heap in _HEAP.finditer(found := raw.read(min(begin - place, _MOST_BETWEEN))):
                    if not _ends(found[heap.start() :]):
                        raise StoreError(f"{path}: damaged (its texts at byte {place + heap.start()})")
            place = max(place, begin + length)


def _ends(heap: bytes) -> bool:
    """Whether every object of a heap leads to the next, and the last to the end."""
    size = int.from_bytes(heap[8:16], "little")
    place = 16
    while place + 16 <= min(size, len(heap)):
        is_free = heap[place : place + 2] == b"\0\0"
        length = int.from_bytes(heap[place + 8 : place + 16], "little")
        if is_free:  # what is left over: the last one, and its length is of all of it
            return length == size - place
        place += 16 + (length + 7) // 8 * 8
    return place <= size


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if error.args else error).strip("'\"")
    return printable(text.partition("\n")[0]) or type(error).__name__


def texts_of(texts: Sequence[str]) -> npt.NDArray[Any]:
    """UTF-8 of one fixed length, which the array must say as the file does: the same bytes on every run."""
    encoded = [text.encode() for text in texts]
    length = max((len(text) for text in encoded), default=1) or 1
    return np.array(encoded, h5py.string_dtype("utf-8", length))


def read_texts(file: h5py.File, name: str) -> list[str]:
    """Texts that were stored as `texts_of` makes them; HDF5 fills what is left of their length with NUL."""
    dataset = file[name]
    if dataset.dtype.kind != "S" or dataset.ndim != 1:
        raise ValueError(f"{name}: not a list of texts")
    return [text.decode() for text in dataset[:].tolist()]
