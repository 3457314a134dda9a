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
BLOCK_SECONDS = 1.0  # a block goes out with fewer frames if they take so long


class Video(NamedTuple):
    """One video: its id, and the file or folder of frames."""

    video_id: str
    path: Path


class ReadOptions(NamedTuple):
    """How frames are taken from a video, as in `vidface.frames.read_frames`.

    Attributes:
        decoder, fps, folder_frames, film: as there.
        resize: scale frames of another size instead of refusing them.
        input_size: (height, width) that the network takes; None: frames as they are, each a block of its own.
        timeout: seconds that a decoding process may give no frame before its video is given up.
        faces: how faces are found in the frames; None: each frame is a face. With it there is an ``input_size``.
    """

    decoder: str
    fps: float | None
    resize: bool
    input_size: tuple[int, int] | None
    timeout: float = 120.0
    faces: FaceOptions | None = None
    folder_frames: int | None = None
    film: bool = False

    def to_json(self) -> dict[str, Any]:
        """As plain data, for another process."""
        return self._asdict() | {"faces": self.faces and self.faces._asdict()}

    @staticmethod
    def from_json(told: dict[str, Any]) -> ReadOptions:
        """What `to_json` gave."""
        size, faces = told["input_size"], told["faces"]
        return ReadOptions(
            **{**told, "input_size": size and tuple(size), "faces": faces and FaceOptions(**faces)}
        )


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


class Block(NamedTuple):
    """Consecutive rows of one video, frames or faces found in them. It may be empty: then work just goes on.

    ``pixels`` are uint8 [b, H, W, 3], ``times`` [b] seconds; ``faces`` says where they were found, None if rows are
    frames.
    """

    pixels: Pixels
    times: list[float]
    faces: FaceRows | None = None

    def after(self, known: int) -> Block:
        """Without its first rows."""
        faces = self.faces and self.faces.rows(slice(known, None))
        return Block(self.pixels[known:], self.times[known:], faces)


class VideoEnd(NamedTuple):
    """A video is read to its end: (kind, detail) of everything that was wrong with it.

    If its decoder did not survive it, it is ``lost``: frames that were handed out before don't count. If faces were
    found in frames, there are ``counts`` of them and the ``size``, (height, width), of the last frame.
    """

    faults: list[tuple[str, str]]
    lost: bool = False
    counts: FaceCounts | None = None
    size: tuple[int, int] | None = None


Message = Block | VideoEnd
Read = Callable[[Video], Iterator[Message]]


def read_video(video: Video, reading: ReadOptions) -> Iterator[Message]:
    """The frames of a video, or the faces in them, in blocks of some `BLOCK_FRAMES`, then its end.

    A video that can't be read is only an end. If decoder or detector raise what they should not, the video is lost.
    How rows are cut into blocks may differ; the rows, one after the other, are always the same.

    Raises:
        UsageError: no video can be read, since the call is wrong; see `vidface.frames.read_frames`.
        VidfaceError: the decoder or the detector cannot be loaded.
    """
    report = ReadReport()
    size, finder = reading.input_size, None
    if reading.faces is not None:
        assert size is not None, "faces are aligned for a network"
        finder = Finder(reading.faces, size)
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
            if finder is not None:
                pixels, faces = finder.find(frame.pixels, frame.pts_seconds)
                waiting.append(Block(pixels, [frame.pts_seconds] * len(pixels), faces))
            else:
                waiting.append(Block(_fitted(frame, reading)[np.newaxis], [frame.pts_seconds]))
                if size and is_no_face_crop(frame.pixels, size):
                    squeezed[f"{frame.pixels.shape[1]}x{frame.pixels.shape[0]}"] += 1
            full = size is None or sum(len(block.times) for block in waiting) >= BLOCK_FRAMES
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
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs one video, and is listed
        yield VideoEnd([_lost(error)], lost=True)
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


def _fitted(frame: Frame, reading: ReadOptions) -> Pixels:
    """The frame in the network's size, if there is one."""
    size, (height, width) = reading.input_size, frame.pixels.shape[:2]
    if size is None:
        return frame.pixels
    if frame.aspect != 1 and (height, width) != size and not reading.resize:
        raise MediaError(
            "not-square",
            f"its pixels are {frame.aspect.numerator}:{frame.aspect.denominator}, not square, so its frames are shown "
            f"at {width}x{height}; the model takes {size[1]}x{size[0]}: if that is a mistake in the file, write it "
            "again with square pixels (ffmpeg -vf setsar=1), else pass --resize, or --faces detect",
        )
    return fit_frame(frame.pixels, size, resize=reading.resize)


def _lost(error: Exception) -> tuple[str, str]:
    """Kind and detail of an error that no decoder or detector should raise."""
    if isinstance(error, MemoryError):
        detail = f"the decoder asked for more memory than it may have{str(error) and f': {error}'}"
        return "decoder-memory", detail
    if isinstance(error, DetectionError):
        return "detector-failed", f"the detector failed: {error}"
    return "decoder-crashed", f"the decoder failed: {type(error).__name__}: {error}"


def _joined(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    faces = [block.faces for block in blocks if block.faces is not None]
    return Block(
        np.concatenate([block.pixels for block in blocks]),
        [seconds for block in blocks for seconds in block.times],
        join_faces(faces) if faces else None,
    )
