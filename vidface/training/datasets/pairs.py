"""Listed pairs of face images: a `.bin` file, or a list of any known format with the images beside it.

Tested in ``tests/training/datasets/test_pairs.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidface.errors import ManifestError, UsageError
from vidface.files.atomic import require_regular
from vidface.manifest.names import NameIndex
from vidface.manifest.pairs.formats import parse_list
from vidface.manifest.pairs.parsed import PairLine
from vidface.manifest.rows import show
from vidface.training.datasets.open import open_images
from vidface.training.datasets.pair_set import PairSet, note_repeats

__all__ = ["is_bin", "open_pairs"]


def open_pairs(path: Path, images: Path | None = None) -> PairSet:
    """Open listed pairs, whichever kind of file they are in.

    Args:
        path: a `.bin` file (told by its content), which holds its images, or a list that `parse_list` reads, of names
            as PERSON/IMAGE, with suffix or without.
        images: where a list finds its images: a folder of people, a tar, or a .rec file.

    Returns:
        The pairs in the order of the file. Lines that are not pairs, and pairs of images that are not there, are
        left out, counted and listed.

    Raises:
        StoreError: a `.bin` file that is damaged or is more than images and booleans, or damaged ``images``.
        ManifestError: a list that cannot be read, is of no known format, or holds no usable pair.
        UsageError: a list without ``images``, or a `.bin` file with them.
    """
    from vidface.training.datasets.bin_file import read_bin  # it makes a PairSet

    if is_bin(path):
        if images is not None:
            raise UsageError(f"{path}: a .bin file holds its own images: leave {images} out")
        return read_bin(path)
    if images is None:
        raise UsageError(f"{path}: a list of pairs needs its images: name their folder, tar or .rec file")
    return _read_list(path, images)


def is_bin(path: Path) -> bool:
    """Whether a file is a pickle, as `.bin` files are, by its first byte; protocols 0 and 1 among them.

    Raises:
        ManifestError: it cannot be read, or is a pipe.
    """
    try:
        if path.is_fifo():  # its first bytes would be gone when the pairs are read
            raise ManifestError(f"{path}: a pipe can be read only once: write the pairs to a file")
        if path.is_dir():  # CFP's pairs
            return False
        with require_regular(path).open("rb") as file:
            return file.read(1) in (b"\x80", b"(", b"]", b"}")
    except OSError as error:
        raise ManifestError(f"{path}: pairs cannot be read: {error.strerror or error}") from None


def _read_list(path: Path, images: Path) -> PairSet:
    parsed = parse_list(path)
    image_set = open_images(images)
    index = NameIndex(image_set.names)
    rows: list[tuple[int, int]] = []
    kept: list[PairLine] = []
    lost = [(trouble.place, trouble.detail) for trouble in parsed.troubles]
    for line in parsed.lines:
        names = (line.first, line.second)
        found = [index.find(name, flat=parsed.flat) for name in names]
        if problem := _problems(names, found):
            lost.append((line.place, problem))
        else:
            rows.append((found[0][0], found[1][0]))
            kept.append(line)
    if path.is_file():
        lost.sort(key=lambda each: int(each[0].rpartition(":")[2]))  # by line
    left_out = [f"{place}: left out: {problem}" for place, problem in lost]
    if not rows:
        reason = f": all {len(left_out)} are left out, the first: {left_out[0]}" if left_out else ""
        hint = f"; the images are called {show(image_set.names[0])} and so on" if parsed.lines else ""
        raise ManifestError(f"{path}: no pair that can be used{reason}{hint}")
    first, second = np.array(rows, np.int64).T
    same = [line.same for line in kept]
    places = [line.place for line in kept]
    folds = [line.fold for line in kept if line.fold is not None]
    return PairSet(
        names=image_set.names,
        read=image_set.read,
        first=first,
        second=second,
        same=np.array(same, np.bool_),
        source=str(path),
        problems=(
            *(f"{image_set.source}: {problem}" for problem in image_set.problems),
            *parsed.notes,
            *left_out,
            *note_repeats(first.tolist(), second.tolist(), same, image_set.names, places),
        ),
        left_out=len(left_out) + parsed.missing,
        folds=np.array(folds, np.int64) if len(folds) == len(kept) else None,
    )


def _problems(names: Sequence[str], found: Sequence[Sequence[int]]) -> str:
    """What keeps two names from being a pair of images, or nothing."""
    return " and ".join(
        f"{'more than one' if places else 'no'} image {show(name)}"
        for name, places in zip(names, found, strict=True)
        if len(places) != 1
    )
