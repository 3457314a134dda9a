"""Features of the images of IJB-B and IJB-C: a features file, or a matrix of another tool, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, UsageError, Warned
from vidface.features.rows import compare_halves, halves_warning
from vidface.files.atomic import require_regular, sha256_file
from vidface.files.npy import looks_like_npy, open_matrix
from vidface.files.store import read_features, row_blocks, verify_file, warnings_of
from vidface.manifest.rows import show
from vidface.manifest.sources.template_lists import FACES, Faces
from vidface.scores.protocols.templates import Blocks

__all__ = ["Source", "open_source"]

BLOCK = 8192  # rows read at a time: 16 MB at 512 x float32

Integers = npt.NDArray[np.int64]


class Source(NamedTuple):
    """Features of images: how they are read, how long they are, and what is to be said of them."""

    blocks: Blocks
    dimension: int
    inputs: dict[str, Any]
    in_list_order: bool
    warnings: list[str]


def open_source(path: Path, faces: Faces, flip_halves: bool) -> Source:
    """Open the features, without reading them."""
    try:
        with require_regular(path).open("rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    if looks_like_npy(head):
        source = _open_npy(path, faces)
    elif not head.startswith(b"\x89HDF"):
        raise StoreError(f"{path}: neither a features file (HDF5) nor a .npy matrix")
    else:
        source = _open_features(path, faces)
    _, first = next(iter(source.blocks()), (None, np.empty((0, source.dimension))))
    if not flip_halves:
        return source._replace(
            warnings=source.warnings + halves_warning(first, "pass --flip-halves to add the two")
        )
    if source.dimension % 2:
        raise UsageError(
            f"{path}: rows of {source.dimension} numbers have no two halves: leave --flip-halves out"
        )
    half, found = source.dimension // 2, compare_halves(first)
    warnings: list[str] = []
    if found is not None and not found.are_two:
        text = (
            f"--flip-halves adds the halves of each row, but they do not look like two embeddings of one image "
            f"(their median cosine is {found.own:.2f}, of two rows' {found.other:.2f}): leave it out if a row is one "
            "embedding"
        )
        warnings = [Warned(text, 1.0)]

    def summed() -> Iterator[tuple[Integers, npt.NDArray[Any]]]:
        for places, rows in source.blocks():
            yield places, rows[:, :half].astype(np.float64) + rows[:, half:]

    return source._replace(blocks=summed, dimension=half, warnings=source.warnings + warnings)


def _open_npy(path: Path, faces: Faces) -> Source:
    matrix = open_matrix(path, rows="images")
    if len(matrix) != len(faces.images):
        raise StoreError(f"{path}: {len(matrix)} rows for the {len(faces.images)} images of {FACES}")

    def blocks() -> Iterator[tuple[Integers, npt.NDArray[Any]]]:
        for start in range(0, len(matrix), BLOCK):
            rows = np.asarray(matrix[start : start + BLOCK])
            yield np.arange(start, start + len(rows)), rows

    inputs = {"scored": path.name, "kind": "npy", "sha256": sha256_file(path)}
    return Source(blocks, matrix.shape[1], inputs, True, [])


def _open_features(path: Path, faces: Faces) -> Source:
    info = read_features(path)
    verify_file(path, info.attributes)
    place = {image: i for i, image in enumerate(faces.images)}
    rows_of_image = np.diff(info.offsets)
    listed = np.array([place.get(video, -1) for video in info.video_ids], np.int64)
    several = np.flatnonzero((rows_of_image > 1) & (listed >= 0))
    if len(several):
        image, count = info.video_ids[several[0]], rows_of_image[several[0]]
        raise StoreError(
            f"{path}: {len(several)} images have several rows, the first is {show(image)} with {count}; these sets "
            "are scored with one face an image: extract aligned pictures"
        )
    missing = len(place) - np.count_nonzero(listed >= 0)
    if missing:
        there = set(info.video_ids)
        first = next(image for image in faces.images if image not in there)
        shard = info.attributes.get("shard")
        todo = f"it is shard {shard}: merge the shards first" if shard else "extract the set's own manifest"
        raise StoreError(
            f"{path}: lacks {missing} of the {len(place)} images of {FACES}, the first is {show(first)}; {todo}"
        )
    of_row = np.repeat(listed, rows_of_image)
    bounds = [*range(0, len(of_row), BLOCK), len(of_row)]

    def blocks() -> Iterator[tuple[Integers, npt.NDArray[Any]]]:
        start = 0
        for rows in row_blocks(path, bounds):
            places = of_row[start : start + len(rows)]
            start += len(rows)
            yield places[places >= 0], rows[places >= 0]

    names = ("content_sha256", "model_name", "model_sha256", "flip", "decoder")
    inputs = {"scored": path.name, "kind": "features"} | {
        name: info.attributes[name] for name in names if name in info.attributes
    }
    extra, warnings = int(np.count_nonzero(listed < 0)), warnings_of(path, info.attributes)
    if extra:
        text = f"{extra} of {len(listed):,} videos of {path.name} are not in {FACES} and play no part"
        warnings.append(Warned(text, extra / len(listed)))
    return Source(blocks, info.dimension, inputs, False, warnings)
