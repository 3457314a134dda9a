"""One decoded frame, what was learned while reading, and the one size a backbone wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from PIL import Image

from vidface.errors import MediaError

# A frame may hold as many pixels as an 8K one, twice over: more is a mistake or a bomb, which is refused by its header,
# as `too-large`, before there is memory for its pixels.
MAX_PIXELS = 2 * 7680 * 4320

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Kinds of `ReadReport.faults` that are only to be known: no frame is lost or wrong.
NOTES = frozenset({"joined", "pixel-aspect", "resized"})


@dataclass(frozen=True)
class Frame:
    """One picture and when it is shown.

    Attributes:
        pixels: uint8 [H, W, 3], RGB, C-contiguous, upright, of square pixels.
        pts_seconds: presentation time in seconds, 0 at the video's first frame. Frames of a folder carry no
            time: they get index / 8, since LFRC cuts its folders at 8 fps.
        aspect: of a video the width of a pixel over its height as the file has it, upright; if it is not 1, ``pixels``
            were scaled.
    """

    pixels: Pixels
    pts_seconds: float
    aspect: Fraction = Fraction(1)


@dataclass
class ReadReport:
    """What a reader met. It is filled while the reader is iterated and complete after its end.

    ``decoded`` counts frames decoded, or images of a folder read well; ``sampled`` frames handed out. ``faults`` are
    (kind, detail) of damage that did not stop the reading: ``truncated`` (the video ends long before the length its
    container states), ``concealed`` (the decoder met errors, so some pictures are partly made up), ``partial`` (frames
    are lost, or their times contradict each other), ``too-large`` (frames over ``MAX_PIXELS`` are left out),
    ``unreadable-image`` (one image of a folder). Those of ``NOTES`` are no damage: ``joined`` (its time starts anew,
    and was made to go on), ``pixel-aspect`` (what it says of the shape of its pixels cannot be true).
    """

    decoded: int = 0
    sampled: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)


def fit_frame(pixels: Pixels, size: tuple[int, int], *, resize: bool) -> Pixels:
    """Return the frame, uint8 [H, W, 3] RGB, in the (height, width) that the backbone wants.

    The challenge forbids resizing, so a frame of that size is returned as it is, the same object, and another size is
    an error unless ``resize`` is set. Then Pillow's bilinear filter scales, which averages over the source area when
    shrinking. For a size as narrow as 112x96 of a square frame the middle columns are taken, as
    `vidface.frames.faces.align.template` has it: a face would be squeezed else.

    Raises:
        MediaError: kind ``wrong-size``, if the size differs and ``resize`` is not set.
    """
    height, width = size
    if pixels.shape[:2] == (height, width):
        return pixels
    if not resize:
        raise MediaError(
            "wrong-size",
            f"the frame is {pixels.shape[1]}x{pixels.shape[0]}, the model takes {width}x{height}: "
            "find and align the faces in it with --faces detect, or align and crop them first; pass --resize "
            "only if each frame is a cropped face already",
        )
    beside = _beside(pixels, size)
    box = (beside, 0, pixels.shape[1] - beside, pixels.shape[0])
    return np.array(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR, box))


def is_no_face_crop(pixels: Pixels, size: tuple[int, int]) -> bool:
    """Whether a frame, [H, W, 3], has another shape than the backbone's (height, width), or is far larger.

    A cropped face may be stored somewhat larger than a network takes it; a scene that is squeezed whole into its input
    gives plausible, wrong scores.
    """
    across = pixels.shape[1] - 2 * _beside(pixels, size)
    scales = pixels.shape[0] / size[0], across / size[1]
    return bool(max(scales) > 3 or max(scales) > 1.1 * min(scales))


def _beside(pixels: Pixels, size: tuple[int, int]) -> float:
    """Columns to leave out on either side of a square frame for an input of 7 : 6, which shows the middle of it."""
    down, across = pixels.shape[:2]
    return across / 14 if down == across and 6 * size[0] == 7 * size[1] else 0
