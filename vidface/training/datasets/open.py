"""Tell what a path holds, by its content, and open it as a set of images; folders of people are opened here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from vidface.errors import MediaError, StoreError, UsageError
from vidface.files.atomic import natural_key
from vidface.files.pointers import pointer_in
from vidface.training.datasets.images import IMAGE_SUFFIXES, ImageSet, LeftOut, packed_names, usable_name
from vidface.training.datasets.rec import open_rec
from vidface.training.datasets.recordio import MAGIC
from vidface.training.datasets.tar import open_tars

EXPECTED = (
    "a folder of people (DIR/PERSON/IMAGE), a .tar file, a folder of .tar files, or a .rec file with its .idx"
)
COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}


def open_images(path: Path) -> ImageSet:
    """Open labelled images, whatever they are stored in.

    The order of people and images does not depend on the file system: natural order of the names, or the order
    of the records.

    Args:
        path: a folder of people, a folder of .tar shards, a folder with one .rec file and its .idx (as
            MS1M-RetinaFace is distributed), a .tar file, or a .rec file with its .idx beside it.

    Raises:
        UsageError: nothing is there, or it is nothing of this kind.
        StoreError: it is, but damaged or without images.
    """
    path = Path(path)
    if path.is_dir():
        return _open_any_folder(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such file or folder; say {EXPECTED}")
    with path.open("rb") as file:
        head = file.read(512)
    if advice := pointer_in(head):
        raise StoreError(f"{path}: {advice}")
    if head.startswith(MAGIC):
        return open_rec(path)
    for magic, tool in COMPRESSED.items():
        if head.startswith(magic):
            raise UsageError(
                f"{path}: is compressed, and images cannot be read at random from it; unpack it with {tool} first"
            )
    empty = path.suffix == ".tar" and head == bytes(512)  # the end marker alone
    if empty or _is_tar_header(head):
        return open_tars([path], str(path))
    if path.suffix == ".idx":
        raise UsageError(f"{path}: is an index; say the .rec file that it belongs to")
    if path.suffix in (".tar", ".rec"):
        raise StoreError(f"{path}: damaged, or not a {path.suffix} file: its first bytes are {head[:4]!r}")
    raise UsageError(f"{path}: not images of people that can be opened; expected {EXPECTED}")


def _open_any_folder(folder: Path) -> ImageSet:
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed: {error.strerror or error}") from None
    entries.sort(key=lambda entry: natural_key(entry.name))
    people = [entry.name for entry in entries if entry.is_dir()]
    files = [entry.name for entry in entries if entry.is_file()]
    tars, recs = ([name for name in files if name.lower().endswith(end)] for end in (".tar", ".rec"))
    kinds = [
        f"{len(names)} {what} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for names, what in ((people, "folders"), (tars, ".tar files"), (recs, ".rec files"))
        if names
    ]
    if len(kinds) > 1 or len(recs) > 1:
        raise UsageError(f"{folder}: holds {' and '.join(kinds)}; say which one, or put them apart")
    if recs:
        return open_rec(folder / recs[0])
    if tars:
        return open_tars([folder / name for name in tars], str(folder))
    if people:
        return open_folder(folder)
    raise UsageError(f"{folder}: holds {len(files)} files and no folders of people; expected {EXPECTED}")


def _is_tar_header(block: bytes) -> bool:
    """Whether a block carries its own checksum, as every tar header does, also the oldest."""
    text = block[148:156].strip(b"\0 ")
    if len(block) < 512 or not text or not all(48 <= digit < 56 for digit in text):
        return False
    return sum(block[:148]) + sum(block[156:]) + 8 * 32 == int(text, 8)


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
    labels: list[int] = []
    for person in _entries(folder, "", home, left_out):
        if not person.is_dir():
            left_out.add("files beside the folders of people", person.name)
            continue
        before = len(names)
        for entry in _entries(Path(person.path), f"{person.name}/", home, left_out):
            name = f"{person.name}/{entry.name}"
            if entry.is_dir():
                left_out.add("folders inside a person's folder", name)
            elif not name.lower().endswith(IMAGE_SUFFIXES):
                left_out.add("files that are not .jpg, .jpeg or .png", name)
            elif not entry.is_file():
                left_out.add("entries that are no regular files", name)
            else:
                names.append(name)
        if len(names) > before:
            labels += [len(identities)] * (len(names) - before)
            identities.append(person.name)
        else:
            left_out.add("people's folders without an image", person.name)
    if not names:
        why = "; ".join(left_out.lines()) or "it is empty"
        raise StoreError(f"{folder}: no DIR/PERSON/IMAGE with .jpg, .jpeg or .png files in it ({why})")
    packed = packed_names(names)
    return ImageSet(
        identities=tuple(identities),
        labels=np.array(labels, np.int64),
        names=packed,
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
        elif entry.is_symlink() and os.path.commonpath([os.path.realpath(entry.path), home]) != home:
            left_out.add("links that lead out of the folder", name)
        elif entry.is_symlink() and not Path(entry.path).exists():
            left_out.add("links that lead nowhere", name)
        else:
            yield entry


def _read(folder: str, names: Sequence[str], index: int) -> bytes:
    path = Path(folder, names[index])
    try:
        return path.read_bytes()
    except OSError as error:
        raise MediaError("unreadable-image", f"{path}: {error.strerror or error}") from None
