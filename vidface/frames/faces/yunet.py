"""YuNet, run by OpenCV: a small detector of faces and their five points (Wu, Peng and Yu 2023)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from vidface.errors import ModelError, shortened
from vidface.frames.faces.align import opencv
from vidface.frames.faces.faces import Detect, Faces, check_frame, sound_faces
from vidface.frames.faces.weights import Known
from vidface.frames.frame import Pixels

__all__ = ["KNOWN", "LONGEST_SIDE", "open_yunet"]

_SOURCE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet (MIT licence)"
KNOWN = [
    Known(
        "face_detection_yunet_2026may.onnx",
        "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
        _SOURCE,
    ),
    Known(
        "face_detection_yunet_2023mar.onnx",
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        _SOURCE,
    ),
]

# Pixels; a longer frame is scaled down for the search. YuNet is trained for faces of some 10 to 300 pixels, so in a
# frame of 4K it would miss those near the camera, and take seconds.
LONGEST_SIDE = 1280

_OVERLAP = 0.3  # IoU from which on two boxes are the same face, as OpenCV's own example has it
_CANDIDATES = 5000  # boxes looked at before that; more than any frame has


def open_yunet(weights: Path, *, min_score: float) -> Detect:
    """Open YuNet; see `vidface.frames.faces.detector.open_detector`.

    The network takes any size, so nothing is scaled but frames whose longer side is above `LONGEST_SIDE`: those are
    scaled down to it, each pixel an average over its area. What is found is given in pixels of the whole frame.

    OpenCV is told to use one thread in this process: frames are decoded by as many processes as there are cores, and
    at these sizes a second thread makes it slower, measured. The faces are the same.
    """
    cv2 = opencv()
    cv2.setNumThreads(1)
    # It warns on every start that its new engine takes no target.
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    try:
        # The content is given, not the path: OpenCV cannot open every name that Python can.
        network = cv2.FaceDetectorYN.create(
            "onnx",
            np.frombuffer(weights.read_bytes(), np.uint8),
            np.empty(0, np.uint8),
            (320, 320),
            min_score,
            _OVERLAP,
            _CANDIDATES,
        )
        network.detect(np.zeros((320, 320, 3), np.uint8))
    except OSError as error:
        raise ModelError(f"{weights}: the detector's weights cannot be read: {error.strerror}") from None
    except cv2.error as error:
        raise ModelError(f"{weights}: not the weights of YuNet, or damaged: {shortened(error)}") from None
    finally:
        cv2.utils.logging.setLogLevel(before)

    def detect(pixels: Pixels) -> Faces:
        check_frame(pixels)
        height, width = pixels.shape[:2]
        shrink = max(1.0, max(height, width) / LONGEST_SIDE)
        seen = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        image = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if shrink > 1:
            image = cv2.resize(image, seen, interpolation=cv2.INTER_AREA)
        network.setInputSize(seen)
        found: npt.NDArray[np.float32] | None = network.detect(image)[1]
        rows = np.empty((0, 15), np.float32) if found is None else found
        back = np.array([width / seen[0], height / seen[1]], np.float32)
        corner, extent = rows[:, 0:2] * back, rows[:, 2:4] * back
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is left out
            boxes = np.concatenate([corner, corner + extent], axis=1)
        return sound_faces(Faces(boxes, rows[:, 4:14].reshape(-1, 5, 2) * back, rows[:, 14]), (height, width))

    return detect
