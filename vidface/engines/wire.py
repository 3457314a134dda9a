"""How a decoding process talks to the one that started it: JSON, with the pixels raw behind it; nothing is pickled.

To the decoder goes a line of JSON a video. Back come messages: the length of a header in 4 bytes, the header in JSON,
and, where it speaks of a block, ``frames * height * width * 3`` bytes of pixels.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from vidface.engines.reading import Block, Message, VideoEnd
from vidface.errors import UsageError

_LENGTH = struct.Struct("<I")
_LOOK_SECONDS = 0.2  # between two looks at the decoder while it is silent


class ClosedError(Exception):
    """The other side is gone."""


class SilentError(Exception):
    """The other side has said nothing for too long."""


def send(stream: BinaryIO, message: Message | UsageError) -> None:
    """Write one message, and flush it."""
    header: dict[str, Any]
    if isinstance(message, Block):
        header = {"shape": message.pixels.shape, "times": message.times}
    elif isinstance(message, UsageError):
        header = {"error": str(message)}
    else:
        header = {"faults": message.faults, "lost": message.lost}
    encoded = json.dumps(header).encode()
    stream.write(_LENGTH.pack(len(encoded)) + encoded)
    if isinstance(message, Block):
        stream.write(np.ascontiguousarray(message.pixels).data)
    stream.flush()


def receive(handle: int, seconds: float, look: Callable[[], None]) -> Message:
    """Read one message.

    Args:
        handle: the file descriptor to read from.
        seconds: how long the other side may say nothing.
        look: called now and then while waiting; may raise.

    Raises:
        ClosedError: the other side is gone, in the middle of a message or before one.
        SilentError: it has said nothing for so long.
        UsageError: it cannot read any video, since the call is wrong.
    """
    (length,) = _LENGTH.unpack(_exactly(handle, _LENGTH.size, seconds, look))
    header = json.loads(bytes(_exactly(handle, length, seconds, look)))
    if "error" in header:
        raise UsageError(header["error"])
    if "shape" not in header:
        return VideoEnd([(kind, detail) for kind, detail in header["faults"]], header["lost"])
    shape = header["shape"]
    pixels = np.frombuffer(_exactly(handle, int(np.prod(shape)), seconds, look), np.uint8)
    return Block(pixels.reshape(shape), header["times"])


def _exactly(handle: int, size: int, seconds: float, look: Callable[[], None]) -> bytearray:
    data = bytearray(size)
    view, filled = memoryview(data), 0
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + seconds
    while filled < size:
        if not poll.poll(1000 * _LOOK_SECONDS):
            look()
            if time.monotonic() > deadline:
                raise SilentError
            continue
        count = os.readv(handle, [view[filled:]])
        if count == 0:
            raise ClosedError
        filled += count
        deadline = time.monotonic() + seconds
    return data
