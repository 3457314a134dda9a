"""Pixels that are not square, as on DVDs and in broadcasts: how wide they are, and pictures made square.

Tested in ``tests/frames/test_aspect.py``.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from PIL import Image

from vidface.frames.demux import Video
from vidface.frames.frame import MAX_PIXELS, Pixels

__all__ = ["SQUARE", "PixelAspect", "square"]

SQUARE = Fraction(1)

# The widest that is in use is 32:11 (half a line of wide PAL). What lies further off is a mistake of whoever wrote it.
WIDEST = Fraction(4)

# These have no field of their own: each picture says it, and it may change, as between a film and what comes before it.
BY_PICTURE = frozenset({"mpegts", "mpeg", "mpegvideo", "flv"})


class PixelAspect:
    """The width of a stored pixel over its height, of each picture of one video.

    As FFmpeg's ``av_guess_sample_aspect_ratio`` and players have it: what the container says goes before what the codec
    says, and 0 means that nothing is said.
    What is too far from 1 to be true is taken as 1.
    """

    def __init__(self, video: Video) -> None:
        self._refused: Fraction | None = None
        self._stream, self._context = video.stream, video.stream.codec_context
        self._by_picture = video.demuxer in BY_PICTURE
        self._said = self._usable(self._stream.sample_aspect_ratio)
        self._changes: deque[tuple[int, Fraction]] = deque()  # (time of a packet, what holds from there on)

    def see_packet(self, packet: Packet[Any]) -> None:
        """Note what the decoder knows now that it has taken a packet; headers come with key frames."""
        if self._by_picture and packet.is_keyframe and packet.pts is not None:
            now = self._usable(self._context.sample_aspect_ratio)
            if now != (self._changes[-1][1] if self._changes else self._said):
                self._changes.append((packet.pts, now))

    def of(self, picture: VideoFrame) -> Fraction:
        """That of a picture, the next one in order of time."""
        while self._changes and picture.pts is not None and self._changes[0][0] <= picture.pts:
            self._said = self._changes.popleft()[1]
        return self._said

    def faults(self) -> list[tuple[str, str]]:
        """What is to be known at the end, as (kind, detail) for a ``ReadReport``."""
        if self._refused is None:
            return []
        said = f"{self._refused.numerator}:{self._refused.denominator}"
        detail = f"its pixel aspect ratio is {said}, which cannot be true: its pixels are taken as square"
        return [("pixel-aspect", detail)]

    def _usable(self, said: Fraction | None) -> Fraction:
        if said is None or said <= 0:
            return SQUARE
        if not 1 / WIDEST <= said <= WIDEST:
            self._refused = said
            return SQUARE
        return said


def square(pixels: Pixels, aspect: Fraction) -> Pixels:
    """Make pixels square by scaling up the side that is stored too short, so that none is lost.

    Args:
        pixels: uint8 [H, W, 3], upright.
        aspect: width of a pixel over its height.

    Returns:
        uint8 [H, W, 3]: W times ``aspect`` where that is above 1, else H divided by it, rounded. The very same array
        where that changes nothing. Where it would be more than ``MAX_PIXELS`` the other side is scaled down.
    """
    height, width = pixels.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    if size == (width, height):
        return pixels
    if size[0] * size[1] > MAX_PIXELS:
        size = (width, round(height / aspect)) if aspect > 1 else (round(width * aspect), height)
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
