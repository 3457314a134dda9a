"""The text of a set's own lists."""

from __future__ import annotations

from pathlib import Path

from vidface.errors import ManifestError
from vidface.files import read_regular

__all__ = ["lines_of", "text_of"]


def text_of(path: Path) -> str:
    """The text of a list, without its byte-order mark.

    Raises:
        ManifestError: it cannot be read, or is not UTF-8; names the line.
    """
    try:
        return read_regular(path).decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ManifestError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def lines_of(path: Path) -> list[str]:
    """The lines of a list, without white space around them; see `text_of`."""
    text = text_of(path)
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []
