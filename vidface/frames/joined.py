"""Whether a second file lies behind the first in one: FFmpeg reads the first, and of the second nothing or a part.

Files are joined by joining their bytes where a container allows it (see ``timeline``); these do not. Tested in
``tests/frames/test_timeline.py``.
"""

from __future__ import annotations

from io import SEEK_END
from typing import BinaryIO

from vidface.frames.containers import container_of

__all__ = ["second_file"]

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_FLV_TAGS = (8, 9, 18)  # sound, picture, script


def second_file(file: BinaryIO, demuxer: str, last: int) -> int | None:
    """Where another file of the same kind begins, in bytes; None where there is none, or where it cannot be told.

    Only headers are read, each of them once.

    Args:
        file: the whole file, open for reading; where it stands is changed.
        demuxer: its container, FFmpeg's name.
        last: where in the file the last packet was read.
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
    """How long the part is that begins so; None where that is not said, or no such part begins here."""
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
