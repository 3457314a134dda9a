"""Look for a file that the frames of vidface cannot cope with: a fuzzer of the gate of containers and pictures.

    python tools/fuzz_containers.py --seconds 600 --seed 1 --folder fuzz

Small clips of every container that vidface opens, a JPEG and a PNG are changed again and again: bits, lengths, pieces
of each other, names of other files. Each is read by ``vidface.frames.read_frames`` as a video or a picture. What must
come out is frames that are sound, or a MediaError of a known kind. All else is a finding: any other error, a crash,
more than `SLOW_SECONDS` or `MEMORY` for one small file, a frame larger than the limit, and any other file that is
opened or any connection that is made. What is opened is seen twice: Python's audit hook hears of what Python opens,
and the system (inotify) tells when the canary beside the file is opened, which FFmpeg itself might do.

A changed file that gets further than all before it is kept and changed again. "Further" is a new step between two lines
of ``vidface/frames``, a new way of ending, or a message of FFmpeg's of a form that was not heard before: FFmpeg is
compiled without counters, so what it says stands in for them.

The reading is done in a process of its own, which may die. Findings lie in FOLDER/found, made as short as they stay the
same finding, with what is wrong in a text beside each; FOLDER/corpus is read again by the next run. Exit code 1 where
there are findings. The same seed gives the same files as long as none of them dies and time does not run out.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import io
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

import av
import av.logging
import numpy as np
from PIL import Image

import vidface.frames
from vidface.errors import MediaError
from vidface.frames import ReadReport, read_frames
from vidface.frames.frame import MAX_PIXELS

SLOW_SECONDS = 5.0
HANG_SECONDS = 30.0
MEMORY = 3 << 30  # bytes of one process
MOST_BYTES = 60_000  # of a file
MOST_FRAMES = 60  # that are taken from one
KINDS = {
    *("missing", "empty-file", "not-a-video", "unreadable", "no-frames", "unreadable-image", "too-large"),
    "decoder-refused",
}
FAULTS = {"truncated", "concealed", "partial", "unreadable-image", "too-large"}
SOURCES = str(Path(vidface.frames.__file__).parent)
IN_OPEN = 0x20  # of <sys/inotify.h>

Input = tuple[str, bytes]  # the suffix that decides who reads it, and the content
Problem = str | None


def seeds() -> list[Input]:
    """A small clip of each container, and a picture of each kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    found: list[Input] = []
    for name, codec, options in (
        *(("mp4", "libx264", {}), ("mov", "png", {}), ("matroska", "libx264", {}), ("webm", "libvpx", {})),
        *(("avi", "mpeg4", {}), ("avi", "mjpeg", {}), ("mpeg", "mpeg2video", {}), ("mpegts", "libx264", {})),
        *(
            ("mpeg2video", "mpeg2video", {}),
            ("flv", "libx264", {}),
            ("ogg", "libvpx", {}),
            ("asf", "wmv2", {}),
        ),
        *(
            ("mpegts", "mpeg2video", {"mpegts_m2ts_mode": "1"}),
            ("mp4", "libx265", {}),
            ("mov", "libx264rgb", {}),
        ),
        *(("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}), ("matroska", "ffv1", {})),
    ):
        file = io.BytesIO()
        with av.logging.Capture(), av.open(file, "w", format=name, container_options=options) as out:
            quiet = {"x265-params": "log-level=none:pools=none:frame-threads=1"} if codec == "libx265" else {}
            stream: Any = out.add_stream(codec, rate=25, options=quiet)
            stream.width, stream.height = 64, 64
            form = {"libx264rgb": "rgb24", "png": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
            stream.pix_fmt = form
            stream.codec_context.thread_count = 1
            for index, one in enumerate(pixels):
                picture = av.VideoFrame.from_ndarray(one, format="rgb24").reformat(format=form)
                picture.pts = index
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
        found.append((".mp4", file.getvalue()))
    for kind, suffix in (("JPEG", ".jpg"), ("PNG", ".png")):
        file = io.BytesIO()
        Image.fromarray(pixels[0]).save(file, format=kind)
        found.append((suffix, file.getvalue()))
    return found


def words(canary: Path, port: int) -> list[bytes]:
    """What a file might say to have another one opened, and marks that the gate or FFmpeg looks for."""
    names = [
        os.fsencode(name)
        for name in (canary.name, canary, f"file:{canary}", f"http://127.0.0.1:{port}/a.mp4")
    ]
    lists = [
        *(b"ffconcat version 1.0\nfile %s\n", b"#EXTM3U\n#EXTINF:1,\n%s\n", b"#!/bin/sh\n%s\n"),
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=control:%s\n",
        b'<?xml version="1.0"?><MPD><BaseURL>%s</BaseURL></MPD>',
        b"\x00\x00\x00\x20dref\x00\x00\x00\x00\x00\x00\x00\x01url \x00\x00\x00\x00%s",
    ]
    marks = b"ftyp moov mdat free skip wide pnot styp moof trak edts elst stsd stco co64 stsz stts ctts dref cmov rmra"
    return [
        *names,
        *(text % name for text in lists for name in names),
        *(mark.ljust(4) for mark in marks.split(b" ")),
        *(bytes.fromhex(text) for text in ("1a45dfa3", "000001ba", "000001b3", "47", "464c5601", "4f676753")),
        *(
            b"RIFF",
            b"AVI ",
            b"LIST",
            b"movi",
            b"idx1",
            b"IHDR",
            b"IDAT",
            b"iCCP",
            b"\xff\xc0",
            b"\xff\xda",
            b"\xff\xd8",
        ),
    ]


NUMBERS = [
    0,
    1,
    7,
    8,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    16_000,
    60_000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0xFFFFFFF8,
]


def changed(data: bytes, others: list[bytes], dictionary: list[bytes], rng: random.Random) -> bytes:
    """The content with a few changes."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        # Headers decide, and lie in front or at the end.
        at = rng.randrange(min(len(new), 256) if rng.random() < 0.4 else len(new)) if new else 0
        size = min(rng.choice((1, 2, 4, 8, 32, 200, 2000)), len(new) - at)
        way = rng.randrange(9)
        if way == 0 and new:
            new[at] ^= 1 << rng.randrange(8)
        elif way == 1 and new:
            new[at : at + size] = rng.randbytes(size)
        elif way == 2:
            form = rng.choice((">I", "<I", ">H", "<H", ">Q"))
            number = rng.choice([*NUMBERS, len(new), rng.randrange(1 << 16)]) % (
                1 << 8 * struct.calcsize(form)
            )
            new[at : at + struct.calcsize(form)] = struct.pack(form, number)
        elif way == 3:
            del new[at : at + size]
        elif way == 4:
            new[at:at] = new[at : at + size] * rng.choice((1, 1, 2, 20))
        elif way == 5:
            word = rng.choice(dictionary)
            new[at : at + rng.choice((0, len(word)))] = word
        elif way == 6:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            new[at : at + size] = other[start : start + rng.choice((size, 2000))]
        elif way == 7:
            del new[at:]
        else:
            new = bytearray(rng.choice(dictionary)) + new[rng.choice((0, 4, 8, at)) :]
    return bytes(new[:MOST_BYTES])


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


def shortened(data: bytes, is_same: Callable[[bytes], bool], seconds: float = 20.0) -> bytes:
    """A shorter content of which the same holds: pieces are taken out as long as it does."""
    end, size = time.monotonic() + seconds, len(data) // 2
    while size and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            less = data[:at] + data[at + size :]
            if is_same(less):
                data = less
            else:
                at += size
        size //= 2
    return data


def key(problem: str) -> str:
    """What two findings of one cause have in common."""
    return re.sub(r"\d+", "#", problem.partition(": ")[0] if " at " in problem else problem)


def keep(folder: Path, suffix: str, data: bytes, problem: str = "") -> None:
    name = hashlib.sha256(data).hexdigest()[:16]
    (folder / f"{name}{suffix}").write_bytes(data)
    if problem:
        (folder / f"{name}.txt").write_text(problem + "\n")


def work(folder: Path, seconds: float, seed: int) -> None:
    """Change and read files, until the time is over or this process dies of one."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    rng = random.Random(seed)
    now = folder / "now"
    canary = now / "canary.mp4"
    canary.write_bytes(seeds()[0][1])
    watch = Watch(now)
    dictionary = words(canary, watch.server.getsockname()[1])

    def read(suffix: str, data: bytes) -> Problem:
        path = now / f"input{suffix}"
        path.write_bytes(data)
        watch.others(path.name)
        return read_one(path, watch)

    corpus: list[Input] = []
    seen: set[object] = set()
    known: set[str] = set()
    runs, end = 0, time.monotonic() + seconds
    waiting = [
        *seeds(),
        *((path.suffix, path.read_bytes()) for path in sorted((folder / "corpus").iterdir())),
    ]
    while waiting or time.monotonic() < end:
        if waiting:
            suffix, data = waiting.pop(0)
        else:
            # The newest have been changed least.
            suffix, data = corpus[max(rng.randrange(len(corpus)), rng.randrange(len(corpus)))]
            others = [content for other, content in corpus if other == suffix]
            data = changed(data, others, dictionary, rng)
        problem = read(suffix, data)
        runs += 1
        if problem is not None and key(problem) not in known:
            known.add(key(problem))
            same = key(problem)
            data = shortened(data, lambda less, same=same, suffix=suffix: _is(read(suffix, less), same))
            keep(folder / "found", suffix, data, problem)
            print(f"found: {problem}", flush=True)
        elif problem is None and watch.heard - seen:
            seen |= watch.heard
            corpus.append((suffix, data))
            keep(folder / "corpus", suffix, data)
        if runs % 200 == 0:
            steps = sum(1 for one in seen if isinstance(one, tuple) and isinstance(one[1], tuple))
            print(
                f"runs {runs} kept {len(corpus)} steps {steps} messages and endings {len(seen) - steps}",
                flush=True,
            )


def _is(problem: Problem, same: str) -> bool:
    return problem is not None and key(problem) == same


def main() -> int:
    """Start the reading process again and again, and gather what is left where it dies."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True, help="where findings and what is kept go")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder.resolve()
    if given.work:
        work(folder, given.seconds, given.seed)
        return 0
    for name in ("found", "corpus"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    end, seed, last = time.monotonic() + given.seconds, given.seed, ""
    while (left := end - time.monotonic()) > 0:
        shutil.rmtree(folder / "now", ignore_errors=True)
        (folder / "now").mkdir()
        options = ["--folder", folder, "--seconds", left, "--seed", seed]
        process = subprocess.Popen(
            [sys.executable, __file__, "--work", *map(str, options)], stdout=subprocess.PIPE, text=True
        )
        for line in _lines(process, folder / "now"):
            last = line if line.startswith("runs") else last
            if line.startswith("found"):
                print(line, flush=True)
        if code := process.wait():
            problem = f"the process died or hung (code {code})"
            print(f"found: {problem}", flush=True)
            for path in (folder / "now").glob("input.*"):
                keep(folder / "found", path.suffix, path.read_bytes(), problem)
        seed += 1_000_003
    found = sorted((folder / "found").glob("*.txt"))
    print(f"{last or 'no 200 runs'}; findings {len(found)}")
    return 1 if found else 0


def _lines(process: subprocess.Popen[str], now: Path) -> Iterator[str]:
    """What the process says, until it ends; it is ended where one file takes too long."""
    import threading

    def guard() -> None:
        while process.poll() is None:
            time.sleep(1.0)
            times = [path.stat().st_mtime for path in now.glob("input.*")]
            if times and time.time() - max(times) > HANG_SECONDS:
                process.kill()

    threading.Thread(target=guard, daemon=True).start()
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip()


if __name__ == "__main__":
    sys.exit(main())
