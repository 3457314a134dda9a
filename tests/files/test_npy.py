from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidface.errors import StoreError
from vidface.files.npy import open_matrix

MATRIX = np.arange(12).reshape(3, 4) / 8


def npy(value: Any, **options: Any) -> bytes:
    handle = io.BytesIO()
    np.save(handle, value, **options)
    return handle.getvalue()


def headed(header: str, content: bytes = b"\0" * 16) -> bytes:
    """A file with this text as its header."""
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + content


def plain(shape: str, descr: str = "'<f4'") -> bytes:
    return headed(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n")


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_float_in_every_order_is_mapped(tmp_path: Path, dtype: str, order: Any) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(npy(np.array(MATRIX, dtype, order=order)))
    found = open_matrix(path, rows="videos")
    assert isinstance(found, np.memmap) and not found.flags.writeable
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, MATRIX)


def test_a_header_of_python_2(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(plain("(2L, 2L)"))
    assert open_matrix(tmp_path / "a.npy", rows="videos").shape == (2, 2)


REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"1 2 3\n", "not a .npy file"),
    "magic alone": (b"\x93NUMPY", "damaged"),
    "objects": (npy(np.array([[1, None]], object), allow_pickle=True), "Python objects, which are pickles"),
    "objects by header": (plain("(1, 1)", "'|O'"), "Python objects, which are pickles"),
    "fields": (npy(np.zeros((2, 2), [("a", "f4")])), "holds .*'a', '<f4'"),
    "one axis": (npy(np.zeros(3)), r"shape \[3\]"),
    "three axes": (npy(np.zeros((1, 2, 3))), r"shape \[1, 2, 3\]"),
    "no rows": (npy(np.zeros((0, 4))), r"shape \[0, 4\]"),
    "no columns": (npy(np.zeros((4, 0))), r"shape \[4, 0\]"),
    "whole numbers": (npy(np.zeros((2, 2), int)), "holds int64"),
    "complex": (npy(np.zeros((2, 2), "c8")), "holds complex64"),
    "text cells": (npy(np.array([["a"]])), "holds <U1"),
    "cut short": (npy(MATRIX)[:-1], "cut short"),
    "cut in the header": (npy(MATRIX)[:40], "damaged"),
    "one byte more": (npy(MATRIX) + b"x", "1 bytes follow the matrix"),
    "two arrays": (npy(MATRIX) + npy(MATRIX), "bytes follow the matrix"),
    "more than there is": (plain(f"({2**62}, 4)"), "damaged"),
    "more than a number holds": (plain(f"({10**30}, 4)"), "damaged"),
    "fewer than none": (plain("(-1, 4)"), "damaged"),
    "an open bracket": (headed("("), "damaged"),
    "five thousand brackets": (headed("(" * 5000), "damaged"),
    "a list": (headed("[1]"), "damaged"),
    "an archive": (b"PK\x03\x04" + bytes(30), "a zip archive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_matrix_of_floats_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, says = REFUSED[name]
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=says) as caught:
        open_matrix(path, rows="videos")
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and text.isprintable() and len(text) < 400
    assert "videos x dimension" in text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        open_matrix(tmp_path / "a.npy", rows="videos")
    with pytest.raises(StoreError, match="Is a directory"):
        open_matrix(tmp_path, rows="videos")
