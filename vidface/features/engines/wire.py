"""How a decoding process talks to the one that started it: JSON, with the pixels raw behind it; nothing is pickled.

To the decoder goes a line of JSON a video. Back come messages: a mark and the length of a header in 8 bytes, the
header in JSON, and, where it speaks of a block, ``rows * height * width * 3`` bytes of pixels; then, where its rows are
faces that were found, the bytes of the arrays of `vidface.files.faces.FaceRows`, one after the other.
"""

from __future__ import annotations

import json
import math
import os
import select
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError, VidfaceError, printable
from vidface.features.engines.reading import Block, Message, VideoEnd
from vidface.files.faces import NO_FACES, FaceCounts, FaceRows

_START = struct.Struct("<4sI")
_MARK = b"vfd1"  # a decoder that writes into files that are not its own is noticed here
# More than any decoder sends. One that a clip has taken over must not make this process ask for memory without end.
_HEADER_BYTES, _BLOCK_BYTES = 64 << 20, 2 << 30
_LOOK_SECONDS = 0.2  # between two looks at the decoder while it is silent


class Begun(NamedTuple):
    """The decoder has heard of a video, and begins: what happens from now on is about this video."""


class ClosedError(Exception):
    """The other side is gone, or no longer itself."""


class SilentError(Exception):
    """The other side has said nothing for too long."""


def send(stream: BinaryIO, message: Message | Begun | VidfaceError) -> None:
    """Write one message, and flush it."""
    header: dict[str, Any]
    if isinstance(message, Block):
        header = {
            "shape": message.pixels.shape,
            "times": message.times,
            "found": message.faces is not None,
        }
    elif isinstance(message, VideoEnd):
        header = {
            "faults": message.faults,
            "lost": message.lost,
            "counts": message.counts,
            "size": message.size,
        }
    elif isinstance(message, VidfaceError):
        header = {"error": str(message), "usage": isinstance(message, UsageError)}
    else:
        header = {"begun": True}
    encoded = json.dumps(header).encode()
    stream.write(_START.pack(_MARK, len(encoded)) + encoded)
    if isinstance(message, Block):
        for array in (message.pixels, *(message.faces or ())):
            stream.write(np.ascontiguousarray(array).data)
    stream.flush()


def receive(handle: int, seconds: float, look: Callable[[], None]) -> Message | Begun:
    """Read one message.

    Args:
        handle: the file descriptor to read from.
        seconds: how long the other side may say nothing.
        look: called now and then while waiting; may raise.

    Raises:
        ClosedError: the other side is gone, in the middle of a message or before one, or what comes is no message: it
            is not believed, since a clip may have taken the decoder over.
        SilentError: it has said nothing for so long.
        VidfaceError: it cannot read any video: the call is wrong (UsageError), or the decoder is not there.
    """
    mark, length = _START.unpack(_exactly(handle, _START.size, seconds, look))
    if mark != _MARK or length > _HEADER_BYTES:
        raise ClosedError
    try:
        header = json.loads(bytes(_exactly(handle, length, seconds, look)))
        said = _said(header)
        shape, times = ((0,), []) if said is not None else _block(header)
    except (
        ValueError,
        TypeError,
        KeyError,
        RecursionError,
    ):  # whoever says that is no decoder of ours any more
        raise ClosedError from None
    if isinstance(said, VidfaceError):
        raise said
    if said is not None:
        return said

    def array(shape: Sequence[int], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        size = math.prod(shape) * dtype.itemsize
        return np.frombuffer(_exactly(handle, size, seconds, look), dtype).reshape(shape)

    pixels = array(shape, np.dtype(np.uint8))
    if not header.get("found"):
        return Block(pixels, times)
    faces = FaceRows(*(array((len(times), *like.shape[1:]), like.dtype) for like in NO_FACES))
    return Block(pixels, times, faces)


def _said(header: dict[str, Any]) -> Begun | VideoEnd | VidfaceError | None:
    """What a header says where it is not about a block.

    Raises:
        ValueError, TypeError, KeyError: it is no header of `send`.
    """
    if "begun" in header:
        return Begun()
    if "error" in header:
        return (UsageError if header["usage"] else VidfaceError)(printable(str(header["error"])))
    if "faults" in header:
        faults = [(str(kind), str(detail)) for kind, detail in header["faults"]]
        counts = header.get("counts")
        if counts is not None:
            counts = FaceCounts(*map(_count, counts))
        size = header.get("size")
        if size is not None:
            height, width = map(_count, size)
            size = height, width
        return VideoEnd(faults, bool(header["lost"]), counts, size)
    return None


def _block(header: dict[str, Any]) -> tuple[tuple[int, ...], list[float]]:
    """The shape of a block's pixels and its times; raises as `_said`."""
    shape = tuple(map(_count, header["shape"]))
    times = [float(seconds) for seconds in header["times"]]
    whole = len(shape) == 4 and shape[0] == len(times) and shape[3] == 3
    if not whole or math.prod(shape) > _BLOCK_BYTES or not all(map(math.isfinite, times)):
        raise ValueError
    return shape, times


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _exactly(handle: int, size: int, seconds: float, look: Callable[[], None]) -> bytearray:
    data = bytearray(size)
    view, filled = memoryview(data), 0
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + seconds
    while filled < size:
        if not poll.poll(1000 * min(_LOOK_SECONDS, seconds)):
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
