"""What a file was made from, looked for near it: files hold digests of their inputs, not paths.

A manifest or a features file that is found so is taken only if it has the very digest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from vidface.errors import ManifestError, StoreError, UsageError
from vidface.files.locks import short
from vidface.files.store import read_attributes
from vidface.manifest.formats import FORMATS
from vidface.manifest.manifest import read_manifest

MOST_FILES, MOST_FOLDERS = 200, 100  # looked at; what lies nearest comes first
LARGEST = 1 << 28  # bytes of a manifest that nobody named: millions of rows
ABOVE = 2  # folders above the file's own


def manifest_of(embeddings: Path, sha256: str | None, named: Path | None) -> Path:
    """The manifest that embeddings were made from: ``named`` (by ``run.json``) if it is there, else a near one.

    A near one must have the digest ``sha256``; UsageError if there is none.
    """
    if named is not None and named.is_file():
        return named
    for path in _files(embeddings.parent, tuple(FORMATS)) if sha256 is not None else ():
        with contextlib.suppress(OSError, ManifestError):  # not ours to read, or another table
            if _may_be_manifest(path) and read_manifest(path, media=False).sha256 == sha256:
                return path
    wanted = "it does not say which" if sha256 is None else f"SHA-256 of its rows {short(sha256)}"
    gone = "" if named is None else f"run.json names {named}, which is not there, and "
    raise UsageError(
        f"{embeddings}: {gone}the manifest that it was made from ({wanted}) is not in {looked_in(embeddings.parent)}: "
        "pass --manifest FILE"
    )


def _may_be_manifest(path: Path) -> bool:
    """Whether a file is worth reading whole: other tables, maybe large, lie about, too."""
    with path.open("rb") as file:
        head = file.read(4096)
    return path.stat().st_size <= LARGEST and (path.suffix.lower() == ".parquet" or b"video_id" in head)


def find_features(start: Path, sha256: str) -> Path | None:
    """The nearest features file with this ``content_sha256``."""
    for path in _files(start, (".h5", ".hdf5")):
        with contextlib.suppress(OSError, StoreError):
            if read_attributes(path, "features").get("content_sha256") == sha256:
                return path
    return None


def looked_in(start: Path) -> str:
    return ", ".join(map(str, _folders(start)))


def _folders(start: Path) -> list[Path]:
    """The file's folder, those above it, and the working directory; never the root of the disk."""
    home = start.resolve()
    near = [home, *home.parents[:ABOVE], Path.cwd()]
    return [folder for folder in dict.fromkeys(near) if folder != folder.parent]


def _files(start: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """Files directly in the folders, then those one folder below the file's own and the working directory."""

    def is_wanted(entry: os.DirEntry[str]) -> bool:
        return entry.is_file() and entry.name.lower().endswith(suffixes)

    def places() -> Iterator[Path]:
        folders = _folders(start)
        yield from folders
        for folder in dict.fromkeys([start.resolve(), Path.cwd()]):
            inner = _in(folder, lambda entry: entry.is_dir(follow_symlinks=False))
            yield from (path for path in inner[:MOST_FOLDERS] if path not in folders)

    return islice((path for place in places() for path in _in(place, is_wanted)), MOST_FILES)


def _in(folder: Path, is_wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    """What is wanted of a folder, in order; hidden entries are left out."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and is_wanted(entry)]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]
