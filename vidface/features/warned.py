"""What the faults of an extraction say of all its videos together. Tested in ``tests/embeddings/test_merge.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vidface.files.store import Fault

__all__ = ["fault_warnings"]

SAID = {
    "resized": "have frames of another shape than the model's input, or far larger, that were resized whole: to "
    "find the faces in them, use --faces detect instead of --resize",
    "wrong-size": "have frames that do not have the model's size: to find the faces in them, "
    "use --faces detect",
}


def fault_warnings(faults: Iterable[Fault], videos: int) -> list[str]:
    """A sentence for each kind of fault that touches what is scored, with how many of so many videos have it."""
    counts = Counter(fault["kind"] for fault in faults)
    return [f"{counts[kind]} of {videos} videos {what}" for kind, what in SAID.items() if counts[kind]]
