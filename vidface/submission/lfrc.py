"""The LFRC 2019 submission: one binary matrix, row i for line i of the organisers' file list.

16 bytes of header, four little-endian int32: rows, columns, bytes from row to row (columns * 4), and 5, which
stands for float32; then the matrix, row after row, little-endian float32.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError
from vidface.files.atomic import read_head, write_atomic

HEADER = struct.Struct("<4i")
FLOAT32 = 5  # the code of the element type
BLOCK = 8192  # rows converted at a time
_LARGEST = 2**31 - 1


def write_lfrc(path: Path, embeddings: npt.NDArray[np.float32]) -> None:
    """Write embeddings, float [V, D], as they are, whole or not at all, a block of rows at a time.

    They may be an array, a memory map, or an HDF5 data set. The challenge's limits are not enforced: see `check_lfrc`.

    Raises:
        StoreError: Not a matrix of floats with a row and a column at least, or too large for the header; or
            the file cannot be written.
    """
    shape = tuple(embeddings.shape)
    if len(shape) != 2 or 0 in shape or embeddings.dtype.kind != "f":
        what = f"{embeddings.dtype} {list(shape)}"
        raise StoreError(
            f"{path}: not written: a matrix of floats with at least one row is needed, not {what}"
        )
    rows, columns = shape
    if max(rows, columns * 4) > _LARGEST:
        raise StoreError(f"{path}: not written: {rows} x {columns} does not fit the header's 32-bit numbers")
    with write_atomic(path) as handle:
        handle.write(HEADER.pack(rows, columns, columns * 4, FLOAT32))
        for start in range(0, rows, BLOCK):
            handle.write(np.ascontiguousarray(embeddings[start : start + BLOCK], dtype="<f4").data)


def read_lfrc(path: Path) -> npt.NDArray[np.float32]:
    """Map the matrix, float32 [V, D], read-only.

    Raises:
        StoreError: The header is not that of this format, the length does not fit it, or the file cannot be
            read.
    """
    head, length = read_head(path, HEADER.size)
    if not looks_like_lfrc(head):
        found = list(HEADER.unpack(head)) if len(head) == HEADER.size else f"{len(head)} bytes"
        raise StoreError(
            f"{path}: not an LFRC matrix: the header is {found}, not [rows, columns, columns * 4, 5]"
        )
    rows, columns, stride, _ = HEADER.unpack(head)
    wanted = HEADER.size + rows * stride
    if length != wanted:
        what = "cut short" if length < wanted else "followed by something else"
        raise StoreError(f"{path}: {what}: {length} bytes, where {rows} rows of {columns} need {wanted}")
    return np.memmap(path, dtype="<f4", mode="r", offset=HEADER.size, shape=(rows, columns))


def looks_like_lfrc(head: bytes) -> bool:
    """Whether bytes start with a header that agrees with itself."""
    if len(head) < HEADER.size:
        return False
    rows, columns, stride, kind = HEADER.unpack_from(head)
    return bool(rows > 0 and columns > 0 and stride == columns * 4 and kind == FLOAT32)
