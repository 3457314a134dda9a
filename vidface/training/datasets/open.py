"""Tell what a path holds, by its content, and open it as a set of images.

Tested in ``tests/training/datasets/test_open_images.py``.
"""

from __future__ import annotations

from pathlib import Path

from vidface.errors import StoreError, UsageError
from vidface.files.atomic import natural_key
from vidface.files.pointers import pointer_in
from vidface.training.datasets.folder import open_folder
from vidface.training.datasets.images import ImageSet
from vidface.training.datasets.rec import open_rec
from vidface.training.datasets.recordio import MAGIC
from vidface.training.datasets.tar import open_tars

__all__ = ["open_images"]

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
    """Open labelled images, whatever they are stored in; see `EXPECTED`.

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
        return _open_folder(path)
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
    if _is_tar_header(head) or (
        path.suffix == ".tar" and head == bytes(512)
    ):  # the end marker of an empty one
        return open_tars([path], str(path))
    if path.suffix == ".idx":
        raise UsageError(f"{path}: is an index; say the .rec file that it belongs to")
    if path.suffix in (".tar", ".rec"):
        raise StoreError(f"{path}: damaged, or not a {path.suffix} file: its first bytes are {head[:4]!r}")
    raise UsageError(f"{path}: not images of people that can be opened; expected {EXPECTED}")


def _open_folder(folder: Path) -> ImageSet:
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed: {error.strerror or error}") from None
    people = [entry.name for entry in entries if entry.is_dir()]
    files = sorted((entry.name for entry in entries if entry.is_file()), key=natural_key)
    tars = [name for name in files if name.lower().endswith(".tar")]
    recs = [name for name in files if name.lower().endswith(".rec")]
    kinds = [
        f"{len(names)} {what} ({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})"
        for names, what in (
            (sorted(people, key=natural_key), "folders"),
            (tars, ".tar files"),
            (recs, ".rec files"),
        )
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
