"""Pickles of plain values, read without running anything in them.

A pickle is a program. The unpickler of the standard library in C runs it, and forbidding it to look up names is not
enough: nine bytes make it take 4 GB for its memo, and a dictionary whose key is a deeply nested tuple ends the
process. So this is the standard library's unpickler in Python, with the opcodes that plain values need and no others.
A name is never imported: it is looked up in a small table of functions of our own, which check what they are given.

Everything is bounded by the size of the file: arrays hold exactly the bytes that were in the file, and what may be
copied more than once is counted. Nesting costs no recursion.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np

from vidface.errors import StoreError

_OPCODES = (
    b"\x80\x95."  # protocol, frame, end
    b"N\x88\x89ILJKM\x8a\x8bFGSTUVX\x8c\x8dBC\x8e\x96"  # single values
    b"]}\x8f)\x85\x86\x87tldaesu\x90"  # containers
    b"(012pqr\x94ghj"  # stack and memo
    b"c\x93iRbPQ"  # names, calls, states, persistent ids
)
_MOST_ARGUMENTS = 16
_SCALARS = frozenset({type(None), bool, float, str, bytes})
_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")


class DamagedPickleError(ValueError):
    """Why a pickle cannot be what it says; `PlainUnpickler.run` makes it a StoreError."""


class Token:
    """What a name, a number type or a storage became: nothing but the functions below can do anything with it."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: Any = None) -> None:
        self.name = name
        self.value = value


class PlainUnpickler(pickle._Unpickler):
    """One pickle being read.

    ``calls`` are the names that it may use, as "module.name": a function of this unpickler and the pickle's
    arguments, or None for a name that is only passed on. ``persistent`` makes a persistent id into a `Token`; without,
    they are refused.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: pickle._Unpickler.dispatch[code] for code in _OPCODES
    }

    def __init__(
        self,
        data: bytes,
        *,
        source: str,
        encoding: str = "latin1",
        calls: Mapping[str, Callable[..., Any] | None],
        persistent: Callable[[Any], Token] | None = None,
    ) -> None:
        self.file = io.BytesIO(data)
        super().__init__(self.file, encoding=encoding)
        self.source = source
        self.calls = calls
        self.persistent = persistent
        self.allowance = 4 * len(data)  # bytes and items that may still be copied

    def run(self) -> Any:
        """Read the pickle to its end.

        Raises:
            StoreError: the pickle wants more than ``calls``, or is damaged.
        """
        try:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of escapes in text
                return self.load()
        except KeyError as error:
            reason = f"{error} is not an opcode that plain values need"
        except (EOFError, struct.error):
            reason = "it is cut short: it holds less than it announces"
        except IndexError:
            reason = "what it refers to is not there, or it is cut short"
        except (pickle.UnpicklingError, ValueError, TypeError, AttributeError, OverflowError) as error:
            reason = one_line(str(error))
        raise StoreError(
            f"{self.source}: not a pickle of plain values, or a damaged one: byte {self.file.tell()}: {reason}"
        )

    def spend(self, count: int) -> None:
        """Count what is copied from things that could be copied again and again."""
        self.allowance -= count
        if self.allowance < 0:
            raise DamagedPickleError("it makes more than a file of its size can hold")

    def find_class(self, module: str, name: str) -> Token:
        full = f"{module}.{name}"
        if full not in self.calls:
            raise StoreError(
                f"{self.source}: is a pickle that wants to call {one_line(full)}: refused, since a call can run "
                "code; only plain values and arrays are read"
            )
        return Token(full, self.calls[full])

    def persistent_load(self, pid: Any) -> Token:
        if self.persistent is None:
            raise DamagedPickleError("it refers to data outside of the file")
        return self.persistent(pid)

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple or len(arguments) > _MOST_ARGUMENTS:
            raise DamagedPickleError("a call with what are no arguments")
        if type(function) is not Token or not callable(function.value):
            raise DamagedPickleError("a call of what is not a function")
        self.stack.append(function.value(self, *arguments))

    def build(self) -> None:
        """Fill an array, or give a number type its byte order; attributes of an OrderedDict are left out."""
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is np.ndarray:
            _fill_array(self, target, state)
        elif type(target) is Token and isinstance(target.value, np.dtype):
            _set_byte_order(target, state)
        elif type(target) is not dict:
            raise DamagedPickleError("a state for what has none")

    def fill(self, items: list[Any]) -> None:
        """Put keys and values into a dictionary, or keys into a set."""
        target = self.stack[-1]
        if type(target) is dict:
            check_keys(items[::2])
            target.update(zip(items[::2], items[1::2], strict=True))
        elif type(target) is set:
            check_keys(items)
            target.update(items)
        else:
            raise DamagedPickleError("only a dictionary or a set has keys")

    def make_dict(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.fill(items)

    dispatch |= {
        ord("R"): call,
        ord("b"): build,
        ord("d"): make_dict,
        ord("s"): lambda self: self.fill([self.stack.pop(-2), self.stack.pop()]),
        ord("u"): lambda self: self.fill(self.pop_mark()),
        0x90: lambda self: self.fill(self.pop_mark()),
        0x96: dispatch[0x8E],  # a bytearray, which would be made before its bytes are read, is bytes
    }


def load_plain(content: bytes | BinaryIO, *, source: str, encoding: str = "latin1") -> Any:
    """Read a pickle of plain values; nothing in it is ever called or imported.

    Args:
        content: the pickle, or a file that is read from where it stands to its end.
        source: what it is called in messages.
        encoding: how the text of Python 2 is decoded; "bytes" leaves it as bytes.

    Returns:
        An object built of None, bool, int, float, str, bytes (a bytearray too comes back as bytes), list, tuple,
        dict, set, and numpy arrays and scalars of numbers and booleans. A list or dictionary may hold itself, as
        in any pickle. A name or number type that the pickle holds as a value is an inert `Token`.

    Raises:
        StoreError: it wants anything else (the message names it), is cut short or damaged, or claims more than
            its size can hold.
    """
    data = content if isinstance(content, bytes) else content.read()
    return PlainUnpickler(data, source=source, encoding=encoding, calls=PLAIN_CALLS).run()


def check_keys(keys: list[Any]) -> None:
    """Let only short and flat keys through: hashing others can take for ever, or end the process."""
    for key in keys:
        for part in key if type(key) is tuple and len(key) <= 8 else (key,):
            small = type(part) is int and part.bit_length() <= 64
            if not (small or type(part) in _SCALARS or isinstance(part, np.number | np.bool_)):
                raise DamagedPickleError("a key that is neither text, a number nor a few of them")


def one_line(text: str) -> str:
    return (text if len(text) <= 120 else text[:117] + "...").encode("unicode_escape").decode()


# What a pickle may call, given the unpickler and then the pickle's own arguments, in which nothing can be trusted.


def _set(reader: PlainUnpickler, items: Any = ()) -> set[Any]:
    reader.spend(len(items))
    check_keys(list(items))
    return set(items)


def _ordered_dict(reader: PlainUnpickler, items: Any = ()) -> dict[Any, Any]:
    reader.spend(len(items))
    check_keys([key for key, _ in items])
    return dict(items)


def _bytes(_reader: PlainUnpickler) -> bytes:
    return b""  # how Python 3 writes no bytes for Python 2


def _encode(reader: PlainUnpickler, text: Any, encoding: Any) -> bytes:
    if type(text) is not str or encoding not in ("latin1", b"latin1"):
        raise DamagedPickleError("bytes that are not written as latin1 text")
    reader.spend(len(text))
    return text.encode("latin1")


def _dtype(_reader: PlainUnpickler, code: Any, *_align_and_copy: Any) -> Token:
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


def _reconstruct(_reader: PlainUnpickler, kind: Any, shape: Any, code: Any) -> Any:
    if type(kind) is not Token or kind.name != "numpy.ndarray" or shape != (0,) or _text(code) != "b":
        raise DamagedPickleError("an array that is not a plain one")
    return np.empty(0, np.int8)


def _fill_array(reader: PlainUnpickler, array: Any, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1 or type(state[3]) is not bool:
        raise DamagedPickleError("an array that is not a plain one")
    _, shape, dtype, fortran, content = state
    kind, data = _numbers(reader, dtype, shape, content)
    array.__setstate__((1, shape, kind, fortran, data))


def _from_buffer(
    reader: PlainUnpickler, content: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> np.ndarray[Any, Any]:
    kind, data = _numbers(reader, dtype, shape, content)
    flat = np.frombuffer(data, kind)
    if order == "K" and isinstance(axes, tuple):
        return flat.reshape(shape).transpose(axes).copy("K")
    if order not in ("C", "F"):
        raise DamagedPickleError("an array in an order that is none")
    return flat.reshape(shape, order=order).copy("K")


def _scalar(reader: PlainUnpickler, dtype: Any, content: Any) -> Any:
    kind, data = _numbers(reader, dtype, (), content)
    return np.frombuffer(data, kind)[0]


def _numbers(reader: PlainUnpickler, dtype: Any, shape: Any, content: Any) -> tuple[np.dtype[Any], bytes]:
    """The number type and the bytes of an array, which must be exactly as many as its shape says."""
    data = content.encode("latin1") if type(content) is str else content
    if type(dtype) is not Token or not isinstance(dtype.value, np.dtype) or type(data) is not bytes:
        raise DamagedPickleError("an array that does not hold plain numbers")
    if type(shape) is not tuple or any(type(side) is not int or side < 0 for side in shape):
        raise DamagedPickleError("an array without a shape")
    if len(shape) > 32 or math.prod(shape) * dtype.value.itemsize != len(data):
        raise DamagedPickleError(f"an array that says it holds more or less than its {len(data)} bytes")
    reader.spend(len(data))
    if dtype.value == np.bool_ and data.strip(b"\0\1"):
        raise DamagedPickleError("a boolean that is neither true nor false")
    return dtype.value, data


def _text(value: Any) -> str:
    if type(value) is bytes:
        return value.decode("latin1")
    if type(value) is not str:
        raise DamagedPickleError("a word that is not text")
    return value


PLAIN_CALLS: dict[str, Callable[..., Any] | None] = {
    "builtins.set": _set,
    "__builtin__.set": _set,
    "builtins.bytes": _bytes,
    "__builtin__.bytes": _bytes,
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
}
for _core in ("numpy.core", "numpy._core"):  # numpy 2 moved its inner modules
    PLAIN_CALLS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    PLAIN_CALLS[f"{_core}.multiarray.scalar"] = _scalar
    PLAIN_CALLS[f"{_core}.numeric._frombuffer"] = _from_buffer
