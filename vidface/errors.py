"""What can go wrong, as one tree; every error is one line for a person, with an exit code.

    VidfaceError                the input or the machine would not let the work be done     exit 1
    ├── ManifestError           a manifest that cannot be used: file, line, what to do
    ├── MediaError              one video or image that cannot be read; carries a fault kind
    ├── ModelError              weights, model or card that cannot be used
    ├── StoreError              an HDF5, JSON or submission file that is missing, damaged or of another kind
    ├── ClusterError            the Ray cluster was lost, or gave the work up               exit 3
    └── UsageError              the call itself is wrong, or refused as it would mix results  exit 2
        └── ChangedError        an output exists that was made with another model, manifest or option

A message says what is wrong, where (file and line, video id) and what to do. The command line prints it
after ``error:`` and exits; no traceback is shown.
"""

from __future__ import annotations

__all__ = [
    "ChangedError",
    "ClusterError",
    "ManifestError",
    "MediaError",
    "ModelError",
    "StoreError",
    "UsageError",
    "VidfaceError",
    "printable",
    "shortened",
    "visible",
]


class VidfaceError(Exception):
    """Base of all errors that vidface raises on purpose."""

    exit_code = 1


class ManifestError(VidfaceError):
    """A manifest that cannot be used."""


class MediaError(VidfaceError):
    """One video, frame folder or image that cannot be read.

    ``kind`` is the fault kind written to ``faults.jsonl`` (``missing``, ``not-a-video``, ``no-frames`` ...).
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class ModelError(VidfaceError):
    """Weights, a model file or a model card that cannot be used."""


class StoreError(VidfaceError):
    """A result file that is missing, damaged, or of another kind or schema version."""


class ClusterError(VidfaceError):
    """The Ray cluster was lost, or gave the work up; what is finished is kept."""

    exit_code = 3


class UsageError(VidfaceError):
    """The call is wrong."""

    exit_code = 2


class ChangedError(UsageError):
    """An output exists that was made with another model, manifest or option."""


def printable(text: str) -> str:
    """Foreign text for a message: on one line, with escapes in place of what a terminal would obey."""
    return visible(" ".join(text.split()))


def shortened(error: object) -> str:
    """What a library says of an error, for a message: as `printable`, and not too long."""
    text = printable(str(error))
    return text if len(text) <= 200 else text[:200] + " ..."


def visible(text: str) -> str:
    """Text with escapes in place of what a terminal would obey, line ends among it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
