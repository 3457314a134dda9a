"""Write clips: RGB frames to an mp4 file, for the demo, for benchmarks and for tests."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.logging
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from vidface.errors import StoreError, UsageError
from vidface.files.atomic import write_atomic
from vidface.frames.frame import Pixels

# Rounded, chroma averaged over its pixels, and the same on every processor.
_BILINEAR = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INP
SCALING = _BILINEAR | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
AVCOL_BT709 = 1  # FFmpeg's number for BT.709 as matrix, primaries and transfer alike

# With B-frames x264's macroblock tree reads memory it never wrote where the picture is small: of 30 clips of
# 112x112, 9 came out with other bytes when the memory held something else before.
REPEATABLE = {"x264-params": "mbtree=0"}


def write_clip(
    path: Path,
    frames: Iterable[Pixels] | np.ndarray[Any, np.dtype[np.uint8]],
    *,
    fps: float = 8.0,
    lossless: bool = False,
) -> None:
    """Write frames as an h264 mp4. The same frames give the same bytes with the same FFmpeg.

    The file is written beside its name and renamed when it is whole.

    Args:
        path: the file to write; an existing one is replaced.
        frames: uint8 [H, W, 3] RGB each, or uint8 [N, H, W, 3]; all of one size.
        fps: frames a second.
        lossless: store the RGB values themselves (h264 without loss); reading gives the same pixels. Otherwise
            yuv420p, BT.709 in limited range, which needs an even height and width.

    Raises:
        UsageError: no frames, frames that are not uint8 [H, W, 3] or differ in size, an odd size where lossy.
        StoreError: the file cannot be written.
    """
    rows = iter(frames)
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{path}: a clip needs at least one frame")
    height, width = first.shape[:2]
    if not lossless and (height % 2 or width % 2):
        raise UsageError(f"{path}: a lossy clip needs an even width and height, not {width}x{height}")
    try:
        with write_atomic(path) as file:
            _encode(file, chain([first], rows), Fraction(fps).limit_denominator(100_000), lossless)
    except (av.error.FFmpegError, OSError) as error:
        raise StoreError(f"{path}: the clip cannot be written: {error}") from error


def _encode(file: BinaryIO, frames: Iterable[Pixels], fps: Fraction, lossless: bool) -> None:
    """Encode RGB frames to an mp4 in an open file; one thread, and no date or version is written."""
    reformatter = VideoReformatter()
    quality = {"qp": "0"} if lossless else {"crf": "18", **REPEATABLE}
    options = {"preset": "veryfast", **quality}
    with (
        av.logging.Capture(),
        av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as out,
    ):
        stream: Any = out.add_stream("libx264rgb" if lossless else "libx264", rate=fps, options=options)
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.time_base = 1 / fps
        if not lossless:
            context.colorspace = context.color_primaries = context.color_trc = AVCOL_BT709
            context.color_range = ColorRange.MPEG
        shape: tuple[int, ...] | None = None
        for index, pixels in enumerate(frames):
            if shape is None:
                shape = pixels.shape
                stream.height, stream.width = shape[:2]
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape != shape:
                raise UsageError(
                    f"frame {index} is {pixels.dtype} {list(pixels.shape)}: frames are uint8 [H, W, 3] of one size"
                )
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if not lossless:
                how: Any = {"dst_colorspace": Colorspace.ITU709, "dst_color_range": ColorRange.MPEG}
                how |= {"interpolation": SCALING, "threads": 1}
                picture = reformatter.reformat(picture, format="yuv420p", **how)
            picture.pts = index
            picture.time_base = 1 / fps
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
