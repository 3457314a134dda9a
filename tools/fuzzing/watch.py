"""One file read as vidface reads it, and what is wrong with how that went."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import socket
import struct
import sys
import time
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import av
import av.logging
import numpy as np

import vidface.frames
from vidface.errors import MediaError
from vidface.frames import ReadReport, read_frames
from vidface.frames.frame import MAX_PIXELS, NOTES

__all__ = ["Problem", "Watch", "read_one"]

SLOW_SECONDS = 5.0
MOST_FRAMES = 60  # that are taken from one file
KINDS = {
    *("missing", "empty-file", "not-a-video", "unreadable", "no-frames", "unreadable-image", "too-large"),
    "decoder-refused",
}
FAULTS = {"truncated", "concealed", "partial", "unreadable-image", "too-large", *NOTES}
SOURCES = str(Path(vidface.frames.__file__).parent)
IN_OPEN = 0x20  # of <sys/inotify.h>

Problem = str | None


class Watch:
    """What the reading of one file comes across: where it got to, and what else was opened."""

    def __init__(self, folder: Path) -> None:
        self.heard: set[object] = set()
        self.opened: list[str] = []
        self.reading: str | None = None  # the one file that may be opened
        self.last: tuple[str, int] | None = None
        libc = ctypes.CDLL(None)
        self._inotify = libc.inotify_init1(os.O_NONBLOCK)
        libc.inotify_add_watch(self._inotify, os.fsencode(folder), IN_OPEN)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.server.setblocking(False)
        sys.addaudithook(self._audit)
        watch, capture = self, av.logging.Capture

        class Hearing:
            """In place of `av.logging.Capture`, as vidface.frames.demux uses it."""

            def __init__(self) -> None:
                self._capture = capture()

            def __enter__(self) -> Any:
                self._logs = self._capture.__enter__()
                return self._logs

            def __exit__(self, *exception: Any) -> None:
                self._capture.__exit__(*exception)
                for _, name, text in self._logs:
                    # Numbers, names and bytes of the file make no new message.
                    plain = re.findall(r"(?<![\w])(?![a-fx]+\b)[A-Za-z]{3,}(?![\w])", text)
                    watch.heard.add((name, " ".join(plain[:3])))

        av.logging.Capture = Hearing  # type: ignore[misc,assignment]
        av.logging.set_level(av.logging.VERBOSE)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.reading is None:
            return
        if event.startswith(("socket.", "subprocess.", "os.exec", "os.system", "ctypes.dlopen")):
            self.opened.append(event)
        elif (
            event == "open"
            and str(arguments[0]) != self.reading
            and not str(arguments[0]).endswith((".py", ".pyc"))
        ):
            self.opened.append(f"open {arguments[0]!r}")

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        """For `sys.settrace`: every step between two lines of vidface.frames."""
        if not frame.f_code.co_filename.startswith(SOURCES):
            return None
        here = (frame.f_code.co_filename, frame.f_lineno)
        self.heard.add((self.last, here))
        self.last = here
        return self.trace

    def others(self, own: str) -> list[str]:
        """What else was opened or called since the last look."""
        found, self.opened = self.opened, []
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._inotify, 1 << 16):
                while data:
                    (length,) = struct.unpack_from("I", data, 12)
                    name = data[16 : 16 + length].rstrip(b"\0").decode(errors="replace")
                    found += [f"{name} was opened"] if name not in (own, "") else []
                    data = data[16 + length :]
        with contextlib.suppress(BlockingIOError):
            self.server.accept()[0].close()
            found.append("a connection was made")
        return found


def read_one(path: Path, watch: Watch) -> Problem:
    """Read one file as vidface does; what is wrong with how that went. ``watch.heard`` has how far it came."""
    watch.heard, watch.last = set(), None
    watch.reading = str(path)
    report = ReadReport()
    begun, last, problem, ending = time.process_time(), -1.0, None, ""
    sys.settrace(watch.trace)
    try:
        for frame in islice(read_frames(path, fps=None, report=report), MOST_FRAMES):
            pixels = frame.pixels
            sound = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
            if not (
                sound and pixels.flags.c_contiguous and 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
            ):
                problem = f"a frame of {pixels.dtype} {pixels.shape}"
            if not (np.isfinite(frame.pts_seconds) and frame.pts_seconds >= last):
                problem = f"a frame at {frame.pts_seconds} after one at {last}"
            last = frame.pts_seconds
        ending = f"{min(report.sampled, 4)} frames"
    except MediaError as error:
        ending = error.kind
        if error.kind not in KINDS:
            problem = f"the kind {error.kind} is not known"
        if not str(error).strip() or len(str(error)) > 2000:
            problem = f"a message of {len(str(error))} letters"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        trace, place = error.__traceback__, ""
        while trace is not None:
            place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
            trace = trace.tb_next
        problem = f"{type(error).__name__} at {place}: {' '.join(str(error).split())[:150]}"
    finally:
        sys.settrace(None)
        watch.reading = None
    kinds = {kind for kind, _ in report.faults}
    if kinds - FAULTS:
        problem = f"the kinds {sorted(kinds - FAULTS)} are not known"
    watch.heard |= {(ending, kind) for kind in kinds or {""}}
    if (took := time.process_time() - begun) > SLOW_SECONDS:
        problem = problem or f"slow: more than {SLOW_SECONDS:g} s ({took:.0f} s)"
    if others := watch.others(path.name):
        problem = others[0]
    return problem
