"""Pickles read without running anything: a machine that knows plain values and arrays, and nothing else.

A pickle is a program. Python's own unpickler runs it, and forbidding it to look up names is not enough: nine
bytes make it take 4 GB for its memo, and a dictionary whose key is a deeply nested tuple ends the process. So the
opcodes are carried out here (`machine.py`). A name in a pickle is never imported: it is looked up in a small table
of functions of our own (`arrays.py`), which check what they are given. What a name or a number type became is a
`Token`; tokens are of use to the machine and can never be part of the result.

Everything is bounded by the size of the file: a length is checked before it is taken, arrays hold exactly the
bytes that were in the file, and what may be copied more than once is counted. Nesting costs no recursion.
Tested in ``tests/files/unpickle/test_unpickle.py`` against Python's own pickles.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from vidface.files.unpickle.arrays import PLAIN_CALLS, build_plain
from vidface.files.unpickle.machine import DamagedPickleError, Machine, Token

__all__ = ["PLAIN_CALLS", "DamagedPickleError", "Machine", "Token", "build_plain", "load_plain"]


def load_plain(content: bytes | BinaryIO, *, source: str, encoding: str = "latin1") -> Any:
    """Read a pickle of plain values; nothing in it is ever called or imported.

    Args:
        content: the pickle, or a file that is read from where it stands to its end.
        source: what it is called in messages.
        encoding: how the text of Python 2 is decoded; "bytes" leaves it as bytes.

    Returns:
        An object built of None, bool, int, float, str, bytes (a bytearray too comes back as bytes), list, tuple,
        dict, set, and numpy arrays and scalars of numbers and booleans. A list or dictionary may hold itself, as
        in any pickle.

    Raises:
        StoreError: it wants anything else (the message names it), is cut short or damaged, or claims more than
            its size can hold.
    """
    data = content if isinstance(content, bytes) else content.read()
    return Machine(data, source=source, encoding=encoding, calls=PLAIN_CALLS, build=build_plain).run()
