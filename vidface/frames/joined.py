"""Files that were joined by joining their bytes: one time that never starts anew, or a second file that is not read.

MPEG transport and program streams (.ts, .m2ts, .vob, .mpg) and FLV can be joined so: the clock jumps back to where it
was in the first file, and players read on. Of other containers FFmpeg reads the first file, and of the second nothing
or a part. Tested in ``tests/frames/test_timeline.py``.
"""

from __future__ import annotations

from io import SEEK_END
from typing import Any, BinaryIO

from av.packet import Packet

from vidface.frames.containers import container_of

# Packets come in the order of their decoding times. Rounding and damage put one back by a few frames; a clock that
# starts anew goes further back, or to where it began before.
STEP_BACK_SECONDS = 0.25
STEP_TO_BEGIN_SECONDS = 0.1

# The clock of an MPEG stream has 33 bits at 90 kHz. FFmpeg takes a time that is far before the first for one after the
# clock's end, and puts it 26.5 hours later: right if the clock ran over, wrong if it starts anew.
STEP_AHEAD_SECONDS = 2**32 / 90_000

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FLV_TAGS = (8, 9, 18)  # sound, picture, script


class Timeline:
    """Shifts the packets of one stream, in their order, so that time never starts anew; ``unit`` is seconds a tick."""

    def __init__(self, unit: float) -> None:
        self._unit = unit
        self._shift = 0  # in ticks, of the part that is being read
        self._first = 0  # the first decoding time of this part as stored
        self._last: int | None = None  # and the last
        self._decoded = self._shown = 0  # where the packets so far end, shifted

    def place(self, packet: Packet[Any]) -> bool:
        """Shift one packet: a part begins where the packets before it end, both as they are decoded and as shown.

        Returns whether time starts anew with it.
        """
        stored, pts = packet.dts, packet.pts
        if stored is None:
            if self._shift and pts is not None:
                packet.pts = pts + self._shift
            return False
        shown = stored if pts is None else pts
        step = 0.0 if self._last is None else (stored - self._last) * self._unit
        to_begin = stored <= self._first and step < -STEP_TO_BEGIN_SECONDS
        anew = to_begin or step < -STEP_BACK_SECONDS or step > STEP_AHEAD_SECONDS
        if anew or self._last is None:
            self._first = stored
        if anew:
            self._shift = max(self._decoded - stored, self._shown - shown)
        self._last = stored
        duration = packet.duration or 0
        self._decoded = max(self._decoded, stored + duration + self._shift)
        self._shown = max(self._shown, shown + duration + self._shift)
        if self._shift:
            packet.dts = stored + self._shift
            if pts is not None:
                packet.pts = pts + self._shift
        return anew


def second_file(file: BinaryIO, demuxer: str, last: int) -> int | None:
    """Where another file of the same kind begins, in bytes; None if there is none, or if it cannot be told.

    Only headers are read, each of them once. ``demuxer`` is FFmpeg's name of the container, ``last`` where the last
    packet was read.
    """
    size = file.seek(0, SEEK_END)
    at, index = (last, 0) if demuxer == "flv" else (0, 0)
    while at < size:
        file.seek(at)
        head = file.read(24)
        if demuxer == "mov" and head[4:8] == b"moof":
            return None  # fragments bring their own index, and streams repeat the header between them
        if demuxer == "mov" and head[4:8] == b"moov":
            index += 1  # of one file there is one
        begins = index == 2 if demuxer == "mov" else at > 0 and container_of(head, size) == demuxer
        if begins:
            return at
        length = _length(head, demuxer)
        if length is None:
            return None
        at += length
    return None


def _length(head: bytes, demuxer: str) -> int | None:
    """How long the part is that begins so; None if that is not stated, or no such part begins here."""
    if len(head) < 12:
        return None
    if demuxer == "mov":
        stated = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if stated == 1 else stated
        return length if length >= 8 else None
    if demuxer == "matroska" and head[:4] in (_EBML, _SEGMENT):
        count = 9 - head[4].bit_length()  # bytes of the length, by the first bit that is set
        stated = int.from_bytes(head[4 : 4 + count], "big") & ((1 << 7 * count) - 1)
        return None if count > 8 or stated == (1 << 7 * count) - 1 else 4 + count + stated
    if demuxer == "asf":
        length = int.from_bytes(head[16:24], "little")
        return length if length >= 24 else None
    if demuxer == "flv" and head[0] in _FLV_TAGS:
        return 11 + int.from_bytes(head[1:4], "big") + 4
    return None
