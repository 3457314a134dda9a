"""Whether a file holds what was written: its digests, computed again from what is read.

``content_sha256`` is of the rows, faces, offsets and ids: what later files name as their input. ``rest_sha256`` is of
everything but the rows, of the shapes and types of all arrays, and of the attributes. HDF5 itself notices next to
nothing.

The rows of a features file are gigabytes, and SHA-256 would take longer than clustering them. So there ``rows_sum`` is
compared instead: a sum of all words, each row times an odd number of its own. It notices every single damaged bit, and
rows that changed places. It is no protection against somebody who means to deceive; nor is a digest in the file itself.
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
import numpy.typing as npt

from vidface.errors import StoreError
from vidface.files.hdf5 import SCHEMA_VERSION, attributes_of, open_file, read_texts
from vidface.files.store.features import row_blocks
from vidface.files.store.schema import COPY_ROWS, FACE_DATASETS

# What `content_sha256` is of, beside the names.
_CONTENT = {"features": ("features", *FACE_DATASETS, "offsets"), "embeddings": ("embeddings",)}
_REST, _SUM = "rest_sha256", "rows_sum"


def write_attributes(
    file: h5py.File,
    kind: str,
    attributes: Mapping[str, Any],
    content_sha256: str,
    rows_sum: int | None = None,
) -> None:
    """Write what a file was made with, and its digests; the last thing that is written into it."""
    file.attrs.update(
        {"kind": kind, "schema_version": SCHEMA_VERSION, **attributes, "content_sha256": content_sha256}
    )
    if rows_sum is not None:
        file.attrs[_SUM] = f"{rows_sum:016x}"
    file.attrs[_REST] = rest_of(file, kind)


def sum_of_rows(block: npt.NDArray[Any], first: int) -> int:
    """The part of ``rows_sum`` that C-contiguous rows [n, D] have, the first of which is row ``first`` of the file.

    Parts are added up modulo 2^64.
    """
    row_bytes = block.shape[1] * block.dtype.itemsize
    word = next(size for size in (8, 4, 2, 1) if row_bytes % size == 0)
    words = block.reshape(-1).view(f"<u{word}").reshape(len(block), row_bytes // word)
    # Odd numbers: an even one would push a flipped bit out at the top.
    weights = 2 * np.arange(first, first + len(block), dtype=np.uint64) + np.uint64(1)
    return int((words.sum(axis=1, dtype=np.uint64) * weights).sum(dtype=np.uint64))


def verify(path: Path, file: h5py.File, attributes: Mapping[str, Any]) -> None:
    """Refuse an open features or embeddings file that does not hold what its attributes say, with a StoreError.

    Files of older versions have no ``rest_sha256``, and files of other programs may have no digest at all: of those
    only what is there is compared.
    """
    kind, said = str(attributes["kind"]), str(attributes["content_sha256"])
    if _REST in attributes and rest_of(file, kind) != attributes[_REST]:
        raise StoreError(
            f"{path}: damaged (its {_REST} is not that of what it holds): make or fetch it again"
        )
    if kind == "features" and _SUM in attributes:
        bounds = [*range(0, len(file["features"]), COPY_ROWS), len(file["features"])]
        blocks = zip(bounds, row_blocks(path, bounds), strict=False)
        total = sum(sum_of_rows(block, first) for first, block in blocks) % 2**64
        same = f"{total:016x}" == attributes[_SUM]
    else:
        is_digest = re.fullmatch("[0-9a-f]{64}", said)
        same = not (_REST in attributes or is_digest) or content_of(file, kind) == said
    if not same:
        raise StoreError(
            f"{path}: damaged (its rows are not those that were written): make or fetch it again"
        )


def verify_file(path: Path, attributes: Mapping[str, Any]) -> None:
    """`verify` of a file that is not open; reads all of it."""
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
    """The ``rest_sha256``: of all but the rows, and of how all of it is stored."""
    digest = hashlib.sha256()
    for name in sorted(file):
        digest.update(f"{name}\0{file[name].dtype.str}\0{file[name].shape}\0".encode())
        if name != kind:  # else the rows, which have a digest or a sum of their own
            _update(digest, file[name])
    for name, value in sorted(attributes_of(file).items()):
        if name != _REST:
            digest.update(f"{name}\0{value}\0".encode())
    return digest.hexdigest()


def _update(digest: Any, dataset: h5py.Dataset) -> None:
    for start, stop in pairwise([*range(0, len(dataset), COPY_ROWS), len(dataset)]):
        digest.update(np.ascontiguousarray(dataset[start:stop]).data)
