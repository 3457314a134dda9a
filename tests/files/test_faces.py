"""Names of counts of faces."""

from __future__ import annotations

from vidface.files.faces import FACE_COUNTS, FILTERED, NO_FACES
from vidface.frames.faces.quality import filter_faces
from vidface.scores.text import faces_line


def test_every_reason_is_counted_and_shown() -> None:
    """What is found is kept or left out for one of the reasons, and each of them has words."""
    reasons = FACE_COUNTS[3:]
    assert tuple(FILTERED) == reasons[:3] == tuple(filter_faces(*NO_FACES[:2], NO_FACES.sharpness)[1])
    counts = {name: 10**at for at, name in enumerate(FACE_COUNTS)}
    line = faces_line(counts, 7)
    assert all(f" {counts[name]} " in line for name in ("found", *reasons, "without_face"))
