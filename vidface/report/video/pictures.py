"""Pictures of the rows of a features file: its videos are read once more, as they were read for it.

As in extraction, clips are not trusted: decoding processes read them, within limits of time and memory. Whatever
can't be read any more is no picture, and a reason.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from vidface.errors import StoreError, VidfaceError, printable
from vidface.features.engines.isolated import Decoders
from vidface.features.engines.reading import ReadOptions, Video, VideoEnd
from vidface.features.foreign import NOT_KNOWN
from vidface.files import store
from vidface.files.store import FeaturesInfo
from vidface.frames.faces.align import align_faces
from vidface.frames.frame import Pixels
from vidface.manifest.manifest import Manifest
from vidface.manifest.names import composed

SILENT_SECONDS = 20.0  # between two frames: who waits for a report has less patience than who extracts
VIDEO_SECONDS = 120.0  # for one video
# A process that reads a video to its end is used again; a new one costs about so many frames.
LINGER_FRAMES = 64
BACKDROP = (40, 40, 40)  # beside a frame that is not square


class Shot(NamedTuple):
    """A whole frame, and which of the rows asked for lie in it."""

    seconds: float  # when it is shown
    pixels: Pixels  # uint8 [H, W, 3] RGB
    rows: list[int]  # numbers within the video, ascending; several if a row is a face


class Pictures:
    """Reads pictures of many videos with few processes; several threads may ask. From `open_pictures`.

    ``missing``: video id -> why pictures are missing, filled as they are asked for.
    """

    def __init__(self, manifest: Manifest, info: FeaturesInfo, decoders: Decoders) -> None:
        self.missing: dict[str, str] = {}
        self._manifest, self._info, self._decoders = manifest, info, decoders
        self._places = {composed(video_id): i for i, video_id in enumerate(manifest.video_ids)}

    def thumbnails(self, video: int, rows: Sequence[int], size: int = 64) -> list[Pixels | None]:
        """One picture per row: the aligned face if the features file has boxes, else the whole frame between dark bars.

        ``video`` is its place in the features file; ``rows`` are row numbers within the video, in any order.
        Returns uint8 [size, size, 3] RGB each, None if it cannot be read any more.

        Raises:
            StoreError: the features file is gone or damaged.
        """
        start, stop = self._info.offsets[video : video + 2]
        detected = "faces" in self._info.attributes
        faces = store.read_faces(self._info.path, start, stop) if detected else None
        found: dict[int, Pixels] = {}
        for shot in self.shots(video, rows):
            pictures = [shot.pixels]
            if faces is not None:
                pictures = self.aligned(video, shot.pixels, faces.points[shot.rows])
            for row, picture in zip(shot.rows, pictures, strict=False):
                found[row] = fit_square(picture, size)
        return [found.get(row) for row in rows]

    def aligned(self, video: int, pixels: Pixels, points: npt.NDArray[np.float32]) -> list[Pixels]:
        """The aligned faces of a frame, uint8 [112, 112, 3] each, from their five points, float32 [n, 5, 2].

        Without OpenCV, or with damaged points, there are none, and a reason.
        """
        try:
            return list(align_faces(pixels, points))
        except VidfaceError as error:
            self.missing[self._info.video_ids[video]] = printable(str(error))
            return []

    def shots(self, video: int, rows: Sequence[int]) -> Iterator[Shot]:
        """The whole frames that the rows come from, in order of time, but for those that cannot be read.

        Frames are found by their time, to the bit: the features leave damaged ones out, so counting would be wrong. If
        several frames have one time, the rows go to them in order, or all to the first if rows are faces. Arguments and
        errors as of `thumbnails`.
        """
        video_id = self._info.video_ids[video]
        start, stop = self._info.offsets[video : video + 2]
        times = store.read_timestamps(self._info.path, start, stop)
        waiting = _rows_by_time(times, faces="faces" in self._info.attributes)
        wanted = set(rows)
        reason = ""
        place = self._places.get(composed(video_id))
        if place is None:
            reason = "not in the manifest"
        elif self._info.attributes["decoder"] == NOT_KNOWN:
            reason = "another tool made its features: which frame a row is of is not known"
        elif wanted:
            deadline = time.monotonic() + VIDEO_SECONDS
            lingered = 0
            try:
                task = Video(video_id, self._manifest.video_path(place))
                with closing(self._decoders.read(task)) as messages:
                    for message in messages:
                        if isinstance(message, VideoEnd):
                            reason = "; ".join(detail for _, detail in message.faults)
                            break
                        for pixels, seconds in zip(message.pixels, message.times, strict=True):
                            groups = waiting.get(np.float32(seconds))
                            here = sorted(wanted.intersection(groups.pop(0))) if groups else []
                            if here:
                                wanted.difference_update(here)
                                yield Shot(seconds, pixels, here)
                        if not wanted:
                            lingered += 1
                            if lingered > LINGER_FRAMES:
                                break
                        if time.monotonic() > deadline:
                            reason = f"not read to its end within {VIDEO_SECONDS:g} s"
                            break
            except VidfaceError as error:
                reason = str(error)
        if wanted:
            self.missing[video_id] = printable(reason or "it has no frames at these times any more")


@contextmanager
def open_pictures(manifest: Manifest, info: FeaturesInfo) -> Iterator[Pictures]:
    """A reader of pictures of a features file's videos, by its decoder and fps; its processes end with the block."""
    try:
        decoder, fps = str(info.attributes["decoder"]), str(info.attributes["fps"])
        rate = None if fps == "all" else float(fps)
        most = info.attributes.get("folder_frames")
    except (KeyError, ValueError):
        raise StoreError(f"{info.path}: damaged (it does not say how its videos were read)") from None
    reading = ReadOptions(
        decoder=decoder,
        fps=rate,
        resize=False,
        input_size=None,
        timeout=SILENT_SECONDS,
        folder_frames=None if most is None else int(most),
        film="faces" in info.attributes,
    )
    with Decoders(reading) as decoders:
        yield Pictures(manifest, info, decoders)


def spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most so many rows, evenly spread, the first and the last among them."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)]


def fit_square(pixels: Pixels, size: int) -> Pixels:
    """Scale a picture, uint8 [H, W, 3], to fit into a square; what is not square stands between dark bars."""
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    inside = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(pixels).resize(inside, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (size, size), BACKDROP)
    square.paste(picture, ((size - inside[0]) // 2, (size - inside[1]) // 2))
    return np.array(square)


def _rows_by_time(times: npt.NDArray[np.float32], *, faces: bool) -> dict[np.float32, list[list[int]]]:
    """For every time its rows, in a group for each frame that has this time."""
    groups: dict[np.float32, list[list[int]]] = defaultdict(list)
    for row, seconds in enumerate(times):
        if faces and groups[seconds]:
            groups[seconds][0].append(row)
        else:
            groups[seconds].append([row])
    return groups
