"""Read a video with decord, and never hand out a wrong frame.

decord reads whole files well where they are simple; elsewhere it goes wrong silently (a random access into an
open GOP gives the next frame, a transport stream loses its first GOP, an edit list shifts everything), and it
decodes the whole file ahead into memory. So it is led by the hand here:

- PyAV reads the packets, and its decoder follows along. That gives the times, the sampling and the damage,
  which are therefore the same for both decoders; decord tells nobody what it concealed.
- The packets are copied, unchanged, into small Matroska files in memory: pieces that begin with a key frame,
  need nothing from outside, and know no seeking, no edit list and no gap. Memory is bounded by the piece.
- decord decodes the sampled frames of a piece. Each is compared with PyAV's picture before it is handed out;
  one that differs, or a piece that decord cannot read, ends the reading: ``decoder-refused``.

The price is that every frame is decoded twice. ``tests/frames/test_frames_contract.py`` runs both decoders.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet

from vidface.errors import MediaError, UsageError
from vidface.frames.aspect import square
from vidface.frames.demux import READ_ERRORS, Video, open_video
from vidface.frames.frame import Frame, Pixels, ReadReport
from vidface.frames.picture import Shown, ToRgb, is_hdr
from vidface.frames.pyav import decode
from vidface.frames.sampling import sample_by_time

__all__ = ["read_with_decord"]

PIECE_FRAMES = 48  # opening a piece costs about a millisecond: spread it over some frames
PIECE_BYTES = 256 << 20  # a piece without a key frame that grows beyond it is refused
BATCH_BYTES = 96 << 20  # decoded pixels that decord holds at a time

# Levels of luma. On 8-bit video decord and PyAV give the very same RGB, on 10-bit video they differ by 2.
LUMA_TOLERANCE = 3.0


class _RefusedError(Exception):
    """Why decord cannot be trusted with this video."""


@dataclass
class _Piece:
    """Packets, in decoding order, that need none outside of the piece."""

    packets: list[tuple[bytes, int]] = field(default_factory=list)  # data, presentation time in ticks
    nbytes: int = 0

    def add(self, data: bytes, pts: int) -> None:
        self.packets.append((data, pts))
        self.nbytes += len(data)
        if self.nbytes > PIECE_BYTES:
            raise _RefusedError(
                f"{PIECE_BYTES >> 20} MB of packets hang together without a key frame between"
            )


@dataclass(frozen=True)
class _Wanted:
    """A sampled frame as PyAV has it: when it is shown, which packet it is, and how it looks."""

    time: float
    pts: int
    pixels: int  # H * W
    luma: np.ndarray[Any, np.dtype[np.float32]]  # at some pixels, see _luma
    aspect: Fraction  # of its pixels, upright


class _Cutter:
    """Cuts the stream of packets into pieces.

    A piece ends before a key frame, unless pictures of the next group are shown before that key frame (an open
    GOP): then both groups stay together. Such pictures follow the key frame at once in decoding order.
    """

    def __init__(self) -> None:
        self.done: deque[_Piece] = deque()
        self._open = _Piece()
        self._key: tuple[bytes, int] | None = None  # a key frame that may begin the next piece

    def add(self, packet: Packet[Any]) -> None:
        """Take the next packet of the video stream."""
        if packet.pts is None:
            raise _RefusedError("its packets carry no presentation times")
        if self._key is not None:
            if packet.pts > self._key[1]:
                self._cut()
            self._open.add(*self._key)
            self._key = None
        if packet.is_keyframe and len(self._open.packets) >= PIECE_FRAMES:
            self._key = bytes(packet), packet.pts
        else:
            self._open.add(bytes(packet), packet.pts)

    def finish(self) -> None:
        """All packets are there."""
        if self._key is not None:
            self._open.add(*self._key)
            self._key = None
        self._cut()

    def _cut(self) -> None:
        if self._open.packets:
            self.done.append(self._open)
            self._open = _Piece()


def read_with_decord(path: Path, *, fps: float | None, film: bool, report: ReadReport) -> Iterator[Frame]:
    """Read one video file; see ``vidface.frames.read_frames``."""
    _check_installed()
    return _read(path, fps, film, report)


def _check_installed() -> None:
    """Refuse a machine where it is unclear whose decord would be imported: both use the same module name."""
    found = [name for name in ("decord", "decord2") if next(iter(metadata.distributions(name=name)), None)]
    if found == ["decord", "decord2"]:
        raise UsageError(
            "decord and decord2 are both installed and overwrite each other's files: "
            "uninstall both, then install decord2, or use --decoder pyav"
        )
    if "decord2" not in found:
        raise UsageError("decord2 is not installed: install it, or use --decoder pyav")


def _read(path: Path, fps: float | None, film: bool, report: ReadReport) -> Iterator[Frame]:
    with open_video(path) as video:
        try:
            for one, pixels in _led(video, fps, film, report):
                report.sampled += 1
                yield Frame(square(pixels, one.aspect), one.time, one.aspect)
        except _RefusedError as why:
            detail = (
                f"{path}: decord cannot be trusted with this {video.demuxer} file: {why}: use --decoder pyav"
            )
            if report.sampled == 0:
                raise MediaError("decoder-refused", detail) from why
            report.faults.append(("decoder-refused", detail))


def _led(video: Video, fps: float | None, film: bool, report: ReadReport) -> Iterator[tuple[_Wanted, Pixels]]:
    """Sample as PyAV does; the pixels are decord's. Frames wait until the piece that holds them is whole."""
    if video.demuxer == "avi" and video.stream.codec_context.name in ("h264", "hevc"):
        raise _RefusedError("AVI does not tell when B-frames are shown")
    cutter = _Cutter()
    timed = decode(video, report, tap=cutter.add)
    to_rgb = ToRgb()
    waiting: deque[_Wanted] = deque()
    for time, shown in sample_by_time(timed, fps):
        if shown.picture.pts is None:
            raise _RefusedError("its frames carry no presentation times")
        if film and shown.picture.interlaced_frame:
            raise _RefusedError("it does not deinterlace")
        if is_hdr(shown.picture):
            raise _RefusedError("it does not map the tones of HDR")
        waiting.append(_wanted(video, time, shown, to_rgb))
        # A later frame came out of PyAV's decoder: it has given all of the pieces before.
        while cutter.done and waiting[-1].pts > max(pts for _, pts in cutter.done[0].packets):
            yield from _from_piece(video, cutter.done.popleft(), waiting)
    cutter.finish()
    while cutter.done:
        yield from _from_piece(video, cutter.done.popleft(), waiting)
    if waiting:
        raise _RefusedError(f"the frame at {waiting[0].time:.3f} s belongs to no packet")


def _wanted(video: Video, time: float, shown: Shown, to_rgb: ToRgb) -> _Wanted:
    try:
        with video.log.capture():
            pixels = to_rgb.upright(shown.picture)
    except MemoryError:
        raise
    except READ_ERRORS as error:
        raise _RefusedError(f"the frame at {time:.3f} s cannot be turned into RGB, {error}") from error
    pts = shown.picture.pts
    assert pts is not None
    return _Wanted(time, pts, pixels.shape[0] * pixels.shape[1], _luma(pixels), to_rgb.aspect(shown))


def _luma(pixels: Pixels) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Luma of uint8 [H, W, 3] at pixels of a grid, at least 128 of them a side where there are as many."""
    step = max(min(pixels.shape[:2]) // 128, 1)
    return pixels[::step, ::step].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _from_piece(video: Video, piece: _Piece, waiting: deque[_Wanted]) -> Iterator[tuple[_Wanted, Pixels]]:
    """Decode the waiting frames that lie in the piece, a bounded number at a time."""
    order = {pts: index for index, (_, pts) in enumerate(piece.packets)}
    if len(order) < len(piece.packets):
        raise _RefusedError("two packets have the same presentation time")
    while waiting and waiting[0].pts in order:
        batch = [waiting.popleft()]
        while (
            waiting
            and waiting[0].pts in order
            and 3 * sum(one.pixels for one in batch) + 3 * waiting[0].pixels <= BATCH_BYTES
        ):
            batch.append(waiting.popleft())
        # decord decodes on behind our back while a batch is used, so it gets no packet that is not needed yet.
        needed = piece.packets[: max(order[one.pts] for one in batch) + 1]
        pictures = _decord_frames(video, needed, [one.pts for one in batch])
        for one, pixels in zip(batch, pictures, strict=True):
            luma = _luma(pixels)
            if luma.shape != one.luma.shape or np.abs(luma - one.luma).max() > LUMA_TOLERANCE:
                raise _RefusedError(f"it gives another picture at {one.time:.3f} s")
            yield one, pixels


def _decord_frames(video: Video, packets: list[tuple[bytes, int]], wanted: list[int]) -> list[Pixels]:
    """Let decord decode packets, and return the frames whose presentation times are wanted."""
    import decord

    shown = sorted(pts for _, pts in packets)
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(_remux(video, packets, shown), decord.cpu(0), num_threads=1)
        if len(reader) != len(packets):
            raise _RefusedError(f"it counts {len(reader)} frames where there are {len(packets)}")
        batch = reader.get_batch([bisect_left(shown, pts) for pts in wanted]).asnumpy()
    except (decord.DECORDError, decord.DECORDLimitReachedError, AssertionError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise _RefusedError(f"it fails: {reason}") from error
    return list(batch)


def _remux(video: Video, packets: list[tuple[bytes, int]], shown: list[int]) -> io.BytesIO:
    """Write packets as a Matroska file in memory: evenly spaced, and only the first one a key frame.

    With a single key frame decord has nowhere to seek to, and reads from the start.
    """
    ranks = [bisect_left(shown, pts) for _, pts in packets]
    delay = max(index - rank for index, rank in enumerate(ranks))
    file = io.BytesIO()
    try:
        with video.log.capture(), av.open(file, "w", format="matroska") as out:
            stream = out.add_stream_from_template(video.stream, opaque=True)
            stream.codec_context.framerate = Fraction(25)  # without a rate decord cannot count two frames
            for index, (data, _) in enumerate(packets):
                packet: Packet[Any] = Packet(data)
                packet.stream = stream
                packet.time_base = Fraction(1, 1000)
                packet.dts, packet.pts = 40 * index, 40 * (ranks[index] + delay)
                packet.duration = 40
                packet.is_keyframe = index == 0
                out.mux(packet)
    except (*READ_ERRORS, ValueError) as error:
        raise _RefusedError(f"its packets do not fit into Matroska, {error}") from error
    file.seek(0)
    return file
