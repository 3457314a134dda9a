"""Open a folder of people: DIR/PERSON/IMAGE.

Tested in ``tests/training/datasets/test_open_folder.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vidface.errors import MediaError, StoreError
from vidface.files.atomic import natural_key
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.names import IMAGE_SUFFIXES, LeftOut, PackedNames, usable_name

__all__ = ["open_folder"]


def open_folder(folder: Path) -> ImageSet:
    """Open DIR/PERSON/IMAGE: people in natural order of their names, and so the images of each.

    An image is a .jpg, .jpeg or .png file directly in a person's folder. Other and hidden entries, links that
    lead out of ``folder``, and names that do not fit on a line are left out and counted in ``problems``.

    Raises:
        StoreError: no image is found, or a folder cannot be listed.
    """
    home = os.path.realpath(folder)
    left_out = LeftOut()
    identities: list[str] = []
    names: list[str] = []
    counts: list[int] = []
    for person in _entries(folder, "", home, left_out):
        if not person.is_dir():
            left_out.add("files beside the folders of people", person.name)
            continue
        images = []
        for entry in _entries(Path(person.path), f"{person.name}/", home, left_out):
            if entry.is_dir():
                left_out.add("folders inside a person's folder", f"{person.name}/{entry.name}")
            elif not entry.name.lower().endswith(IMAGE_SUFFIXES):
                left_out.add("files that are not .jpg, .jpeg or .png", f"{person.name}/{entry.name}")
            elif not entry.is_file():
                left_out.add("entries that are no regular files", f"{person.name}/{entry.name}")
            else:
                images.append(f"{person.name}/{entry.name}")
        if images:
            identities.append(person.name)
            names += images
            counts.append(len(images))
        else:
            left_out.add("people's folders without an image", person.name)
    if not names:
        why = "; ".join(left_out.lines()) or "it is empty"
        raise StoreError(f"{folder}: no DIR/PERSON/IMAGE with .jpg, .jpeg or .png files in it ({why})")
    return ImageSet(
        identities=tuple(identities),
        labels=np.repeat(np.arange(len(counts), dtype=np.int64), counts),
        names=(packed := PackedNames(names)),
        read=partial(_read, str(folder.absolute()), packed),
        source=str(folder),
        problems=left_out.lines(),
    )


def _entries(folder: Path, prefix: str, home: str, left_out: LeftOut) -> Iterator[os.DirEntry[str]]:
    """The entries that may be used, in natural order: what the file system gives first does not matter."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: natural_key(entry.name))
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed: {error.strerror or error}") from None
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith("."):
            left_out.add("hidden entries", name)
        elif not usable_name(entry.name):
            left_out.add("names that are not UTF-8 on one line", name)
        elif entry.is_symlink() and not _inside(entry.path, home):
            left_out.add("links that lead out of the folder", name)
        elif entry.is_symlink() and not Path(entry.path).exists():
            left_out.add("links that lead nowhere", name)
        else:
            yield entry


def _inside(path: str, home: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), home]) == home


def _read(folder: str, names: Sequence[str], index: int) -> bytes:
    path = Path(folder, names[index])
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("unreadable-image", f"{path}: {error.strerror or error}") from None
