"""One video -> blocks of faces, and at the end what was wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vidface.errors import MediaError, VidfaceError
from vidface.frames import ReadReport, fit_frame, read_frames
from vidface.frames.frame import Pixels

BLOCK_FRAMES = 32
BLOCK_SECONDS = 1.0  # a block goes out with fewer frames where they take so long


class Video(NamedTuple):
    """One video: its id, and the file or folder of frames."""

    video_id: str
    path: Path


class Reading(NamedTuple):
    """How frames are taken from a video, as in `vidface.frames`.

    Attributes:
        decoder: one of `vidface.frames.DECODERS`.
        fps: frames a second by presentation time; None takes every frame.
        resize: scale frames of another size instead of refusing them.
        input_size: (height, width) that the network takes; None: frames as they are, each a block of its own.
        timeout: seconds that a decoding process may give no frame before its video is given up.
    """

    decoder: str
    fps: float | None
    resize: bool
    input_size: tuple[int, int] | None
    timeout: float = 120.0


class Block(NamedTuple):
    """Consecutive frames of one video: ``pixels`` uint8 [b, H, W, 3] and ``times`` [b], seconds."""

    pixels: Pixels
    times: list[float]


class VideoEnd(NamedTuple):
    """A video is read to its end.

    Attributes:
        faults: (kind, detail) of everything that was wrong with it.
        lost: its decoder did not survive it: frames that were handed out before don't count.
    """

    faults: list[tuple[str, str]]
    lost: bool = False


Message = Block | VideoEnd
Read = Callable[[Video], Iterator[Message]]


def read_video(video: Video, reading: Reading) -> Iterator[Message]:
    """The frames of a video in blocks of at most `BLOCK_FRAMES`, then its end.

    A video that can't be read is only an end. Where the decoder raises what it should not, the video is lost.

    Raises:
        UsageError: no video can be read, since the call is wrong; see `vidface.frames.read_frames`.
        VidfaceError: the decoder cannot be loaded.
    """
    report = ReadReport()
    pixels: list[Pixels] = []
    times: list[float] = []
    begun = time.monotonic()
    try:
        for frame in read_frames(video.path, decoder=reading.decoder, fps=reading.fps, report=report):
            if reading.input_size is None:
                yield Block(frame.pixels[np.newaxis], [frame.pts_seconds])
                continue
            pixels.append(fit_frame(frame.pixels, reading.input_size, resize=reading.resize))
            times.append(frame.pts_seconds)
            if len(pixels) == BLOCK_FRAMES or time.monotonic() - begun > BLOCK_SECONDS:
                yield Block(np.stack(pixels), times)
                pixels, times = [], []
                begun = time.monotonic()
    except MediaError as error:
        report.faults.append((error.kind, str(error)))
    except VidfaceError:
        raise
    except ImportError as error:
        raise VidfaceError(f"decoder {reading.decoder} cannot be loaded: {error}") from error
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs one video, and is listed
        detail = f"the decoder failed: {type(error).__name__}: {error}"
        yield VideoEnd([("decoder-crashed", detail)], lost=True)
        return
    if pixels:
        yield Block(np.stack(pixels), times)
    yield VideoEnd(report.faults)
