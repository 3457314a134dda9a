"""Listed pairs of face images: a `.bin` file, or a CSV list with the images beside it.

Tested in ``tests/training/datasets/test_pairs.py``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vidface.errors import ManifestError, UsageError
from vidface.files.atomic import read_regular
from vidface.manifest.pairs.formats import COLUMNS, LABELS
from vidface.manifest.rows import show
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pair_set import PairSet, note_repeats

__all__ = ["is_bin", "open_pairs"]


def open_pairs(path: Path, images: Path | None = None) -> PairSet:
    """Open listed pairs, whichever kind of file they are in.

    Args:
        path: a `.bin` file (told by its content), which holds its images, or a CSV list with the columns
            first, second and same: two names of images as PERSON/IMAGE, and 1 or 0.
        images: where a list finds its images: a folder of people, a tar, or a .rec file.

    Returns:
        The pairs in the order of the file. Lines that are not pairs, and pairs of images that are not there, are
        left out, counted and listed.

    Raises:
        StoreError: a `.bin` file that is damaged or is more than images and booleans, or damaged ``images``.
        ManifestError: a list that cannot be read, has other columns, or holds no usable pair.
        UsageError: a list without ``images``, or a `.bin` file with them.
    """
    from vidface.training.datasets.bin_file import read_bin  # it makes a PairSet

    if is_bin(path):
        if images is not None:
            raise UsageError(f"{path}: a .bin file holds its own images: leave {images} out")
        return read_bin(path)
    if images is None:
        raise UsageError(f"{path}: a list of pairs needs its images: say their folder, tar or .rec file")
    return _read_list(path, images)


def is_bin(path: Path) -> bool:
    """Whether a file is a pickle, as `.bin` files are, by its first byte; protocols 0 and 1 among them.

    Raises:
        ManifestError: it cannot be read, or is a pipe.
    """
    try:
        if path.is_fifo():  # its first bytes would be gone when the pairs are read
            raise ManifestError(f"{path}: a pipe can be read only once: write the pairs to a file")
        with path.open("rb") as file:
            return file.read(1) in (b"\x80", b"(", b"]", b"}")
    except OSError as error:
        raise ManifestError(f"{path}: pairs cannot be read: {error.strerror or error}") from None


def _read_list(path: Path, images: Path) -> PairSet:
    try:
        text = read_regular(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ManifestError(f"{path}: pairs cannot be read: {reason}") from None
    image_set = open_images(images)
    index = {name: number for number, name in enumerate(image_set.names)}
    first: list[int] = []
    second: list[int] = []
    same: list[bool] = []
    places: list[str] = []
    problems = [f"{image_set.source}: {problem}" for problem in image_set.problems]
    left_out = 0
    header = False
    for line, written in enumerate(io.StringIO(text, newline=None), 1):
        if not written.strip():
            continue
        try:  # each line by itself: a quote that is not closed costs its own, not all that follow
            (row,) = csv.reader([written], strict=True)
        except csv.Error as error:
            row = [f"not CSV: {error}"]
        if not header:
            if row != COLUMNS:
                raise ManifestError(
                    f"{path}:{line}: neither a .bin file nor a list of pairs, which begins with {','.join(COLUMNS)}"
                )
            header = True
            continue
        row[:2] = [name.removeprefix("./") for name in row[:2]]  # as `find` and `tar` write names
        if problem := _problem(row, index):
            problems.append(f"{path}:{line}: left out: {problem}")
            left_out += 1
        else:
            first.append(index[row[0]])
            second.append(index[row[1]])
            same.append(LABELS[row[2]])
            places.append(f"{path}:{line}")
    if not same:
        reason = f": all {left_out} are left out, {problems[-1]}" if left_out else ""
        raise ManifestError(f"{path}: no pair that can be used{reason}")
    problems += note_repeats(first, second, same, image_set.names, places)
    return PairSet(
        names=image_set.names,
        read=image_set.read,
        first=np.array(first, np.int64),
        second=np.array(second, np.int64),
        same=np.array(same, np.bool_),
        source=str(path),
        problems=tuple(problems),
        left_out=left_out,
    )


def _problem(row: list[str], index: Mapping[str, int]) -> str:
    """What keeps a row from being a pair, or nothing."""
    if len(row) != 3:
        return f"{len(row)} fields instead of {','.join(COLUMNS)}" if len(row) > 1 else show(row[0])
    if row[2] not in LABELS:
        return f"same must be 1 or 0, not {show(row[2])}"
    unknown = [name for name in row[:2] if name not in index]
    return f"no image {' and no image '.join(map(show, unknown))}" if unknown else ""
