"""Listed pairs of face images: a `.bin` file, or a list of any known format with the images beside it.

A `.bin` file of a verification set (LFW, CFP-FP, AgeDB-30) is a pickle of (encoded images, same or not); pair i is
images 2i and 2i+1. Reading runs nothing (`vidface.files.unpickle`); writing needs no pickle library, since the format
is a few bytes around every image.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError, StoreError, UsageError
from vidface.files.atomic import read_regular, require_regular, write_atomic
from vidface.files.pointers import pointer_in
from vidface.files.unpickle import load_plain
from vidface.manifest.names import NameIndex
from vidface.manifest.pairs.formats import parse_list
from vidface.manifest.rows import show
from vidface.training.datasets.open import open_images

_JPEG_OR_PNG = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs of images that a face verification protocol compares.

    Attributes:
        names: what every image is called in messages.
        read: the encoded bytes (JPEG or PNG) of image ``i``. Raises MediaError.
        first, second: int64 [P], the two images of every pair, indices into ``names``.
        same: bool [P], whether both show one person.
        source: where they come from, for messages.
        problems: what was found when the list was opened, one line each, with its line or pair number. Pairs that
            are listed twice, or are of one image with itself, are among the P all the same.
        left_out: how many listed pairs are not among the P: their images are not there, or the line is no pair.
        folds: int64 [P], the fold the list puts a pair in; None where it has none.
    """

    names: Sequence[str]
    read: Callable[[int], bytes]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    source: str
    problems: tuple[str, ...] = ()
    left_out: int = 0
    folds: NDArray[np.int64] | None = None


def open_pairs(path: Path, images: Path | None = None) -> PairSet:
    """Open listed pairs, in the order of the file, whichever kind of file they are in.

    Args:
        path: a `.bin` file (told by its content), or a list that `parse_list` reads, of names as PERSON/IMAGE, with
            suffix or without. Lines that are no pair, and pairs of images that are not there, are left out and counted.
        images: where a list finds its images: a folder of people, a tar, or a .rec file.

    Raises:
        StoreError: a `.bin` file that is damaged or is more than images and booleans, or damaged ``images``.
        ManifestError: a list that cannot be read, is of no known format, or holds no usable pair.
        UsageError: a list without ``images``, or a `.bin` file with them.
    """
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
    kept = []
    lost = [(trouble.place, trouble.detail) for trouble in parsed.troubles]
    for line in parsed.lines:
        found = {name: index.find(name, flat=parsed.flat) for name in (line.first, line.second)}
        problems = [
            f"{'more than one' if places else 'no'} image {show(name)}"
            for name, places in found.items()
            if len(places) != 1
        ]
        if problems:
            lost.append((line.place, " and ".join(problems)))
        else:
            rows.append((found[line.first][0], found[line.second][0]))
            kept.append(line)
    if path.is_file():
        lost.sort(key=lambda each: int(each[0].rpartition(":")[2]))  # by line
    left_out = [f"{place}: left out: {problem}" for place, problem in lost]
    if not rows:
        reason = f": all {len(left_out)} are left out, the first: {left_out[0]}" if left_out else ""
        hint = f"; the images are called {show(image_set.names[0])} and so on" if parsed.lines else ""
        raise ManifestError(f"{path}: no pair that can be used{reason}{hint}")
    same = [line.same for line in kept]
    folds = [line.fold for line in kept if line.fold is not None]
    notes = note_repeats(rows, same, image_set.names, [line.place for line in kept])
    first, second = np.array(rows, np.int64).T
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
            *notes,
        ),
        left_out=len(left_out) + parsed.missing,
        folds=np.array(folds, np.int64) if len(folds) == len(kept) else None,
    )


def note_repeats(
    pairs: Sequence[tuple[int, int]], same: Sequence[bool], names: Sequence[str], places: Sequence[str]
) -> list[str]:
    """A line for every pair that was there before, in either order, and for every image paired with itself."""
    seen: dict[tuple[int, int], int] = {}
    notes = []
    for number, (one, other) in enumerate(pairs):
        if one == other:
            notes.append(f"{places[number]}: {show(names[one])} is paired with itself")
        before = seen.setdefault((min(one, other), max(one, other)), number)
        if before != number:
            how = "" if same[before] == same[number] else ", where it says the opposite"
            notes.append(f"{places[number]}: the same pair as {places[before]}{how}")
    return notes


def write_bin(path: Path, images: Iterable[bytes | NDArray[np.uint8]], same: Sequence[bool]) -> None:
    """Write pairs as a `.bin` file: whole or not at all, the same bytes for the same pairs.

    The file is a pickle of protocol 3 of (list of bytes, list of bool), which the readers of other toolkits take
    (``pickle.load(file, encoding="bytes")``). The images of pair i, encoded (JPEG or PNG, bytes or uint8 [n]), are
    the images 2i and 2i + 1; they are taken one by one, so a generator needs memory for one.

    Raises:
        StoreError: there are not two images a pair, something is not an image, or the file cannot be written.
    """
    with write_atomic(path) as file:
        file.write(b"\x80\x03](")  # protocol 3; an empty list, and a mark before what is appended
        count = 0
        for image in images:
            content = image.tobytes() if isinstance(image, np.ndarray) else bytes(image)
            if not content.startswith(_JPEG_OR_PNG):
                raise StoreError(
                    f"{path}: not written: {_image_name(count)} is "
                    + (pointer_in(content) or "neither a JPEG nor a PNG image: pass encoded images")
                )
            file.write(b"B" + struct.pack("<I", len(content)))
            file.write(content)
            count += 1
        if count != 2 * len(same):
            raise StoreError(
                f"{path}: not written: {count} images for {len(same)} pairs, which take {2 * len(same)}"
            )
        file.write(b"e](" + b"".join(b"\x88" if one else b"\x89" for one in same) + b"e\x86.")


def read_bin(path: Path) -> PairSet:
    """Open a `.bin` file, in its order. It is held in memory as it is, encoded: 60 to 80 MB for the public sets.

    It is a pickle of (images, same): lists or arrays, of bytes or uint8 arrays, and of booleans (or 0 and 1).
    Images with the same bytes are one image, named after where it stands first ("pair 3, second image"); public
    sets use many images in several pairs.

    Raises:
        StoreError: the file cannot be read, is damaged, wants to run anything (which is refused), has not two
            images a pair, or holds something that is not an image or not a boolean; the message names the pair.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror or error}") from None
    # Python 2 wrote its images as str, which has to come back as bytes.
    value = load_plain(content, source=str(path), encoding="bytes")
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(map(_is_listed, value)):
        raise StoreError(f"{path}: not a .bin file: it must hold two lists, encoded images and same or not")
    images, same = value
    if len(images) != 2 * len(same) or len(same) == 0:
        raise StoreError(f"{path}: {len(images)} images for {len(same)} pairs, which take {2 * len(same)}")
    index: dict[bytes, int] = {}
    names: list[str] = []
    places = []
    for number, image in enumerate(images):
        encoded = image.tobytes() if isinstance(image, np.ndarray) and image.dtype == np.uint8 else image
        if not isinstance(encoded, bytes) or not encoded.startswith(_JPEG_OR_PNG):
            raise StoreError(f"{path}: {_image_name(number)} is neither a JPEG nor a PNG image")
        if encoded not in index:
            names.append(_image_name(number))
        places.append(index.setdefault(encoded, len(index)))
    for pair, one in enumerate(same, 1):
        if not isinstance(one, bool | int | np.bool_ | np.integer) or one not in (0, 1):
            raise StoreError(f"{path}: pair {pair}: whether it is the same person must be true or false")
    flags = list(map(bool, same))
    pairs = list(zip(places[::2], places[1::2], strict=True))
    called = [f"{path}: pair {pair}" for pair in range(1, len(flags) + 1)]
    return PairSet(
        names=names,
        read=list(index).__getitem__,
        first=np.array(places[::2], np.int64),
        second=np.array(places[1::2], np.int64),
        same=np.array(flags, np.bool_),
        source=str(path),
        problems=tuple(note_repeats(pairs, flags, names, called)),
    )


def _is_listed(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _image_name(index: int) -> str:
    """What an image is called in messages: pairs are counted from 1."""
    return f"pair {index // 2 + 1}, {'second' if index % 2 else 'first'} image"
