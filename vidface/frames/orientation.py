"""Which way up a picture is: quarter turns and mirrors, from EXIF or from a video's display matrix.

Tested in ``tests/frames/test_orientation.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidface.frames.frame import Pixels

# (a, b, c, d), each -1, 0 or 1: a stored pixel (x, y) is shown at (a x + c y, b x + d y).
Matrix = tuple[int, int, int, int]
UPRIGHT: Matrix = (1, 0, 0, 1)

# The tag and its eight values are those of TIFF 6.0, page 36, which EXIF uses.
ORIENTATION = 0x0112
SHORT, LONG = 3, 4
ORIENTATIONS: dict[int, Matrix] = {
    **{1: UPRIGHT, 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1)},
    **{5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0)},
}

PREFIX = b"Exif\0\0"
IN_TEXT = ("Raw profile type exif", "Raw profile type APP1")  # by newer and by older ImageMagick


def turn(pixels: Pixels, matrix: Matrix) -> Pixels:
    """Apply quarter turns and mirrors to uint8 [H, W, 3]; the result is C-contiguous."""
    a, b, c, d = matrix
    if a == 0:  # x and y change places: shown (x', y') = (c y, b x)
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    # Also if nothing turns: FFmpeg pads its rows.
    return np.ascontiguousarray(pixels[:: 1 if d > 0 else -1, :: 1 if a > 0 else -1])


def exif_matrix(info: Mapping[Any, Any]) -> Matrix:
    """How a picture is to be turned by the EXIF block that Pillow found in it (``Image.info`` of a loaded picture).

    Not by Pillow's own reader: of damaged blocks it prints warnings and raises errors of many kinds, when the pixels
    are fine. A PNG may have the block as ImageMagick writes it, in hexadecimal text.
    """
    block = info.get("exif", b"")
    for name in IN_TEXT:
        if text := info.get(name):
            try:
                block = block or bytes.fromhex("".join(text.split()[2:]))  # after its name and its length
            except ValueError:
                return UPRIGHT
    while block.startswith(PREFIX):  # some programs write it into PNG, and Pillow once more
        block = block.removeprefix(PREFIX)
    return ORIENTATIONS.get(_orientation(block), UPRIGHT)


def _orientation(tiff: bytes) -> int:
    """The orientation in the first directory of a TIFF block; 0 if there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 0
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for place in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, place)
            if tag == ORIENTATION and kind in (SHORT, LONG):
                return int(struct.unpack_from(order + ("H" if kind == SHORT else "I"), tiff, place + 8)[0])
    except struct.error:  # it ends too soon
        pass
    return 0
