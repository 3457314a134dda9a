"""What a pickle of plain values may call: sets, bytes, and numpy's arrays and numbers, made here and not by numpy.

The functions get the machine and then the pickle's own arguments, in which nothing can be trusted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vidface.files.unpickle.machine import DamagedPickleError, Machine, Token, check_keys, one_line

__all__ = ["PLAIN_CALLS", "build_plain"]

_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")


def build_plain(machine: Machine, target: Any, state: Any) -> None:
    """Fill an array, or give a number type its byte order: all that has a state among plain values."""
    if type(target) is np.ndarray:
        _fill_array(machine, target, state)
    elif type(target) is Token and isinstance(target.value, np.dtype):
        _set_byte_order(target, state)
    else:
        raise DamagedPickleError("a state for what has none")


def _set(machine: Machine, items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise DamagedPickleError("a set of what is not a list")
    machine.spend(len(items))
    check_keys(list(items))
    return set(items)


def _bytes(_machine: Machine) -> bytes:
    return b""  # how Python 3 writes no bytes for Python 2


def _encode(machine: Machine, text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding not in ("latin1", b"latin1"):
        raise DamagedPickleError("bytes that are not written as latin1 text")
    machine.spend(len(text))
    return text.encode("latin1")


def _dtype(_machine: Machine, code: Any, *_align_and_copy: Any) -> Token:
    name = _text(code)
    if not _NUMBER.fullmatch(name):
        raise DamagedPickleError(f"an array of {one_line(name)}: only numbers and booleans are read")
    return Token("numpy.dtype", np.dtype(name))


def _set_byte_order(token: Token, state: Any) -> None:
    """Give a number type its byte order; ``state`` as numpy writes it for types without fields."""
    plain = isinstance(state, tuple) and len(state) == 8 and state[0] == 3
    if not plain or state[2:] != (None, None, None, -1, -1, 0) or _text(state[1]) not in ("<", ">", "|", "="):
        raise DamagedPickleError("an array of what is not a plain number")
    token.value = token.value.newbyteorder(_text(state[1]))


def _reconstruct(_machine: Machine, kind: Any, shape: Any, code: Any) -> Any:
    if type(kind) is not Token or kind.name != "numpy.ndarray" or shape != (0,) or _text(code) != "b":
        raise DamagedPickleError("an array that is not a plain one")
    return np.empty(0, np.int8)


def _fill_array(machine: Machine, array: Any, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1 or type(state[3]) is not bool:
        raise DamagedPickleError("an array that is not a plain one")
    _, shape, dtype, fortran, content = state
    kind, data = _numbers(machine, dtype, shape, content)
    array.__setstate__((1, shape, kind, fortran, data))


def _from_buffer(
    machine: Machine, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> np.ndarray[Any, Any]:
    kind, data = _numbers(machine, dtype, shape, content)
    flat = np.frombuffer(data, kind)
    if order == "K" and isinstance(axes, tuple):
        return flat.reshape(shape).transpose(axes).copy("K")
    if order not in ("C", "F"):
        raise DamagedPickleError("an array in an order that is none")
    return flat.reshape(shape, order=order).copy("K")


def _scalar(machine: Machine, dtype: Any, content: Any) -> Any:
    kind, data = _numbers(machine, dtype, (), content)
    return np.frombuffer(data, kind)[0]


def _numbers(machine: Machine, dtype: Any, shape: Any, content: Any) -> tuple[np.dtype[Any], bytes]:
    """The number type and the bytes of an array, which must be exactly as many as its shape says."""
    data = content.encode("latin1") if type(content) is str else content
    if type(dtype) is not Token or not isinstance(dtype.value, np.dtype) or type(data) is not bytes:
        raise DamagedPickleError("an array that does not hold plain numbers")
    if type(shape) is not tuple or any(type(side) is not int or side < 0 for side in shape):
        raise DamagedPickleError("an array without a shape")
    if len(shape) > 32 or math.prod(shape) * dtype.value.itemsize != len(data):
        raise DamagedPickleError(f"an array that says it holds more or less than its {len(data)} bytes")
    machine.spend(len(data))
    if dtype.value == np.bool_ and data.strip(b"\0\1"):
        raise DamagedPickleError("a boolean that is neither true nor false")
    return dtype.value, data


def _text(value: Any) -> str:
    if type(value) is bytes:
        return value.decode("latin1")
    if type(value) is not str:
        raise DamagedPickleError("a word that is not text")
    return value


_NUMPY_CALLS: dict[str, Callable[..., Any]] = {
    "multiarray._reconstruct": _reconstruct,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
}

PLAIN_CALLS: dict[str, Callable[..., Any] | None] = {
    "builtins.set": _set,
    "__builtin__.set": _set,
    "builtins.bytes": _bytes,
    "__builtin__.bytes": _bytes,
    "_codecs.encode": _encode,
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    # numpy 2 moved its inner modules
    **{f"numpy.core.{name}": function for name, function in _NUMPY_CALLS.items()},
    **{f"numpy._core.{name}": function for name, function in _NUMPY_CALLS.items()},
}
