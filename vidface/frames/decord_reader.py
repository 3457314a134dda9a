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
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.packet import Packet

from vidface.errors import MediaError, UsageError
from vidface.frames.demux import READ_ERRORS, Video, open_video
from vidface.frames.frame import Frame, Pixels, ReadReport
from vidface.frames.picture import Shown, ToRgb, is_hdr, square
from vidface.frames.pyav import decode
from vidface.frames.sampling import sample_by_time

PIECE_FRAMES = 48  # opening a piece costs about a millisecond: spread it over some frames
PIECE_BYTES = 256 << 20  # a piece without a key frame that grows beyond it is refused
BATCH_BYTES = 96 << 20  # decoded pixels that decord holds at a time

# Levels of luma. On 8-bit video decord and PyAV give the very same RGB, on 10-bit video they differ by 2.
LUMA_TOLERANCE = 3.0


class _RefusedError(Exception):
    """Why decord cannot be trusted with this video."""


class _Packet(NamedTuple):
    data: bytes
    pts: int  # ticks
    key: bool


class _Wanted(NamedTuple):
    """A sampled frame as PyAV has it: when it is shown, which packet it is, and how it looks."""

    time: float
    pts: int
    nbytes: int  # of its pixels
    luma: np.ndarray[Any, np.dtype[np.float32]]  # at some pixels, see _luma
    aspect: Fraction  # of its pixels, upright


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
    packets: list[_Packet] = []

    def tap(packet: Packet[Any]) -> None:
        if packet.pts is None:
            raise _RefusedError("its packets carry no presentation times")
        packets.append(_Packet(bytes(packet), packet.pts, packet.is_keyframe))

    to_rgb = ToRgb()
    waiting: deque[_Wanted] = deque()
    for time, shown in sample_by_time(decode(video, report, tap), fps):
        if shown.picture.pts is None:
            raise _RefusedError("its frames carry no presentation times")
        if film and shown.picture.interlaced_frame:
            raise _RefusedError("it does not deinterlace")
        if is_hdr(shown.picture):
            raise _RefusedError("it does not map the tones of HDR")
        waiting.append(_wanted(video, time, shown, to_rgb))
        # A later frame came out of PyAV's decoder: it has given all of the pieces before.
        while (size := _piece(packets)) and waiting[-1].pts > max(packet.pts for packet in packets[:size]):
            yield from _from_piece(video, packets[:size], waiting)
            del packets[:size]
    while packets:
        size = _piece(packets) or len(packets)
        yield from _from_piece(video, packets[:size], waiting)
        del packets[:size]
    if waiting:
        raise _RefusedError(f"the frame at {waiting[0].time:.3f} s belongs to no packet")


def _piece(packets: list[_Packet]) -> int:
    """How many packets need none outside of them; 0: this cannot be told yet.

    A piece ends before a key frame, unless pictures of the next group are shown before that key frame (an open
    GOP): then both groups stay together. Such pictures follow the key frame at once in decoding order.
    """
    for index in range(PIECE_FRAMES, len(packets) - 1):
        if packets[index].key and packets[index + 1].pts > packets[index].pts:
            return index
    if sum(len(packet.data) for packet in packets) > PIECE_BYTES:
        raise _RefusedError(f"{PIECE_BYTES >> 20} MB of packets hang together without a key frame between")
    return 0


def _wanted(video: Video, time: float, shown: Shown, to_rgb: ToRgb) -> _Wanted:
    try:
        with video.log.capture():
            pixels = to_rgb.upright(shown.picture)
    except MemoryError:
        raise
    except READ_ERRORS as error:
        raise _RefusedError(f"the frame at {time:.3f} s cannot be turned into RGB, {error}") from error
    assert shown.picture.pts is not None
    return _Wanted(time, shown.picture.pts, pixels.nbytes, _luma(pixels), to_rgb.aspect(shown))


def _luma(pixels: Pixels) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Luma of uint8 [H, W, 3] at pixels of a grid, at least 128 of them a side if there are as many."""
    step = max(min(pixels.shape[:2]) // 128, 1)
    return pixels[::step, ::step].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def _from_piece(
    video: Video, packets: list[_Packet], waiting: deque[_Wanted]
) -> Iterator[tuple[_Wanted, Pixels]]:
    """Decode the waiting frames that lie in a piece, a bounded number at a time."""
    order = {packet.pts: index for index, packet in enumerate(packets)}
    if len(order) < len(packets):
        raise _RefusedError("two packets have the same presentation time")
    while waiting and waiting[0].pts in order:
        batch: list[_Wanted] = []
        while waiting and waiting[0].pts in order:
            if batch and sum(one.nbytes for one in batch) + waiting[0].nbytes > BATCH_BYTES:
                break
            batch.append(waiting.popleft())
        # decord decodes on behind our back while a batch is used, so it gets no packet that is not needed yet.
        needed = packets[: max(order[one.pts] for one in batch) + 1]
        for one, pixels in zip(batch, _decord_frames(video, needed, batch), strict=True):
            luma = _luma(pixels)
            if luma.shape != one.luma.shape or np.abs(luma - one.luma).max() > LUMA_TOLERANCE:
                raise _RefusedError(f"it gives another picture at {one.time:.3f} s")
            yield one, pixels


def _decord_frames(video: Video, packets: list[_Packet], wanted: list[_Wanted]) -> list[Pixels]:
    """Let decord decode packets, and return the frames that are wanted."""
    import decord

    shown = sorted(packet.pts for packet in packets)
    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(_remux(video, packets, shown), decord.cpu(0), num_threads=1)
        if len(reader) != len(packets):
            raise _RefusedError(f"it counts {len(reader)} frames where there are {len(packets)}")
        batch = reader.get_batch([bisect_left(shown, one.pts) for one in wanted]).asnumpy()
    except (decord.DECORDError, decord.DECORDLimitReachedError, AssertionError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise _RefusedError(f"it fails: {reason}") from error
    return list(batch)


def _remux(video: Video, packets: list[_Packet], shown: list[int]) -> io.BytesIO:
    """Write packets as a Matroska file in memory: evenly spaced, and only the first one a key frame.

    With a single key frame decord has nowhere to seek to, and reads from the start.
    """
    ranks = [bisect_left(shown, packet.pts) for packet in packets]
    delay = max(index - rank for index, rank in enumerate(ranks))
    file = io.BytesIO()
    try:
        with video.log.capture(), av.open(file, "w", format="matroska") as out:
            stream = out.add_stream_from_template(video.stream, opaque=True)
            stream.codec_context.framerate = Fraction(25)  # without a rate decord cannot count two frames
            for index, stored in enumerate(packets):
                packet: Packet[Any] = Packet(stored.data)
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
