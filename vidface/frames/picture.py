"""From FFmpeg's picture to RGB: colours as tagged, the right way up."""

from __future__ import annotations

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vidface.frames.frame import Pixels

__all__ = ["SCALING", "display_matrix", "to_rgb", "turn"]

# Chroma is interpolated for every pixel, arithmetic is rounded, and the result is the same on every processor.
SCALING = (
    Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
)


def to_rgb(picture: VideoFrame, reformatter: VideoReformatter) -> Pixels:
    """Turn a decoded picture into RGB and apply its display matrix.

    Colour matrix and range are the ones that the picture is tagged with; an untagged one is BT.601 in limited
    range, as FFmpeg has it. More than 8 bits are reduced to 8.

    Args:
        picture: as decoded, of any pixel format.
        reformatter: kept by the caller, since setting one up costs more than using it.

    Returns:
        uint8 [H, W, 3], C-contiguous.
    """
    rgb = reformatter.reformat(picture, format="rgb24", interpolation=SCALING, threads=1)
    return turn(rgb.to_ndarray(), display_matrix(picture))


def display_matrix(picture: VideoFrame) -> tuple[int, int, int, int]:
    """The picture's rotation and mirroring as (a, b, c, d), each -1, 0 or 1; (1, 0, 0, 1) leaves it as it is.

    A stored pixel (x, y) is shown at (a x + c y, b x + d y). Angles between quarter turns, which no camera
    writes, are taken as none.
    """
    for side in picture.side_data.keys() if len(picture.side_data) else ():
        if side.type == Type.DISPLAYMATRIX:
            numbers = np.frombuffer(bytes(side), dtype=np.int32) / 65536
            a, b, c, d = (round(float(numbers[i])) for i in (0, 1, 3, 4))
            if sorted(map(abs, (a, d))) == sorted(map(abs, (d, a))) and abs(a * d - b * c) == 1:
                return a, b, c, d
    return 1, 0, 0, 1


def turn(pixels: Pixels, matrix: tuple[int, int, int, int]) -> Pixels:
    """Apply a display matrix of quarter turns and mirrors to uint8 [H, W, 3]."""
    a, b, c, d = matrix
    if (a, b, c, d) == (1, 0, 0, 1):
        return np.ascontiguousarray(pixels)  # FFmpeg pads its rows
    if a == 0:  # x and y change places: shown (x', y') = (c y, b x)
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])
