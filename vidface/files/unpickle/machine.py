"""The opcodes of pickles, carried out for plain values alone.

Opcodes as in CPython's ``Lib/pickletools.py``; protocols 0 to 5, Python 2 included.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vidface.errors import StoreError

__all__ = ["DamagedPickleError", "Machine", "Token", "check_keys", "one_line"]

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.?)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


class DamagedPickleError(ValueError):
    """Why a pickle cannot be what it says; `Machine.run` makes it a StoreError."""


class Token:
    """A name, a number type or a storage: it is of use to the machine alone."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: Any = None) -> None:
        self.name = name
        self.value = value


class _Arguments(tuple[Any, ...]):
    """A tuple that holds a token, so that it cannot be part of the result either."""

    __slots__ = ()


_INTERNAL = frozenset({Token, _Arguments})
_SCALARS = frozenset({type(None), bool, float, str, bytes})


class Machine:
    """The state of one pickle being read.

    Args:
        data: the whole pickle.
        source: what it is called in messages.
        encoding: how the text of Python 2 is decoded; "bytes" leaves it as bytes.
        calls: the names that the pickle may use, as "module.name": a function of the machine and the pickle's
            arguments, or None for a name that is only passed on.
        build: gives a state to what a call made; a function of the machine, the thing and the state.
        persistent: makes a persistent id into a `Token`; without, they are refused.
    """

    def __init__(
        self,
        data: bytes,
        *,
        source: str,
        encoding: str = "latin1",
        calls: Mapping[str, Callable[..., Any] | None],
        build: Callable[[Machine, Any, Any], None],
        persistent: Callable[[Any], Token] | None = None,
    ) -> None:
        self.data = data
        self.source = source
        self.encoding = encoding
        self.calls = calls
        self.build_with = build
        self.persistent = persistent
        self.at = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, Any] = {}
        self.allowance = 4 * len(data)  # bytes and items that may still be copied

    def run(self) -> Any:
        """Carry the pickle out to its STOP.

        Raises:
            StoreError: the pickle wants more than ``calls``, or is damaged.
        """
        try:
            while True:
                opcode = self.take(1)
                if opcode == b".":
                    break
                step = _STEPS.get(opcode)
                if step is None:
                    raise DamagedPickleError(f"{opcode!r} is not an opcode that plain values need")
                step(self)
            result = self.stack.pop()
            if type(result) in _INTERNAL:
                raise DamagedPickleError("it holds a name and not a value")
        except (DamagedPickleError, IndexError, KeyError) as error:
            reason = str(error) if isinstance(error, DamagedPickleError) else "what it refers to is not there"
            raise self.damaged(reason) from None
        except (ValueError, TypeError, OverflowError, struct.error) as error:  # of numbers, text and numpy
            raise self.damaged(one_line(str(error))) from None
        return result

    def damaged(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.source}: not a pickle of plain values, or a damaged one: byte {self.at}: {reason}"
        )

    def refused(self, what: str) -> StoreError:
        return StoreError(
            f"{self.source}: is a pickle that wants to call {one_line(what)}: refused, since a call can run code; "
            "only plain values and arrays are read"
        )

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self.data):
            raise DamagedPickleError(f"it ends there, but {count} more bytes are announced")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, size: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise DamagedPickleError("a line has no end")
        part = self.data[self.at : end]
        self.at = end + 1
        return part

    def spend(self, count: int) -> None:
        """Count what is copied from things that could be copied again and again."""
        self.allowance -= count
        if self.allowance < 0:
            raise DamagedPickleError("it makes more than a file of its size can hold")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def open_mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def close_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.below.pop()
        return items

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.close_mark()

    def old_text(self, raw: bytes) -> None:
        """Push a str of Python 2."""
        self.push(raw if self.encoding == "bytes" else raw.decode(self.encoding))

    def quoted(self) -> None:
        raw = self.line().strip()
        if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"'):
            raise DamagedPickleError("a text without quotes")
        self.old_text(_ESCAPE.sub(_unescape, raw[1:-1]))

    def integer(self) -> None:
        text = self.line()
        self.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text))

    def make_tuple(self, items: list[Any]) -> None:
        self.push(tuple(items) if _INTERNAL.isdisjoint(map(type, items)) else _Arguments(items))

    def make_short_tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        self.make_tuple(items)

    def extend_list(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list or not _INTERNAL.isdisjoint(map(type, items)):
            raise DamagedPickleError("only plain values can be appended, and only to a list")
        target.extend(items)

    def extend_dict(self, items: list[Any]) -> None:
        target, keys, values = self.stack[-1], items[::2], items[1::2]
        if type(target) is not dict or not _INTERNAL.isdisjoint(map(type, values)):
            raise DamagedPickleError("only plain values can be kept by a key, and only in a dictionary")
        check_keys(keys)
        target.update(zip(keys, values, strict=True))

    def make_list(self) -> None:
        items = self.close_mark()
        self.push([])
        self.extend_list(items)

    def make_dict(self) -> None:
        items = self.close_mark()
        self.push({})
        self.extend_dict(items)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.extend_dict([key, value])

    def extend_set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise DamagedPickleError("what is added to is not a set")
        check_keys(items)
        target.update(items)

    def find(self, module: str, name: str) -> None:
        full = f"{module}.{name}"
        if full not in self.calls:
            raise self.refused(full)
        self.push(Token(full, self.calls[full]))

    def find_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise DamagedPickleError("a name that is not text")
        self.find(module, name)

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(arguments, tuple) or type(function) is not Token or not callable(function.value):
            raise DamagedPickleError("a call of what is not a function")
        self.push(function.value(self, *arguments))

    def build(self) -> None:
        state = self.stack.pop()
        self.build_with(self, self.stack[-1], state)

    def persistent_token(self, key: Any) -> None:
        if self.persistent is None:
            raise DamagedPickleError("it refers to data outside of the file")
        self.push(self.persistent(key))

    def refuse_object(self) -> None:
        raise self.refused("the constructor of a class")

    def refuse_instance(self) -> None:
        raise self.refused(f"{self.line().decode('utf-8')}.{self.line().decode('utf-8')}")


def check_keys(keys: list[Any]) -> None:
    """Let only short and flat keys through: hashing others can take for ever, or end the process."""
    for key in keys:
        for part in key if type(key) is tuple and len(key) <= 8 else (key,):
            small = type(part) is int and part.bit_length() <= 64
            if not (small or type(part) in _SCALARS or isinstance(part, np.number | np.bool_)):
                raise DamagedPickleError("a key that is neither text, a number nor a few of them")


def _unescape(match: re.Match[bytes]) -> bytes:
    what: bytes = match[1]
    if len(what) == 3:
        return bytes([int(what[1:], 16)])
    if what not in _ESCAPED:
        raise DamagedPickleError("an escape that is none")
    return _ESCAPED[what]


def one_line(text: str) -> str:
    return (text if len(text) <= 120 else text[:117] + "...").encode("unicode_escape").decode()


_STEPS: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m.take(1),  # protocol: the opcodes of all of them are known
    b"\x95": lambda m: m.take(8),  # frame: a hint for reading from a file
    # values
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": Machine.integer,
    b"L": lambda m: m.push(int(m.line().rstrip(b"L"))),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": lambda m: m.push(m.number(m.number(1), signed=True)),
    b"\x8b": lambda m: m.push(m.number(m.number(4, signed=True), signed=True)),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"S": Machine.quoted,
    b"T": lambda m: m.old_text(m.take(m.number(4, signed=True))),
    b"U": lambda m: m.old_text(m.take(m.number(1))),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(m.take(m.number(4)).decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m.take(m.number(1)).decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.take(m.number(8)).decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": lambda m: m.push(m.take(m.number(8))),
    # containers
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b"\x8f": lambda m: m.push(set()),
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.make_short_tuple(1),
    b"\x86": lambda m: m.make_short_tuple(2),
    b"\x87": lambda m: m.make_short_tuple(3),
    b"t": lambda m: m.make_tuple(m.close_mark()),
    b"l": Machine.make_list,
    b"d": Machine.make_dict,
    b"a": lambda m: m.extend_list([m.stack.pop()]),
    b"e": lambda m: m.extend_list(m.close_mark()),
    b"s": Machine.set_item,
    b"u": lambda m: m.extend_dict(m.close_mark()),
    b"\x90": lambda m: m.extend_set(m.close_mark()),
    # the stack and the memo
    b"(": Machine.open_mark,
    b"0": Machine.pop,
    b"1": lambda m: m.close_mark(),
    b"2": lambda m: m.push(m.stack[-1]),
    b"p": lambda m: m.memo.__setitem__(int(m.line()), m.stack[-1]),
    b"q": lambda m: m.memo.__setitem__(m.number(1), m.stack[-1]),
    b"r": lambda m: m.memo.__setitem__(m.number(4), m.stack[-1]),
    b"\x94": lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    b"g": lambda m: m.push(m.memo[int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number(1)]),
    b"j": lambda m: m.push(m.memo[m.number(4)]),
    # names and calls: only those of the table, or none
    b"c": lambda m: m.find(m.line().decode("utf-8"), m.line().decode("utf-8")),
    b"\x93": Machine.find_on_stack,
    b"R": Machine.call,
    b"b": Machine.build,
    b"P": lambda m: m.persistent_token(m.line().decode("ascii")),
    b"Q": lambda m: m.persistent_token(m.stack.pop()),
    b"i": Machine.refuse_instance,
    b"o": Machine.refuse_object,
    b"\x81": Machine.refuse_object,
    b"\x92": Machine.refuse_object,
}
