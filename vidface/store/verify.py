"""Whether a file holds what was written: its two digests, computed again from what is read.

``content_sha256`` is of the rows, faces, offsets and ids: what later files name as their input. ``rest_sha256`` is of
everything else, of the shapes and types of all arrays, and of the attributes. HDF5 itself notices next to nothing.
Tested in ``tests/faults/test_features_files.py``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vidface.errors import StoreError
from vidface.hdf5 import SCHEMA_VERSION, attributes_of, open_file, read_texts
from vidface.store.schema import COPY_ROWS, FACE_DATASETS

__all__ = ["content_of", "rest_of", "verify", "verify_file", "write_attributes"]

# What `content_sha256` is of, beside the names.
_CONTENT = {"features": ("features", *FACE_DATASETS, "offsets"), "embeddings": ("embeddings",)}
_REST = "rest_sha256"


def write_attributes(file: h5py.File, kind: str, attributes: Mapping[str, Any], content_sha256: str) -> None:
    """Write what a file was made with, and its digests; the last thing that is written into it."""
    file.attrs.update(
        {"kind": kind, "schema_version": SCHEMA_VERSION, **attributes, "content_sha256": content_sha256}
    )
    file.attrs[_REST] = rest_of(file, kind)


def verify(path: Path, file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Refuse an open features or embeddings file that does not hold what its attributes say.

    Files of older versions have no ``rest_sha256``, and files of other programs may have no digest at all: of those
    only what is there is compared.

    Args:
        path: for messages.
        file: the file.
        attributes: of the file as it was first looked at.

    Raises:
        StoreError: saying which part differs.
    """
    said = str(attributes["content_sha256"])
    if _REST in attributes and rest_of(file, str(attributes["kind"])) != attributes[_REST]:
        raise StoreError(
            f"{path}: damaged (its {_REST} is not that of what it holds): make or fetch it again"
        )
    is_digest = re.fullmatch("[0-9a-f]{64}", said)
    if (_REST in attributes or is_digest) and content_of(file, str(attributes["kind"])) != said:
        raise StoreError(
            f"{path}: damaged (its rows are not those that were written): make or fetch it again"
        )


def verify_file(path: Path, attributes: Mapping[str, Any]) -> None:
    """`verify` of a file that is not open; reads all of it.

    Raises:
        StoreError: as `verify`, or it cannot be read.
    """
    with open_file(path, str(attributes["kind"])) as file:
        verify(path, file, attributes)


def content_of(file: h5py.File, kind: str) -> str:
    """The ``content_sha256`` of what a file holds, as it is computed while the file is written."""
    digest = hashlib.sha256()
    for name in _CONTENT[kind]:
        if name in file:
            _update(digest, file[name])
    digest.update("\0".join(read_texts(file, "video_ids")).encode())
    return digest.hexdigest()


def rest_of(file: h5py.File, kind: str) -> str:
    """The ``rest_sha256``: of what the other digest leaves out, and of how all of it is stored."""
    digest = hashlib.sha256()
    for name in sorted(file):
        digest.update(f"{name}\0{file[name].dtype.str}\0{file[name].shape}\0".encode())
        if name not in _CONTENT[kind]:
            _update(digest, file[name])
    for name, value in sorted(attributes_of(file).items()):
        if name != _REST:
            digest.update(f"{name}\0{value}\0".encode())
    return digest.hexdigest()


def _update(digest: Any, dataset: h5py.Dataset) -> None:
    for start, stop in pairwise([*range(0, len(dataset), COPY_ROWS), len(dataset)]):
        digest.update(np.ascontiguousarray(dataset[start:stop]).data)
