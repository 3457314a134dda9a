"""Where a detector's weights lie: the user's file, or one of a known checksum in a folder of weights.

Nothing is ever downloaded: what is missing is named, with its SHA-256, where it can be had and where it belongs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from vidface.errors import ModelError
from vidface.files.atomic import require_regular, sha256_file


class Known(NamedTuple):
    """A file of weights that is known by its content: its makers' name for it, and its source with the licence."""

    name: str
    sha256: str
    source: str


class Weights(NamedTuple):
    """A file of weights that is there: its path, and the SHA-256 of its content."""

    path: Path
    sha256: str


def weights_folder() -> Path:
    """The folder where weights are looked for: ``$VIDFACE_WEIGHTS``, or ``vidface/weights`` in the user's cache."""
    if folder := os.environ.get("VIDFACE_WEIGHTS"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidface" / "weights"


def weights_of_user(path: Path) -> Weights:
    """A file that the user names: taken as it is, whatever its checksum, which goes into what is made with it.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return Weights(path, sha256_file(require_regular(path)))
    except OSError as error:
        raise ModelError(f"{path}: the detector's weights cannot be read: {error.strerror}") from None


def find_weights(known: list[Known], folders: list[Path], what: str) -> Weights:
    """The first known file that lies in one of the folders with the content it should have; the preferred are first.

    Raises:
        ModelError: none is there, or those that are there have another content: which file of ``what``, which SHA-256,
            where it belongs and where it can be had.
    """
    others = []
    for name, sha256, _ in known:
        for folder in folders:
            path = folder / name
            if not path.is_file():
                continue
            if weights_of_user(path).sha256 == sha256:
                return Weights(path, sha256)
            others.append(str(path))
    wanted = known[0]
    changed = f"; the content of {', '.join(others)} is another" if others else ""
    raise ModelError(
        f"the weights of {what} are not here, and nothing is downloaded: put {wanted.name} (SHA-256 {wanted.sha256}) "
        f"into {folders[0]}, or name your own file; it can be had from {wanted.source}{changed}"
    )
