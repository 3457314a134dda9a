"""YuNet, run by OpenCV: a small detector of faces and their five points (Wu, Peng and Yu 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.errors import ModelError, shortened
from vidface.frames.faces.align import opencv
from vidface.frames.faces.faces import Detect, Faces, check_frame, sound_faces
from vidface.frames.faces.search import DOUBTFUL, Rows, search_faces
from vidface.frames.faces.weights import Known
from vidface.frames.frame import Pixels

_SOURCE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet (MIT licence)"
KNOWN = [
    Known(f"face_detection_yunet_{version}.onnx", sha256, _SOURCE)
    for version, sha256 in (
        ("2026may", "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"),
        ("2023mar", "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"),
    )
]

_CANDIDATES = 5000  # more than any frame has


def open_yunet(weights: Path, *, min_score: float) -> Detect:
    """Open YuNet; see `vidface.frames.faces.detector.open_detector`.

    The network takes any size. How faces that are large or small for it are found is told in
    `vidface.frames.faces.search`. What is found is given in pixels of the whole frame.

    OpenCV is told to use one thread in this process: frames are decoded by as many processes as there are cores, and
    at these sizes a second thread makes it slower, measured. The faces are the same.
    """
    cv2 = opencv()
    cv2.setNumThreads(1)
    # It warns on every start that its new engine takes no target.
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        network = cv2.FaceDetectorYN.create(
            "onnx",
            # The content is given, not the path: OpenCV cannot open every name that Python can.
            np.frombuffer(weights.read_bytes(), np.uint8),
            np.empty(0, np.uint8),
            (320, 320),
            min(min_score, DOUBTFUL),
            1.0,  # candidates that overlap are all kept
            _CANDIDATES,
        )
        network.detect(np.zeros((320, 320, 3), np.uint8))
    except OSError as error:
        raise ModelError(f"{weights}: the detector's weights cannot be read: {error.strerror}") from None
    except cv2.error as error:
        raise ModelError(f"{weights}: not the weights of YuNet, or damaged: {shortened(error)}") from None
    finally:
        cv2.utils.logging.setLogLevel(before)

    def candidates(image: Pixels) -> Rows:
        network.setInputSize(image.shape[1::-1])
        found: npt.NDArray[np.float32] | None = network.detect(image)[1]
        rows = np.empty((0, 15)) if found is None else found.astype(np.float64)
        sound = np.isfinite(rows).all(axis=1) & (rows[:, 2:4] >= 1).all(axis=1) & (rows[:, 14] > 0)
        return rows[sound]

    def detect(pixels: Pixels) -> Faces:
        check_frame(pixels)
        found = search_faces(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), candidates, min_score)
        with np.errstate(over="ignore"):  # what is not finite is left out
            rows = found.astype(np.float32)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        faces = Faces(boxes, rows[:, 4:14].reshape(-1, 5, 2), rows[:, 14])
        return sound_faces(faces, pixels.shape[:2])

    return detect
