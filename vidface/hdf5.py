"""HDF5 for people: files that are whole or not there, and errors that are one line and name the file."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError
from vidface.files import atomic_path

__all__ = ["SCHEMA_VERSION", "create", "open_file", "read_texts", "texts_of"]

SCHEMA_VERSION = 1

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
        file = h5py.File(temporary, "w")
        try:
            yield file
        finally:
            try:
                file.close()
            except RuntimeError as error:
                # HDF5 writes what it holds back while it closes; h5py has another class for what fails then.
                raise OSError(_errno_in(str(error)), _first_line(error), str(path)) from None


def _errno_in(message: str) -> int:
    """The system's error number that HDF5 puts into its messages."""
    found = re.search(r"errno = (\d+)", message)
    return int(found[1]) if found else errno.EIO


@contextmanager
def open_file(path: Path, *kinds: str) -> Iterator[h5py.File]:
    """Open for reading, a file of these kinds or any; whatever is wrong with it becomes one line that names it."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise StoreError(f"{path}: not a readable HDF5 file ({_first_line(error)})") from None
    with file:
        if kinds:
            found, version = file.attrs.get("kind"), file.attrs.get("schema_version")
            if found not in kinds:
                raise StoreError(
                    f"{path}: expected a vidface {' or '.join(kinds)} file, found {found or 'another HDF5 file'}"
                )
            if version != SCHEMA_VERSION:
                raise StoreError(f"{path}: schema version {version}, this program reads {SCHEMA_VERSION}")
        try:
            yield file
        except (KeyError, OSError, ValueError, TypeError, AttributeError, IndexError, MemoryError) as error:
            raise StoreError(f"{path}: damaged ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    lines = str(error.args[0] if error.args else error).splitlines() or [type(error).__name__]
    return lines[0].strip("'\"")


def texts_of(texts: Sequence[str]) -> npt.NDArray[Any]:
    """UTF-8 of one fixed length: contiguous, and the same bytes on every run.

    The array must say UTF-8 as the file does: HDF5 does not convert between kinds of text.
    """
    encoded = [text.encode() for text in texts]
    length = max((len(text) for text in encoded), default=1) or 1
    return np.array(encoded, h5py.string_dtype("utf-8", length))


def read_texts(file: h5py.File, name: str) -> list[str]:
    """Texts that were stored as `texts_of` makes them."""
    return [text.decode() for text in file[name][:].tolist()]
