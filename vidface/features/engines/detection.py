"""One video's frames -> its faces, aligned: what a decoding process does if the rows are detected faces.

The faces of a video are found, followed and aligned where its frames are decoded, so that whole frames travel nowhere.
Which tracklets belong to one person is decided later, in `vidface.features.engines.batches`, by their features.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import NamedTuple

from vidface.errors import UsageError
from vidface.files.faces import FaceCounts, FaceRows
from vidface.frames.faces.align import align_faces
from vidface.frames.faces.detector import Detector, open_detector
from vidface.frames.faces.quality import filter_faces, sharpness
from vidface.frames.faces.track import Tracker
from vidface.frames.frame import Pixels


class FaceOptions(NamedTuple):
    """How faces are taken from frames; plain data, since it travels to decoding processes and to other machines.

    ``detector``, ``weights`` and ``min_score`` are as `vidface.frames.faces.detector.open_detector` takes them,
    ``sha256`` is of the weights; ``min_face``, ``min_sharpness`` and ``max_yaw`` as
    `vidface.frames.faces.quality.filter_faces` does. ``track`` is ``main`` (each video's main person), ``centre`` (who
    is nearest to the middle) or ``all``. ``template``: where the five points belong in an aligned face; None: as
    `vidface.frames.faces.align.template`.
    """

    detector: str
    weights: str
    sha256: str
    min_score: float
    min_face: float
    min_sharpness: float
    max_yaw: float
    track: str
    template: tuple[tuple[float, float], ...] | None = None


class DetectionError(Exception):
    """The detector raised what it should not."""


class Finder:
    """Finds the faces of one video, frame by frame; ``counts`` is what became of them until now.

    Several may work at a time, each in its thread. ``frame_size`` is the (height, width) of the last frame.
    """

    def __init__(self, how: FaceOptions, size: tuple[int, int]) -> None:
        """``size``: (height, width) of an aligned face. Raises as `load_detector`."""
        self.counts = FaceCounts()
        self.frame_size: tuple[int, int] | None = None
        self._how, self._size = how, size
        self._detect = load_detector(how)
        self._tracker = Tracker()

    def find(self, pixels: Pixels, seconds: float) -> tuple[Pixels, FaceRows]:
        """The faces of the next frame, uint8 [H, W, 3] RGB, that no filter leaves out.

        Returns uint8 [n, height, width, 3] aligned, and where they are. Raises DetectionError if the detector failed.
        """
        how = self._how
        try:
            faces = self._detect(pixels)
            aligned = align_faces(pixels, faces.points, self._size, how.template)
            # All faces are followed, also those that are left out: a tracklet does not end because a face is blurred.
            tracklets = self._tracker.step(faces, aligned, seconds)
            sharp = sharpness(aligned)
            kept, left_out = filter_faces(
                *(faces.boxes, faces.points, sharp),
                min_size=how.min_face,
                min_sharpness=how.min_sharpness,
                max_yaw=how.max_yaw,
            )
        except Exception as error:
            _of_thread.how = None  # who knows what state the detector is in
            raise DetectionError(f"{type(error).__name__}: {error}") from error
        height, width = pixels.shape[:2]
        self.frame_size = height, width
        here = {"frames": 1, "without_face": int(len(kept) == 0), "found": len(kept), **left_out}
        so_far = self.counts._asdict()
        self.counts = FaceCounts(**{name: count + here.get(name, 0) for name, count in so_far.items()})
        return aligned[kept], FaceRows(*faces, sharp, tracklets).rows(kept)


_of_thread = threading.local()
_opening = threading.Lock()  # uniface is led to its weights by changing its module meanwhile


def load_detector(how: FaceOptions) -> Detector:
    """The detector, loaded once a thread: it keeps buffers of its own."""
    if getattr(_of_thread, "how", None) != how:
        with _opening:
            detector = open_detector(Path(how.weights), how.detector, min_score=how.min_score)
        if detector.sha256 != how.sha256:
            raise UsageError(
                f"{how.weights}: other weights of a detector than the run began with: leave them as they are, "
                "and have the same on all machines"
            )
        _of_thread.how, _of_thread.detector = how, detector
    detector = _of_thread.detector
    assert isinstance(detector, Detector)
    return detector
