"""What can go wrong, as one tree; every error is one line for a person, with an exit code.

    VidfaceError                the input or the machine would not let the work be done     exit 1
    ├── ManifestError           a manifest that cannot be used: file, line, what to do
    ├── MediaError              one video or image that cannot be read; carries a fault kind
    ├── ModelError              weights, model or card that cannot be used
    ├── StoreError              an HDF5, JSON or submission file that is missing, damaged or of another kind
    ├── ClusterError            the Ray cluster was lost, or gave the work up               exit 3
    └── UsageError              the call itself is wrong, or refused as it would mix results  exit 2
        └── ChangedError        an output exists that was made with another model, manifest or option

A message says what is wrong, where (file and line, video id) and what to do; the command line prints it after
``error:``, without a traceback. What lets the work be done but costs the user something is a warning: a sentence in
a list, the most costly first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self


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


class Warned(str):
    """A warning: one sentence, and which share of what is scored it touches; that of a plain text is 0."""

    __slots__ = ("share",)
    share: float

    def __new__(cls, text: str, share: float) -> Self:
        """``share``: 0..1; what touches everything has 1."""
        warned = super().__new__(cls, text)
        warned.share = share
        return warned


def by_cost(warnings: Iterable[str]) -> list[str]:
    """Warnings as they are shown everywhere: each once, the one that touches most first; else in their order."""
    return sorted(dict.fromkeys(warnings), key=lambda text: -getattr(text, "share", 0.0))


def printable(text: str) -> str:
    """Foreign text for a message: on one line, with escapes in place of what a terminal would obey."""
    return visible(" ".join(text.split()))


def shortened(error: object) -> str:
    """What a library says of an error, for a message: as `printable`, and of a long text its beginning and its end."""
    text = printable(str(error))
    return text if len(text) <= 300 else f"{text[:120]} ... {text[-175:]}"


def first_few(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names, for a message: ``a, b, c, ...``."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def visible(text: str) -> str:
    """Text with escapes in place of what a terminal would obey, line ends among it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )
