from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidface.errors import StoreError
from vidface.files.npy import looks_like_npy, open_matrix

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


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 139), st.integers(0, 255)), max_size=4), cut=st.integers(0, 180)
)
def test_damage_is_an_error_of_ours_or_a_matrix(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(npy(np.zeros((4, 3), "f4")))
    for place, value in changes:
        content[place] = value
    path = tmp_path / "a.npy"
    path.write_bytes(content[:cut] if cut < 176 else content)
    try:
        found = open_matrix(path, rows="videos")
    except StoreError as error:
        assert str(error).isprintable()
    else:
        assert found.ndim == 2 and found.dtype.kind == "f"
        np.array(found)  # all of it is there


def test_told_by_content() -> None:
    assert looks_like_npy(npy(MATRIX))
    assert not looks_like_npy(b"")
    assert not looks_like_npy(b"\x89HDF\r\n\x1a\n")
