"""Faces as text."""

from __future__ import annotations

from collections.abc import Mapping


def faces_line(counts: Mapping[str, int], kept: int) -> str:
    """What became of the faces that were found, from `vidface.store.FACE_COUNTS`: those left out by reason."""
    reasons = {
        "too_small": "too small",
        "turned": "turned away",
        "blurred": "blurred",
        "not_finite": "without usable features",
        "other_track": "of others than the main person",
    }
    parts = [f"{counts['found']} found", f"{kept} kept"]
    parts += [f"{counts[name]} {reason}" for name, reason in reasons.items() if counts[name]]
    return f"faces: {', '.join(parts)}; {counts['without_face']} of {counts['frames']} frames show none"
