"""A matrix of floats in numpy's own format, as other tools save it: mapped, not read, and never unpickled."""

from __future__ import annotations

import tokenize
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, printable
from vidface.files.atomic import read_head

_MAGIC = b"\x93NUMPY"
# What numpy raises, beside its own ValueError, where the header is no literal or claims too much.
_DAMAGED = (
    *(ValueError, TypeError, KeyError, OSError, EOFError),
    *(SyntaxError, OverflowError, tokenize.TokenError),
)
_ZIP = b"PK\x03\x04"  # an .npz is a zip of .npy files


def looks_like_npy(head: bytes) -> bool:
    """Tell whether bytes start as a ``.npy`` file, or an ``.npz`` (which `open_matrix` refuses by name)."""
    return head.startswith((_MAGIC, _ZIP))


def open_matrix(path: Path, *, rows: str, columns: str = "dimension") -> npt.NDArray[Any]:
    """Map a ``.npy`` file that holds one matrix of floats.

    ``rows`` and ``columns`` are what these are, in the plural, for messages.

    Returns:
        Float16, float32 or float64 [R, D] of any byte order, in C or Fortran order; read-only, on the disk.

    Raises:
        StoreError: it is missing, damaged, cut short or followed by something else; or it holds objects, fields,
            whole numbers, or anything that is not a matrix with a row and a column at least.
    """
    wanted = f"one matrix of float16, float32 or float64, {rows} x {columns}, as numpy.save writes it"
    head, size = read_head(path, len(_MAGIC))
    if head.startswith(_ZIP):
        raise StoreError(f"{path}: a zip archive, as .npz is; save {wanted}")
    if head != _MAGIC:
        raise StoreError(f"{path}: {'not a .npy file' if head else 'empty'}; it must be {wanted}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            matrix: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except _DAMAGED as error:
        raise StoreError(f"{path}: {_reason(error)}; it must be {wanted}") from None
    except (RecursionError, MemoryError):
        raise StoreError(f"{path}: damaged (its header); it must be {wanted}") from None
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or matrix.dtype.itemsize > 8 or 0 in matrix.shape:
        what = f"{printable(str(matrix.dtype))} of shape {list(matrix.shape)}"
        raise StoreError(f"{path}: holds {what}; it must be {wanted}")
    beyond = size - int(getattr(matrix, "offset", 0)) - matrix.nbytes
    if beyond:
        raise StoreError(f"{path}: {beyond} bytes follow the matrix; it must be {wanted}, and nothing else")
    return matrix


def _reason(error: Exception) -> str:
    text = printable(str(error))
    if "allow_pickle" in text or "Python objects" in text:
        return "holds Python objects, which are pickles and are never run"
    if "mmap length" in text or "larger than file size" in text:
        return "cut short: it ends before its matrix does"
    return f"damaged ({text[:150] or type(error).__name__})"
