"""Whether the frames of videos are faces already or faces are to be found in them, as extract is told."""

from __future__ import annotations

import math

from vidface.errors import UsageError
from vidface.features.engines.detection import FaceOptions
from vidface.features.options import RecipeExtractOptions
from vidface.frames.faces.detector import open_detector

MIN_SCORE = 0.7
OF_DETECTION = ("detector", "detector_weights", "track", "min_score", "min_face", "min_sharpness", "max_yaw")


def choose_faces(options: RecipeExtractOptions) -> FaceOptions | None:
    """Check the options of detection, and open the detector once, before any work.

    Returns:
        How faces are found; None for ``aligned``.

    Raises:
        UsageError: an option that makes no sense with ``faces``, or is out of range; a library is not installed.
        ModelError: the detector's weights are not there, or are none.
    """
    told = {name.replace("_", "-"): getattr(options, name) for name in OF_DETECTION}
    if options.faces == "aligned":
        needless = [name for name, value in told.items() if value is not None]
        if needless:
            raise UsageError(
                f"{', '.join(needless)}: of no use where the frames are aligned faces: "
                "pass --faces detect too, or leave it out"
            )
        return None
    if options.resize:
        raise UsageError(
            "resize: of no use with --faces detect, which aligns faces to the model's size: leave it out"
        )
    for name, value in told.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{name}: say a number, not {value}")
    min_score = _or(options.min_score, MIN_SCORE)
    opened = open_detector(options.detector_weights, options.detector or "yunet", min_score=min_score)
    return FaceOptions(
        detector=opened.kind,
        weights=str(opened.weights),
        sha256=opened.sha256,
        min_score=min_score,
        min_face=_or(options.min_face, 0.0),
        min_sharpness=_or(options.min_sharpness, 0.0),
        max_yaw=_or(options.max_yaw, 90.0),
        track=options.track or "main",
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)
