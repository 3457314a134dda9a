"""The bytes that Python 2 with an old numpy wrote for the official features of iQIYI-VID, made by hand."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def python2_pickle(features: Mapping[str, Any]) -> bytes:
    """Protocol 2: names and numbers of frames as Python 2's str, vectors through ``numpy.core.multiarray``."""
    return b"\x80\x02}(" + b"".join(_text(name) + _any(faces) for name, faces in features.items()) + b"u."


def _any(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, list):
        return _list(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    return b"J" + struct.pack("<i", value)


def _list(values: Sequence[Any]) -> bytes:
    return b"](" + b"".join(map(_any, values)) + b"e"


def _text(value: str) -> bytes:
    raw = value.encode("latin1")
    return b"U" + bytes([len(raw)]) + raw


def _array(array: np.ndarray) -> bytes:
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in array.shape) + b"t"
    code, raw = _text(array.dtype.str[1:]), array.tobytes()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape
        + b"cnumpy\ndtype\n"
        + code
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )
