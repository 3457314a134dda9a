"""From FFmpeg's picture to RGB: colours as tagged, the right way up."""

from __future__ import annotations

from typing import Any

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from vidface.frames.frame import Pixels

__all__ = ["SCALING", "ToRgb", "display_matrix", "turn"]

# FFmpeg's own default, the fast way: decord and most tools turn 8-bit video into the very same RGB. Interpolating
# the chroma and rounding instead of truncating differs by 1 level of luma on average and takes 10 times as long.
SCALING = Interpolation.BICUBIC

Matrix = tuple[int, int, int, int]
UPRIGHT: Matrix = (1, 0, 0, 1)


class ToRgb:
    """Turns the decoded pictures of one video into RGB and applies their display matrix.

    Colour matrix and range are the ones that a picture is tagged with; an untagged one is BT.601 in limited
    range, as FFmpeg has it. More than 8 bits are reduced to 8.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # setting one up costs more than using it
        self._matrices: dict[int, Matrix] = {}

    def __call__(self, picture: VideoFrame) -> Pixels:
        """Convert one picture of any pixel format to uint8 [H, W, 3], C-contiguous."""
        # Reading a picture's side data ties it into a cycle that only the garbage collector frees, and some
        # hundred pictures pile up until then: so it is read once for each rotation that a video shows.
        if picture.rotation not in self._matrices:
            self._matrices[picture.rotation] = display_matrix(picture)
        rgb = self._reformatter.reformat(picture, format="rgb24", interpolation=SCALING, threads=1)
        pixels: Any = rgb.to_ndarray()
        return turn(pixels, self._matrices[picture.rotation])


def display_matrix(picture: VideoFrame) -> Matrix:
    """The picture's rotation and mirroring as (a, b, c, d), each -1, 0 or 1; ``UPRIGHT`` leaves it as it is.

    A stored pixel (x, y) is shown at (a x + c y, b x + d y). Angles between quarter turns, which no camera
    writes, are taken as none.
    """
    sides: Any = picture.side_data
    for side in sides:
        if side.type == Type.DISPLAYMATRIX:
            numbers = np.frombuffer(bytes(side), dtype=np.int32) / 65536
            a, b, c, d = (round(float(numbers[index])) for index in (0, 1, 3, 4))
            if {abs(a), abs(d)} in ({0}, {1}) and {abs(b), abs(c)} in ({0}, {1}) and abs(a) != abs(b):
                return a, b, c, d
    return UPRIGHT


def turn(pixels: Pixels, matrix: Matrix) -> Pixels:
    """Apply a display matrix of quarter turns and mirrors to uint8 [H, W, 3]."""
    a, b, c, d = matrix
    if matrix == UPRIGHT:
        return np.ascontiguousarray(pixels)  # FFmpeg pads its rows
    if a == 0:  # x and y change places: shown (x', y') = (c y, b x)
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])
