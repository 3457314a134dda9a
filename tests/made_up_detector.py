"""A detector of drawn faces, for processes that take it for a real one, and clips for it.

A frame is a dark row of `BANDS` bands, each empty or with one face, an upright picture of the small model, so that
aligning it gives the very picture, and what must be found is known to the pixel.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BANDS, BAND, HEIGHT = 3, 176, 144  # pixels
MARK = b"weights of the made-up detector"
DARK = 20  # a darker pixel is no part of a face
# The first pixel of a frame tells the detector to fail; the last one only where no process has died of it before.
CRASH, RAISE, HANG, EXIT, DIE_ONCE = 1, 2, 3, 4, 5
# Where a face of 112x112 has its points, by the template; the nose of one that is turned lies aside.
POINTS = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
TURN = 14.0
TURNED_RED = 250  # the first pixel of a face that is turned


class Face(NamedTuple):
    """One drawn face: its band, its picture uint8 [s, s, 3], and its corner within the band."""

    band: int
    picture: np.ndarray
    x: int = 8
    y: int = 8


def frame_of(faces: Sequence[Face], word: int = 0) -> np.ndarray:
    """uint8 [HEIGHT, BANDS * BAND, 3] with these faces; ``word`` tells the detector to fail."""
    frame = np.zeros((HEIGHT, BANDS * BAND, 3), np.uint8)
    for band, picture, x, y in faces:
        x += band * BAND
        frame[y : y + len(picture), x : x + len(picture)] = picture
    frame[0, 0] = word
    return frame


def find(frame: np.ndarray, alive: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, points and scores of the drawn faces of a frame, the last band first."""
    misbehave(int(frame[0, 0, 0]), alive)
    boxes, points, scores = [], [], []
    for band in reversed(range(frame.shape[1] // BAND)):
        rows, columns = np.nonzero((frame[:, band * BAND : (band + 1) * BAND] >= DARK).any(axis=2))
        if not len(rows):
            continue
        x0, y0, x1, y1 = (
            columns.min() + band * BAND,
            rows.min(),
            columns.max() + band * BAND + 1,
            rows.max() + 1,
        )
        turned = np.zeros((5, 2))
        turned[2, 0] = TURN if frame[y0, x0, 0] >= TURNED_RED else 0
        boxes.append([x0, y0, x1, y1])
        points.append(((POINTS + turned + 0.5) * (x1 - x0) / 112 - 0.5) + [x0, y0])
        scores.append(0.9 - 0.1 * band)
    return (
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(points, np.float32).reshape(-1, 5, 2),
        np.array(scores, np.float32),
    )


def misbehave(word: int, alive: int) -> None:
    if word == CRASH:
        ctypes.string_at(0)
    if word == RAISE:
        raise RuntimeError("a detector with\n two lines")
    if word == HANG:
        time.sleep(1000)
    if word == DIE_ONCE and os.fstat(alive).st_size:
        os.ftruncate(alive, 0)  # a decoding process can write no file, but cut short one that it has open
        os._exit(3)
    if word == EXIT:
        os._exit(3)


def weights_at(path: Path, words: bytes = b"") -> Path:
    """Weights of the made-up detector; with other words, others."""
    path.write_bytes(MARK + words)
    return path


def open_detector(weights: Path | None, kind: str = "yunet", *, min_score: float) -> Any:
    """In place of `vidface.frames.faces.detector.open_detector`; weights of another content are left to that."""
    from vidface.frames.faces import detector

    if weights is None or not weights.is_file() or not weights.read_bytes().startswith(MARK):
        real = _real or detector.open_detector
        return real(weights, kind, min_score=min_score)
    found = detector.detector_weights(weights, kind)
    alive = _marker(found.path.with_suffix(".alive"))
    return detector.Detector(
        kind, found.path, found.sha256, lambda pixels: detector.Faces(*find(pixels, alive))
    )


def _marker(path: Path) -> int:
    """A file that is empty from the first death on. A decoding process opens it before it may no longer."""
    with contextlib.suppress(FileExistsError, PermissionError), path.open("xb") as file:
        file.write(b"1")
    try:
        return os.open(path, os.O_RDWR)
    except PermissionError:
        return os.open(path, os.O_RDONLY)


_real: Any = None


def install() -> None:
    """Let this process take the detector here for a real one; to be called before engines are imported."""
    global _real
    from vidface.frames.faces import detector

    _real, detector.open_detector = detector.open_detector, open_detector


# For a folder on the path of Python: what starts there with vidface has this detector.
SITECUSTOMIZE = f"""
import sys
if {{"vidface", "vidface.features.engines.decoder"}} & set(sys.orig_argv):
    sys.path.append({str(Path(__file__).parent)!r})
    import made_up_detector
    made_up_detector.install()
"""
