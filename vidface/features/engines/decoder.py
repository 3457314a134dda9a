"""The program of a decoding process, and how it talks to `vidface.features.engines.isolated`, which starts it.

Videos are named on stdin, a line of JSON each. Back come messages: a line of JSON and, if it is a block, the bytes of
its pixels and of the arrays of `vidface.files.faces.FaceRows`. Nothing is pickled, and what comes is checked: a clip
may have taken the decoder over.

The process ends with the one that started it, however that ends: on Linux at once, whatever it is doing, elsewhere
after the video at hand. Before it hears of the first video it gives up what `vidface.features.engines.confine` lists.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vidface.errors import UsageError, VidfaceError, printable
from vidface.features.engines.confine import confine
from vidface.features.engines.reading import Block, Message, ReadOptions, Video, VideoEnd, read_video
from vidface.files.faces import NO_FACES, FaceCounts, FaceRows
from vidface.frames.read import load_decoder

# More than any decoder sends: one that a clip has taken over must not make the other process ask for all memory.
_LINE_BYTES, _BLOCK_BYTES = 64 << 20, 2 << 30
_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>


class ClosedError(Exception):
    """The other side is gone, or no longer itself."""


def main() -> None:
    """Read videos until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    told = json.loads(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != told["parent"]:  # it was gone before that took effect
        return
    reading = ReadOptions.from_json(told["reading"])
    with contextlib.suppress(ImportError):  # the first video that needs it reports that
        load_decoder(reading.decoder)
    if reading.faces is not None:  # in the time of the start, not of the first video
        from vidface.features.engines.detection import load_detector

        with contextlib.suppress(VidfaceError):
            load_detector(reading.faces)
    # Up to here what is printed tells why a process does not start. From here on it is a decoder's chatter.
    for stream in (sys.stdout, sys.stderr):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    confine(told["memory"])
    with os.fdopen(told["answers"], "wb", 1 << 16) as answers, contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            task = json.loads(line)
            send(answers, None)
            try:
                messages = read_video(Video(task["video_id"], Path(task["path"])), reading)
                for message in without_known(messages, task["known"]):
                    send(answers, message)
                    if isinstance(message, VideoEnd) and message.lost:
                        return  # nobody knows what state this process is in
            except VidfaceError as error:
                send(answers, error)
                return


def without_known(messages: Iterator[Message], known: int) -> Iterator[Message]:
    """Leave out the first ``known`` rows; blocks need not be cut as they were the first time.

    Empty blocks are kept: they show that the decoder is not hung.
    """
    for message in messages:
        if isinstance(message, Block):
            yield message.after(known)
            known = max(0, known - len(message.times))
        else:
            yield message


def send(stream: BinaryIO, message: Message | VidfaceError | None) -> None:
    """Write one message; None says that the decoder has heard of a video, and what happens now is about that one."""
    arrays: tuple[np.ndarray[Any, Any], ...] = ()
    if isinstance(message, Block):
        header = {"shape": message.pixels.shape, "times": message.times, "found": message.faces is not None}
        arrays = (message.pixels, *(message.faces or ()))
    elif isinstance(message, VideoEnd):
        header = message._asdict()
    elif message is None:
        header = {"begun": True}
    else:
        header = {"error": str(message), "usage": isinstance(message, UsageError)}
    stream.write(json.dumps(header).encode() + b"\n")
    for array in arrays:
        stream.write(np.ascontiguousarray(array).data)
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """Read one message of `send`.

    Raises:
        ClosedError: the other side is gone, in the middle of a message or before one, or what comes is no message.
        VidfaceError: it cannot read any video: the call is wrong (UsageError), or the decoder is not there.
    """
    try:
        header = json.loads(stream.readline(_LINE_BYTES))
        if "begun" in header:
            return None
        if "faults" in header:
            return _end(header)
        if "error" not in header:
            return _block(header, stream)
        error = (UsageError if header["usage"] else VidfaceError)(printable(str(header["error"])))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ClosedError from None
    raise error


def _end(header: dict[str, Any]) -> VideoEnd:
    counts, size = header.get("counts"), header.get("size")
    if size is not None:
        height, width = map(_count, size)
        size = height, width
    return VideoEnd(
        [(str(kind), str(detail)) for kind, detail in header["faults"]],
        bool(header["lost"]),
        None if counts is None else FaceCounts(*map(_count, counts)),
        size,
    )


def _block(header: dict[str, Any], stream: BinaryIO) -> Block:
    shape = tuple(map(_count, header["shape"]))
    times = [float(seconds) for seconds in header["times"]]
    whole = len(shape) == 4 and shape[0] == len(times) and shape[3] == 3
    if not whole or math.prod(shape) > _BLOCK_BYTES or not all(map(math.isfinite, times)):
        raise ValueError

    def array(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        return np.frombuffer(stream.read(math.prod(shape) * dtype.itemsize), dtype).reshape(shape)

    pixels = array(shape, np.dtype(np.uint8))
    if not header.get("found"):
        return Block(pixels, times)
    return Block(
        pixels, times, FaceRows(*(array((len(times), *like.shape[1:]), like.dtype) for like in NO_FACES))
    )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


if __name__ == "__main__":
    main()
