"""Decoding in processes of its own: a decoder that crashes, hangs or eats the memory costs one video, not the run.

A decoding process is used for some hundred videos and then replaced, since decoders leak. One that died is replaced
too, and its video begun again once: somebody may have killed the process, and then nothing is lost. Where it dies of
the same video a second time, the video is at fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

from vidface.engines.reading import Message, Reading, Video, VideoEnd
from vidface.engines.wire import ClosedError, SilentError, receive

ATTEMPTS = 2


class Limits(NamedTuple):
    """What a decoding process may use.

    Attributes:
        seconds: without a word, while its frames are waited for.
        bytes: of resident memory.
        videos: until it is replaced.
    """

    seconds: float = 120.0
    bytes: int = 4_000_000_000
    videos: int = 256


LIMITS = Limits()


class _TooLargeError(Exception):
    """The process has more memory than it may."""


class _Decoder:
    """One decoding process, and how many videos it has read."""

    def __init__(self, reading: Reading) -> None:
        command = [sys.executable, "-P", "-m", "vidface.engines.decoder", json.dumps(reading._asdict())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
        )
        self.videos = 0

    def ask(self, video: Video, skip: int) -> None:
        """Name the next video, of which the first ``skip`` frames are known."""
        assert self.process.stdin is not None
        self.videos += 1
        task = {"video_id": video.video_id, "path": str(video.path), "skip": skip}
        try:
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ClosedError from None

    def answer(self, limits: Limits) -> Message:
        assert self.process.stdout is not None
        self._look(limits)
        return receive(self.process.stdout.fileno(), limits.seconds, lambda: self._look(limits))

    def _look(self, limits: Limits) -> None:
        if resident_bytes(self.process.pid) > limits.bytes:
            raise _TooLargeError

    def end(self) -> str:
        """Stop the process, and say how it ended."""
        self.process.kill()
        code = self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Decoders:
    """The decoding processes of one run: as many as threads call `read` at a time; they end with the block."""

    def __init__(self, reading: Reading, limits: Limits = LIMITS) -> None:
        self._reading, self._limits = reading, limits
        self._idle: list[_Decoder] = []
        self._busy: set[_Decoder] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes, also those that are being waited for: their `read` ends without a word."""
        with self._lock:
            self._stopped = True
            for decoder in self._busy:
                decoder.process.kill()
            for decoder in self._idle:
                decoder.end()
            self._idle.clear()

    def read(self, video: Video) -> Iterator[Message]:
        """As `vidface.engines.reading.read_video`, in a process of its own.

        Faults: ``decoder-crashed``, ``decoder-hung`` and ``decoder-memory``; the video is lost then.
        """
        taken = 0
        for attempt in range(ATTEMPTS):
            decoder = self._take()
            finished = False
            try:
                decoder.ask(video, taken)
                while True:
                    message = decoder.answer(self._limits)
                    if isinstance(message, VideoEnd):
                        finished = not message.lost
                        yield message
                        return
                    taken += len(message.pixels)
                    yield message
            except ClosedError:
                if self._stopped:
                    return
                if attempt + 1 == ATTEMPTS:
                    detail = f"the decoder crashed {ATTEMPTS} times ({decoder.end()})"
                    yield VideoEnd([("decoder-crashed", detail)], lost=True)
            except SilentError:
                detail = f"no frame for {self._limits.seconds:g} s: the decoder was stopped"
                yield VideoEnd([("decoder-hung", detail)], lost=True)
                return
            except _TooLargeError:
                detail = f"the decoder took more than {self._limits.bytes / 1e9:g} GB and was stopped"
                yield VideoEnd([("decoder-memory", detail)], lost=True)
                return
            finally:
                self._give_back(decoder, finished)

    def _take(self) -> _Decoder:
        with self._lock:
            decoder = self._idle.pop() if self._idle else _Decoder(self._reading)
            self._busy.add(decoder)
        return decoder

    def _give_back(self, decoder: _Decoder, finished: bool) -> None:
        """Keep a process that has finished its video, unless it is due."""
        with self._lock:
            self._busy.discard(decoder)
            if finished and decoder.videos < self._limits.videos and not self._stopped:
                self._idle.append(decoder)
                return
        decoder.end()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where it cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
