"""Pointers that Git leaves in the place of large files until these are fetched: a few lines of text."""

from __future__ import annotations

import errno
from pathlib import Path

NOT_FETCHED = "not-fetched"  # the kind of fault of a clip or picture
POINTER_BYTES = 64  # enough of a file to tell

# Git LFS's specification says the first line, and those of its two predecessors; git-annex has one line alone.
_BEGIN = {
    b"version https://git-lfs.github.com/spec/": ("Git LFS", "git lfs pull"),
    b"version https://hawser.github.com/spec/": ("Git LFS", "git lfs pull"),
    b"version http://git-media.io/v/": ("Git LFS", "git lfs pull"),
    b"/annex/objects/": ("git-annex", "git annex get"),
}


def pointer_in(head: bytes) -> str:
    """What to do about a file with these first bytes, if it is a pointer; else nothing."""
    for begin, (program, command) in _BEGIN.items():
        if head.startswith(begin):
            return f"a pointer of {program}, not the file itself: run `{command}` in the repository that it comes from"
    return ""


def pointer_at(path: Path) -> str:
    """The same of a regular file; nothing where it cannot be read, which its reader says better."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return pointer_in(file.read(POINTER_BYTES))
    except OSError:
        return ""


def refuse_pointer(path: Path, head: bytes) -> None:
    """Refuse a file with these first bytes if they are a pointer: an OSError whose ``strerror`` says what to do."""
    if advice := pointer_in(head):
        raise OSError(errno.ENODATA, advice, str(path))
