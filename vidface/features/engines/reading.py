"""One video -> blocks of faces, and at the end what was wrong with it.

Its frames are aligned faces already, or faces are found in them by `vidface.features.engines.detection`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vidface.errors import MediaError, VidfaceError
from vidface.features.engines.detection import DetectionError, FaceOptions, Finder
from vidface.files.faces import FaceCounts, FaceRows, join_faces
from vidface.frames import Frame, ReadReport, fit_frame, read_frames
from vidface.frames.frame import Pixels, is_no_face_crop

if TYPE_CHECKING:  # a decoding process must be there at once, and needs no pydantic
    from vidface.features.options import ExtractOptions

BLOCK_FRAMES = 32
BLOCK_SECONDS = 1.0  # a block goes out with fewer frames where they take so long


class Video(NamedTuple):
    """One video: its id, and the file or folder of frames."""

    video_id: str
    path: Path


class ReadOptions(NamedTuple):
    """How frames are taken from a video, as in `vidface.frames`.

    Attributes:
        decoder: one of `vidface.frames.DECODERS`.
        fps: frames a second by presentation time; None takes every frame.
        resize: scale frames of another size instead of refusing them.
        input_size: (height, width) that the network takes; None: frames as they are, each a block of its own.
        timeout: seconds that a decoding process may give no frame before its video is given up.
        faces: how faces are found in the frames; None: each frame is a face. With it there is an ``input_size``.
        folder_frames: of a folder at most so many images, evenly spaced; None takes it whole.
        film: frames are whole scenes, not cut-out faces; see `vidface.frames.read_frames`.
    """

    decoder: str
    fps: float | None
    resize: bool
    input_size: tuple[int, int] | None
    timeout: float = 120.0
    faces: FaceOptions | None = None
    folder_frames: int | None = None
    film: bool = False


def read_options(
    options: ExtractOptions, input_size: tuple[int, int], faces: FaceOptions | None
) -> ReadOptions:
    """What of extract's options says how frames are taken, for a network of this input and faces found so."""
    return ReadOptions(
        decoder=options.decoder,
        fps=options.frame_rate(),
        resize=options.resize,
        input_size=input_size,
        timeout=options.decoder_timeout,
        faces=faces,
        folder_frames=options.folder_frames,
        film=faces is not None,
    )


def reading_to_json(reading: ReadOptions) -> dict[str, Any]:
    """As plain data, for another process."""
    return reading._asdict() | {"faces": reading.faces and reading.faces._asdict()}


def reading_from_json(told: dict[str, Any]) -> ReadOptions:
    """What `reading_to_json` was given."""
    size, faces = told["input_size"], told["faces"]
    return ReadOptions(
        **{**told, "input_size": size and tuple(size), "faces": faces and FaceOptions(**faces)}
    )


class Block(NamedTuple):
    """Consecutive rows of one video, frames or faces found in them. It may be empty: then work just goes on.

    Attributes:
        pixels: uint8 [b, H, W, 3].
        times: [b], seconds.
        faces: of faces that were found, where; None: the rows are frames.
    """

    pixels: Pixels
    times: list[float]
    faces: FaceRows | None = None

    def after(self, known: int) -> Block:
        """Without its first rows."""
        faces = self.faces and self.faces.rows(slice(known, None))
        return Block(self.pixels[known:], self.times[known:], faces)


class VideoEnd(NamedTuple):
    """A video is read to its end.

    Attributes:
        faults: (kind, detail) of everything that was wrong with it.
        lost: its decoder did not survive it: frames that were handed out before don't count.
        counts: of the faces that were found; None where the rows are frames.
        size: (height, width) of the last frame that faces were found in; None where there is none.
    """

    faults: list[tuple[str, str]]
    lost: bool = False
    counts: FaceCounts | None = None
    size: tuple[int, int] | None = None


Message = Block | VideoEnd
Read = Callable[[Video], Iterator[Message]]


def read_video(video: Video, reading: ReadOptions) -> Iterator[Message]:
    """The frames of a video, or the faces in them, in blocks of some `BLOCK_FRAMES`, then its end.

    A video that can't be read is only an end. Where decoder or detector raise what they should not, the video is lost.
    Blocks are cut anyhow; their rows, one after the other, are always the same.

    Raises:
        UsageError: no video can be read, since the call is wrong; see `vidface.frames.read_frames`.
        VidfaceError: the decoder or the detector cannot be loaded.
    """
    report = ReadReport()
    finder = None if reading.faces is None else Finder(reading.faces, _face_size(reading))
    waiting: list[Block] = []
    squeezed: Counter[str] = Counter()
    begun = time.monotonic()
    try:
        frames = read_frames(
            video.path,
            decoder=reading.decoder,
            fps=reading.fps,
            folder_frames=reading.folder_frames,
            film=reading.film,
            report=report,
        )
        for frame in frames:
            waiting.append(_block_of(frame, reading, finder))
            if finder is None and reading.input_size and is_no_face_crop(frame.pixels, reading.input_size):
                squeezed[f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}"] += 1
            full = reading.input_size is None or sum(len(block.times) for block in waiting) >= BLOCK_FRAMES
            if full or time.monotonic() - begun > BLOCK_SECONDS:
                yield _joined(waiting)
                waiting = []
                begun = time.monotonic()
    except MediaError as error:
        report.faults.append((error.kind, str(error)))
    except VidfaceError:
        raise
    except ImportError as error:
        raise VidfaceError(f"decoder {reading.decoder} cannot be loaded: {error}") from error
    except MemoryError as error:
        detail = f"the decoder asked for more memory than it may have{str(error) and f': {error}'}"
        yield VideoEnd([("decoder-memory", detail)], lost=True)
        return
    except DetectionError as error:
        yield VideoEnd([("detector-failed", f"the detector failed: {error}")], lost=True)
        return
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs one video, and is listed
        detail = f"the decoder failed: {type(error).__name__}: {error}"
        yield VideoEnd([("decoder-crashed", detail)], lost=True)
        return
    if waiting:
        yield _joined(waiting)
    if squeezed:
        sizes = ", ".join(f"{count} of {size}" for size, count in squeezed.most_common(3))
        report.faults.append(
            ("resized", f"frames that do not look like cropped faces were resized whole: {sizes}")
        )
    if finder is None:
        yield VideoEnd(report.faults)
    else:
        yield VideoEnd(report.faults, counts=finder.counts, size=finder.frame_size)


def _face_size(reading: ReadOptions) -> tuple[int, int]:
    assert reading.input_size is not None, "faces are aligned for a network"
    return reading.input_size


def _block_of(frame: Frame, reading: ReadOptions, finder: Finder | None) -> Block:
    """The rows of one frame."""
    if finder is not None:
        pixels, faces = finder.find(frame.pixels, frame.pts_seconds)
        return Block(pixels, [frame.pts_seconds] * len(pixels), faces)
    pixels = frame.pixels
    if reading.input_size is not None:
        if frame.aspect != 1 and pixels.shape[:2] != reading.input_size and not reading.resize:
            raise MediaError("not-square", _not_square(frame, reading.input_size))
        pixels = fit_frame(pixels, reading.input_size, resize=reading.resize)
    return Block(pixels[np.newaxis], [frame.pts_seconds])


def _not_square(frame: Frame, size: tuple[int, int]) -> str:
    height, width = frame.pixels.shape[:2]
    return (
        f"its pixels are {frame.aspect.numerator}:{frame.aspect.denominator}, not square, so its frames are shown at "
        f"{width}x{height}; the model takes {size[1]}x{size[0]}: if that is a mistake in the file, write it again with "
        f"square pixels (ffmpeg -vf setsar=1), else pass --resize, or --faces detect"
    )


def _joined(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    faces = [block.faces for block in blocks if block.faces is not None]
    return Block(
        np.concatenate([block.pixels for block in blocks]),
        [seconds for block in blocks for seconds in block.times],
        join_faces(faces) if faces else None,
    )
