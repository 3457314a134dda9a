"""The detectors by name: their weights found, and opened."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from vidface.errors import UsageError, printable
from vidface.frames.faces.faces import Detect, Faces
from vidface.frames.faces.weights import Weights, find_weights, weights_folder, weights_of_user
from vidface.frames.frame import Pixels


@dataclass(frozen=True)
class Detector:
    """A detector that is ready: ``detector(pixels)`` gives the faces of a frame, so it is a `Detect`.

    The same frame, uint8 RGB [H, W, 3] of any size, gives the same faces, whatever came before. It keeps buffers of its
    own: one thread at a time. ``sha256`` is that of the file ``weights``.
    """

    kind: str
    weights: Path
    sha256: str
    detect: Detect

    def __call__(self, pixels: Pixels) -> Faces:
        """The faces of a frame."""
        return self.detect(pixels)


def detector_weights(weights: Path | None, kind: str = "yunet") -> Weights:
    """Find a detector's weights without opening them; arguments and errors as of `open_detector`."""
    name = _name_in_uniface(kind)
    if weights is not None:
        return weights_of_user(weights)
    if name is None:
        from vidface.frames.faces.yunet import KNOWN

        return find_weights(KNOWN, [weights_folder()], "YuNet")
    from vidface.frames.faces.uniface import find_uniface_weights

    return find_uniface_weights(name)


def open_detector(weights: Path | None, kind: str = "yunet", *, min_score: float) -> Detector:
    """Open a detector.

    Args:
        weights: the user's file, of any content; None: a known file in `vidface.frames.faces.weights.weights_folder`
            (and in uniface's own folder, for its detectors).
        kind: ``yunet`` (OpenCV), or ``uniface:NAME`` with the name of weights that the uniface package knows, for
            example ``uniface:scrfd_500m``.
        min_score: 0 to 1; what the detector is less sure of is no face. Scores of different detectors do not compare.

    Raises:
        ModelError: the weights are not there (the error says which file belongs where), or are no weights of this
            detector.
        UsageError: an unknown kind, a score out of range, or a library that is not installed.
    """
    if not (math.isfinite(min_score) and 0 <= min_score <= 1):
        raise UsageError(f"the detector's score must be between 0 and 1, not {min_score}")
    name = _name_in_uniface(kind)
    found = detector_weights(weights, kind)
    if name is None:
        from vidface.frames.faces.yunet import open_yunet

        detect = open_yunet(found.path, min_score=min_score)
    else:
        from vidface.frames.faces.uniface import open_uniface

        detect = open_uniface(found.path, name, min_score=min_score)
    return Detector(kind, found.path, found.sha256, detect)


def _name_in_uniface(kind: str) -> str | None:
    """NAME of ``uniface:NAME``; None for YuNet."""
    if kind == "yunet":
        return None
    library, _, name = kind.partition(":")
    if library == "uniface" and name:
        return name
    raise UsageError(f"detector {printable(kind)!r} is unknown: say yunet, or uniface:NAME")
