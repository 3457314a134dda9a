"""One decoded frame, what was learned while reading, and the one size a backbone wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from vidface.errors import MediaError

__all__ = ["MAX_PIXELS", "Frame", "Pixels", "ReadReport", "fit_frame"]

# A frame may hold as many pixels as an 8K one, twice over: more is a mistake or a bomb, which is refused by its header,
# as `too-large`, before there is memory for its pixels.
MAX_PIXELS = 2 * 7680 * 4320

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Frame:
    """One picture and when it is shown.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, C-contiguous, upright.
        pts_seconds: presentation time in seconds, 0 at the video's first frame. Frames of a folder carry no
            time: they get index / 8, since LFRC cuts its folders at 8 fps.
    """

    pixels: Pixels
    pts_seconds: float


@dataclass
class ReadReport:
    """What a reader met. It is filled while the reader is iterated and complete after its end.

    Attributes:
        decoded: frames decoded, or images of a folder read well.
        sampled: frames handed out.
        faults: (kind, detail) of damage that did not stop the reading: ``truncated`` (the video ends long
            before the length its container states), ``concealed`` (the decoder met errors, so some pictures
            are partly made up), ``partial`` (frames are lost, or their times contradict each other), ``too-large``
            (frames over ``MAX_PIXELS`` are left out), ``unreadable-image`` (one image of a folder).
    """

    decoded: int = 0
    sampled: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)


def fit_frame(pixels: Pixels, size: tuple[int, int], *, resize: bool) -> Pixels:
    """Return the frame in the size that the backbone wants.

    The challenge forbids resizing, so a frame of that size is returned as it is, the same object, and another
    size is an error unless ``resize`` is set.

    Args:
        pixels: uint8 [H, W, 3], RGB.
        size: (height, width) wanted, in pixels.
        resize: scale with Pillow's bilinear filter, which averages over the source area when shrinking. For a size as
            narrow as 112x96 of a square frame the middle columns are taken, as `vidface.frames.faces.align.template`
            has it: a face would be squeezed else.

    Returns:
        uint8 [height, width, 3].

    Raises:
        MediaError: kind ``wrong-size``, where the size differs and ``resize`` is not set.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    if not resize:
        raise MediaError(
            "wrong-size",
            f"the frame is {pixels.shape[1]}x{pixels.shape[0]}, the model takes {width}x{height}: "
            "align and crop the faces first, or allow --resize",
        )
    down, across = pixels.shape[:2]
    beside = across / 14 if down == across and 6 * height == 7 * width else 0
    box = (beside, 0, across - beside, down)
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box))
