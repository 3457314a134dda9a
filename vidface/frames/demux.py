"""Open a video so that FFmpeg reads this one file, of a known container, and keeps its log to itself.

FFmpeg never sees a path: it is given an open file and the name of the demuxer, and whatever else it asks to
open (an external track of an mp4, a playlist entry) is refused.

PyAV's log capture belongs to the thread that made it, so each call into FFmpeg is captured on its own and
nothing is held while a reader is suspended: two readers in one thread, or many threads, keep apart.
"""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.logging
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from vidface.errors import MediaError
from vidface.frames.containers import HEIF, demuxer_for
from vidface.frames.frame import MAX_PIXELS

# What PyAV raises where a file cannot be read on: FFmpeg's own errors, or the file's.
READ_ERRORS = (av.error.FFmpegError, OSError)

# Refuses a picture by its header, before there is memory for its pixels.
CODEC_OPTIONS = {"max_pixels": str(MAX_PIXELS)}

PIECE_BYTES = 1 << 20  # of one read

# Concealed pictures are reported at INFO. Identical lines must not be folded: PyAV folds them across threads,
# which would give one thread's damage to another.
av.logging.set_level(av.logging.INFO)
av.logging.set_skip_repeated(False)
# What FFmpeg says outside of a capture goes to Python's logging, which prints to stderr where nobody listens.
logging.getLogger("libav").addHandler(logging.NullHandler())


@dataclass
class Log:
    """FFmpeg's errors of one video, in order."""

    errors: list[str] = field(default_factory=list)

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Keep what FFmpeg reports as errors, in this thread, while the block runs."""
        with av.logging.Capture() as lines:
            try:
                yield
            finally:
                self.errors += [
                    f"{name}: {text.strip()}" for level, name, text in lines if level <= av.logging.ERROR
                ]


@dataclass
class Video:
    """A video file that is open, its picture stream chosen, which is not yet decoding.

    ``path`` is for messages, ``demuxer`` FFmpeg's short name of the container, ``log`` holds FFmpeg's errors so far,
    and ``file`` is what FFmpeg reads.
    """

    path: Path
    demuxer: str
    container: InputContainer
    stream: VideoStream
    log: Log
    file: BinaryIO


def too_large(errors: Iterable[str]) -> str | None:
    """The size of a picture that FFmpeg refused to make room for, as its errors tell it: "16000x16000"."""
    for line in errors:
        size = re.search(r"Picture size (\d+)x(\d+) ", line)
        if size and int(size[1]) * int(size[2]) > MAX_PIXELS:
            return f"{size[1]}x{size[2]}"
    return None


def _refuse_open(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
    raise PermissionError(f"a video may not open another file: {url}")


class _InPieces(io.FileIO):
    """A file that gives no more than `PIECE_BYTES` at a time, whatever a damaged length has FFmpeg ask for.

    Python makes room for all that is asked for, before it looks how much there is.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to so many bytes; FFmpeg asks again where it needs more."""
        return super().read(PIECE_BYTES if size is None or size < 0 else min(size, PIECE_BYTES)) or b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """To a place in the file, or -1, which FFmpeg takes for a failure: of an error PyAV prints a traceback."""
        try:
            return super().seek(offset, whence)
        except (OSError, OverflowError):
            return -1


@contextmanager
def open_video(path: Path) -> Iterator[Video]:
    """Open a video file safely and choose its video stream; closes it at the end.

    Raises:
        MediaError: ``missing``, ``empty-file``, ``not-a-video`` (or a HEIF picture of tiles), ``unreadable`` (damaged),
            ``too-large`` (it states frames of more than ``MAX_PIXELS`` pixels) or ``no-frames`` (it has no video
            stream, as a sound file or one with a cover picture only).
    """
    demuxer = demuxer_for(path)
    log = Log()
    with _InPieces(path) as file:
        try:
            with log.capture():
                # The options of the codec too: FFmpeg decodes some frames while it looks for what the streams are.
                how: Any = {"format": demuxer, "io_open": _refuse_open, "options": CODEC_OPTIONS}
                container = av.open(file, "r", metadata_errors="replace", buffer_size=1 << 18, **how)
        except READ_ERRORS as error:
            said = f" ({log.errors[-1]})" if log.errors else ""
            raise MediaError("unreadable", f"{path}: not readable as {demuxer}: {error}{said}") from error
        try:
            yield Video(path, demuxer, container, _choose_stream(path, container), log, file)
        finally:
            container.close()


def _choose_stream(path: Path, container: InputContainer) -> VideoStream:
    """FFmpeg's best video stream that is no cover picture and that can be decoded."""
    streams: list[VideoStream] = [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None
    ]
    if not streams:
        raise MediaError("no-frames", f"{path}: has no video stream that can be decoded")
    best: Any = container.streams.best("video")
    stream = best if best in streams else streams[0]
    kind = HEIF.get(container.metadata.get("major_brand", ""))
    if kind and not stream.disposition & Disposition.default:  # its main picture is put together from streams
        raise MediaError(
            "not-a-video", f"{path}: a {kind} picture of several tiles: convert it to JPEG or PNG"
        )
    context = stream.codec_context
    if context.width * context.height > MAX_PIXELS:
        raise MediaError(
            "too-large", f"{path}: frames of {context.width}x{context.height} are over {MAX_PIXELS} pixels"
        )
    context.thread_count = 1  # the work is spread over videos, and only this thread's log is captured
    context.options = dict(CODEC_OPTIONS)
    return stream
