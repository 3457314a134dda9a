"""Whether the frames of videos are faces already or faces are to be found in them, as extract is told."""

from __future__ import annotations

import math
from pathlib import Path

from vidface.errors import UsageError
from vidface.features.engines.detection import FaceOptions
from vidface.frames.faces.detector import open_detector

MIN_SCORE = 0.7


def choose_faces(
    faces: str,
    *,
    detector: str | None = None,
    detector_weights: Path | None = None,
    track: str | None = None,
    min_score: float | None = None,
    min_face: float | None = None,
    min_sharpness: float | None = None,
    max_yaw: float | None = None,
    resize: bool = False,
) -> FaceOptions | None:
    """Check the options of detection, and open the detector once, before any work.

    Args:
        faces: ``aligned`` or ``detect``.
        detector, detector_weights, min_score: as `vidface.frames.faces.detector.open_detector` takes them.
        track: ``main`` or ``all``.
        min_face: pixels.
        min_sharpness: as `vidface.frames.faces.quality.sharpness` measures it.
        max_yaw: degrees.
        resize: as in `vidface.features.extract.extract`.

    For all of them but ``faces`` None is what was not said.

    Returns:
        How faces are found; None for ``aligned``.

    Raises:
        UsageError: an option that makes no sense with ``faces``, or is out of range; a library is not installed.
        ModelError: the detector's weights are not there, or are none.
    """
    told = {
        "detector": detector,
        "detector-weights": detector_weights,
        "track": track,
        "min-score": min_score,
        "min-face": min_face,
        "min-sharpness": min_sharpness,
        "max-yaw": max_yaw,
    }
    if faces == "aligned":
        needless = [name for name, value in told.items() if value is not None]
        if needless:
            raise UsageError(
                f"{', '.join(needless)}: of no use where the frames are aligned faces: "
                "say --faces detect too, or leave it out"
            )
        return None
    if resize:
        raise UsageError(
            "resize: of no use with --faces detect, which aligns faces to the model's size: leave it out"
        )
    for name, value in told.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name}: say a number, not {value}")
    opened = open_detector(detector_weights, detector or "yunet", min_score=_or(min_score, MIN_SCORE))
    return FaceOptions(
        detector=opened.kind,
        weights=str(opened.weights),
        sha256=opened.sha256,
        min_score=_or(min_score, MIN_SCORE),
        min_face=_or(min_face, 0.0),
        min_sharpness=_or(min_sharpness, 0.0),
        max_yaw=_or(max_yaw, 90.0),
        track=track or "main",
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)
