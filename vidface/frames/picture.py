"""From FFmpeg's picture to RGB: colours as tagged, the right way up, pixels square."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from vidface.frames.aspect import square
from vidface.frames.frame import Pixels
from vidface.frames.orientation import UPRIGHT, Matrix, turn

__all__ = ["SCALING", "Shown", "ToRgb", "display_matrix", "is_hdr"]

# FFmpeg's own default, the fast way: decord and most tools turn 8-bit video into the very same RGB. Interpolating
# the chroma and rounding instead of truncating differs by 1 level of luma on average and takes 10 times as long.
SCALING = Interpolation.BICUBIC

# High dynamic range, as networks and detectors have never seen it: FFmpeg maps its tones and colours to BT.709.
HDR = frozenset({ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67})
TO_BT709 = {"dst_color_trc": ColorTrc.BT709, "dst_color_primaries": ColorPrimaries.BT709}


class Shown(NamedTuple):
    """A decoded picture, and the width of its stored pixels over their height."""

    picture: VideoFrame
    aspect: Fraction


def is_hdr(picture: VideoFrame) -> bool:
    """Whether its transfer is PQ (SMPTE ST 2084) or HLG (ARIB STD-B67)."""
    return picture.color_trc in HDR


class ToRgb:
    """Turns the decoded pictures of one video into RGB, applies their display matrix and makes their pixels square.

    Colour matrix and range are the ones that a picture is tagged with; an untagged one is BT.601 in limited
    range, as FFmpeg has it. More than 8 bits are reduced to 8. HDR becomes BT.709.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # setting one up costs more than using it
        self._matrices: dict[int, Matrix] = {}

    def __call__(self, shown: Shown) -> Pixels:
        """Convert one picture of any pixel format to uint8 [H, W, 3], C-contiguous."""
        return square(self.upright(shown.picture), self.aspect(shown))

    def upright(self, picture: VideoFrame) -> Pixels:
        """As ``__call__``, without making pixels square."""
        # Reading a picture's side data ties it into a cycle that only the garbage collector frees, and some
        # hundred pictures pile up until then: so it is read once for each rotation that a video shows.
        if picture.rotation not in self._matrices:
            self._matrices[picture.rotation] = display_matrix(picture)
        hdr: dict[str, Any] = TO_BT709 if is_hdr(picture) else {}
        rgb = self._reformatter.reformat(picture, format="rgb24", interpolation=SCALING, threads=1, **hdr)
        pixels: Any = rgb.to_ndarray()
        return turn(pixels, self._matrices[picture.rotation])

    def aspect(self, shown: Shown) -> Fraction:
        """Of the pixels that ``upright`` gave: a quarter turn makes wide ones tall."""
        sideways = self._matrices[shown.picture.rotation][0] == 0
        return 1 / shown.aspect if sideways else shown.aspect


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
