"""Decoding in processes of its own: a decoder that crashes, hangs or eats the memory costs one video, not the run.

A decoding process is used for many videos and then replaced, since decoders leak. One that died is replaced too, and
its video begun again once: somebody may have killed the process, and then nothing is lost. If it dies of the same
video a second time, the video is at fault. A process that dies between two videos is no video's fault.

Python's own pools are not used: they unpickle what a worker sends, and lose all work with one worker that dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

from vidface.errors import VidfaceError, printable
from vidface.features.engines.decoder import ClosedError, receive
from vidface.features.engines.reading import Message, ReadOptions, Video, VideoEnd

ATTEMPTS = 2  # at a video
STARTS = 3  # of a process that dies before its first video
START_SECONDS = 120.0  # for Python and its libraries to be read from a slow disk
KILL_SECONDS = 5.0  # a process that waits for a disk cannot even be killed: it is left behind
LOOK_SECONDS = 0.2  # between two looks at the decoders' memory and silence
PIPE_BYTES = 1 << 20  # nearly a block of faces; as much as Linux gives without asking


class Limits(NamedTuple):
    """What a decoding process may use. How long it may be silent is in `ReadOptions`, what it may not do at all in
    `vidface.features.engines.confine`.

    Attributes:
        bytes: of resident memory, at any time, and of private memory that it asks for beyond what it has before its
            first video; known on Linux only.
        idle_bytes: of resident memory, between two videos: with more it is replaced.
        videos: until it is replaced. Starting one takes about as long as decoding 20 clips of 31 small frames.
    """

    bytes: int = 4_000_000_000
    idle_bytes: int = 1_000_000_000
    videos: int = 1024


LIMITS = Limits()


class _Answers(io.FileIO):
    """What a decoding process writes. It ends with the process, or once that is ``stopped``, even if it lives on."""

    stopped = False

    def readinto(self, buffer: Any, /) -> int | None:
        """As many bytes as there are."""
        ready = select.poll()
        ready.register(self, select.POLLIN)
        while not ready.poll(1000 * LOOK_SECONDS):
            if self.stopped:
                return 0
        return super().readinto(buffer)


class _Decoder:
    """One decoding process, and how many videos it was asked for.

    ``deadline`` is until when it may be silent, while an answer is waited for; ``fault`` why it was stopped, (kind,
    detail); ``last_words`` what it printed before its first video, known once it has ended.
    """

    def __init__(self, reading: ReadOptions, limits: Limits) -> None:
        self.videos, self.deadline, self.last_words = 0, math.inf, ""
        self.fault: tuple[str, str] | None = None
        self._ended: str | None = None
        # Its messages have a pipe of their own: whatever is printed in the process cannot get among them.
        answers, theirs = os.pipe()
        self._raw = _Answers(answers)
        self._answers = io.BufferedReader(self._raw)
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        told = {
            "parent": os.getpid(),
            "answers": theirs,
            "memory": limits.bytes,
            "reading": reading.to_json(),
        }
        try:
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                with contextlib.suppress(OSError):  # a user may hold so many pages in pipes, and then no more
                    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "vidface.features.engines.decoder", json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=self._printed,
                stderr=self._printed,
                pass_fds=(theirs,),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                process_group=0,  # Ctrl-C in a terminal goes to its whole group
            )
        except BaseException:
            self._answers.close()
            self._printed.close()
            raise
        finally:
            os.close(theirs)

    def ask(self, video: Video, known: int) -> None:
        """Name the next video, of which the first ``known`` rows need not come again."""
        assert self.process.stdin is not None
        self.videos += 1
        task = {"video_id": video.video_id, "path": str(video.path), "known": known}
        try:
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise ClosedError from None

    def answer(self, seconds: float) -> Message | None:
        """The next message; after so many seconds of silence the process is stopped."""
        self.deadline = time.monotonic() + seconds
        try:
            return receive(self._answers)
        finally:
            self.deadline = math.inf

    def kill(self) -> None:
        """Kill the process; an answer that is waited for does not come, whether or not it dies of it."""
        self._raw.stopped = True
        self.process.kill()

    def end(self) -> str:
        """Kill the process, and say how it ended."""
        if self._ended is None:
            self.kill()
            try:
                self._ended = _how(self.process.wait(KILL_SECONDS))
            except subprocess.TimeoutExpired:
                self._ended = "it cannot be killed"
            assert self.process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
            self._answers.close()
            with self._printed as file:
                file.seek(0)
                lines = file.read().decode(errors="replace").split("\n")
            self.last_words = next((printable(line) for line in reversed(lines) if line.strip()), "")
        return self._ended


class Decoders:
    """The decoding processes of one run: as many as threads call `read` at a time; they end with the block."""

    def __init__(self, reading: ReadOptions, limits: Limits = LIMITS) -> None:
        self._reading, self._limits = reading, limits
        self._what = "decoder" if reading.faces is None else "decoder or the detector"
        self._idle: list[_Decoder] = []
        self._busy: set[_Decoder] = set()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        # Linux ends a decoding process with the thread that started it. This one lives as long as they may.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="start-decoders")
        threading.Thread(target=self._watch, name="watch-decoders", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all processes, also those that are being waited for: their `read` ends without a word."""
        with self._lock:
            self._stopped.set()
            idle, self._idle = self._idle, []
            for decoder in (*idle, *self._busy):
                decoder.kill()
        for decoder in idle:
            decoder.end()
        self._starter.shutdown()

    def read(self, video: Video) -> Generator[Message]:
        """As `vidface.features.engines.reading.read_video`, in a process of its own. Several threads may call it.

        Faults: ``decoder-crashed``, ``decoder-hung`` and ``decoder-memory``; the video is lost then.

        Raises:
            VidfaceError: decoding processes do not start.
        """
        taken = deaths = died_at_start = 0
        timeout = self._reading.timeout
        while (decoder := self._take()) is not None:
            fresh, begun, whole = decoder.videos == 0, False, False
            try:
                decoder.ask(video, taken)
                if decoder.answer(max(START_SECONDS, timeout) if fresh else timeout) is not None:
                    raise ClosedError
                begun = True
                while True:
                    message = decoder.answer(timeout)
                    if isinstance(message, VideoEnd):
                        whole = not message.lost
                        yield message
                        return
                    # Of a decoder that is still itself the rows always are what this run takes.
                    if message is None or (self._reading.faces is None) != (message.faces is None):
                        raise ClosedError
                    if self._reading.input_size not in (None, message.pixels.shape[1:3]):
                        raise ClosedError
                    taken += len(message.times)
                    yield message
            except ClosedError:
                if self._stopped.is_set():
                    return
                deaths += begun
                died_at_start += fresh and not begun
                fault = decoder.fault
                if fault is None and deaths == ATTEMPTS:
                    crashed = f"the {self._what} crashed {ATTEMPTS} times"
                    fault = "decoder-crashed", f"{crashed} ({decoder.end()})"
                if begun and fault is not None:
                    yield VideoEnd([fault], lost=True)
                    return
            finally:
                self._give_back(decoder, keep=whole)
            if died_at_start == STARTS:
                raise VidfaceError(
                    f"decoding processes do not start: {decoder.last_words or decoder.end()}: "
                    "mend that, or decode in this process (--workers 0)"
                )

    def _watch(self) -> None:
        """Stop what takes too much memory, or is silent for too long."""
        while not self._stopped.wait(LOOK_SECONDS):
            with self._lock:
                busy = list(self._busy)
            for decoder in busy:
                if resident_bytes(decoder.process.pid) > self._limits.bytes:
                    most = f"more than {self._limits.bytes / 1e9:g} GB"
                    decoder.fault = "decoder-memory", f"the {self._what} took {most} and was stopped"
                    decoder.kill()
                elif time.monotonic() > decoder.deadline:
                    silence = f"no frame for {self._reading.timeout:g} s"
                    decoder.fault = "decoder-hung", f"{silence}: the {self._what} was stopped"
                    decoder.kill()

    def _take(self) -> _Decoder | None:
        """A process, an idle one if there is any; None after `stop`."""
        with self._lock:
            if self._stopped.is_set():
                return None
            if self._idle:
                decoder = self._idle.pop()
                self._busy.add(decoder)
                return decoder
            starting = self._starter.submit(_Decoder, self._reading, self._limits)
        try:
            decoder = starting.result()
        except OSError as error:
            raise VidfaceError(
                f"decoding processes cannot be started: {error.strerror or error}: "
                "use fewer --workers, or decode in this process (--workers 0)"
            ) from None
        with self._lock:
            self._busy.add(decoder)
            if self._stopped.is_set():
                decoder.kill()
        return decoder

    def _give_back(self, decoder: _Decoder, *, keep: bool) -> None:
        """Keep a process that has finished its video, unless it is due."""
        due = decoder.videos >= self._limits.videos or not keep
        due = due or resident_bytes(decoder.process.pid) > self._limits.idle_bytes
        with self._lock:
            self._busy.discard(decoder)
            if not due and not self._stopped.is_set():
                self._idle.append(decoder)
                return
        decoder.end()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 if it cannot be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _how(code: int) -> str:
    """How a process ended, from subprocess's code for it."""
    names = {-number.value: number.name for number in signal.Signals}
    return f"exit code {code}" if code >= 0 else f"signal {names.get(code, -code)}"
