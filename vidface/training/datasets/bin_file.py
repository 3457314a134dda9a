"""The `.bin` files of face verification sets (LFW, CFP-FP, AgeDB-30): a pickle of (encoded images, same or not).

Pair i is images 2i and 2i+1. Reading runs nothing (`vidface.files.unpickle`); writing needs no pickle library, since
the format is a few bytes around every image. Tested in ``tests/training/datasets/test_bin_file.py``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidface.errors import StoreError
from vidface.files.atomic import read_regular, write_atomic
from vidface.files.pointers import pointer_in
from vidface.files.unpickle import load_plain
from vidface.training.datasets.pair_set import PairSet, note_repeats

__all__ = ["read_bin", "write_bin"]

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def write_bin(path: Path, images: Iterable[bytes | NDArray[np.uint8]], same: Sequence[bool]) -> None:
    """Write pairs as a `.bin` file: whole or not at all, the same bytes for the same pairs.

    The file is a pickle of protocol 3 of (list of bytes, list of bool), which the readers of other toolkits
    take (``pickle.load(file, encoding="bytes")``).

    Args:
        path: the file; replaced if it exists. Its folder must exist.
        images: encoded images (JPEG or PNG), bytes or uint8 [n] arrays of them: those of pair i are the
            images 2i and 2i + 1. They are taken one by one, so a generator needs memory for one.
        same: [P], whether both images of a pair show one person.

    Raises:
        StoreError: there are not two images a pair, something is not an image, or the file cannot be written.
    """
    with write_atomic(path) as file:
        file.write(b"\x80\x03](")  # protocol 3; an empty list, and a mark before what is appended
        count = 0
        for image in images:
            content = image.tobytes() if isinstance(image, np.ndarray) else bytes(image)
            if not looks_like_image(content):
                raise StoreError(
                    f"{path}: not written: {image_name(count)} is "
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
    """Open a `.bin` file. It is held in memory as it is, encoded: 60 to 80 MB for the public sets.

    Args:
        path: a pickle of (images, same): lists or arrays, of bytes or uint8 arrays, and of booleans (or 0 and 1).

    Returns:
        The pairs in the order of the file. Images with the same bytes are one image, named after where it stands
        first ("pair 3, second image"); public sets use many images in several pairs.

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
    distinct: list[bytes] = []
    names: list[str] = []
    places = np.empty(len(images), np.int64)
    for number, image in enumerate(images):
        encoded = image.tobytes() if isinstance(image, np.ndarray) and image.dtype == np.uint8 else image
        if not isinstance(encoded, bytes) or not looks_like_image(encoded):
            raise StoreError(f"{path}: {image_name(number)} is neither a JPEG nor a PNG image")
        places[number] = index.setdefault(encoded, len(distinct))
        if places[number] == len(distinct):
            distinct.append(encoded)
            names.append(image_name(number))
    flags = [_flag(one, pair, path) for pair, one in enumerate(same, 1)]
    first, second = places[::2], places[1::2]
    pairs = [f"{path}: pair {pair}" for pair in range(1, len(flags) + 1)]
    return PairSet(
        names=names,
        read=distinct.__getitem__,
        first=first,
        second=second,
        same=np.array(flags, np.bool_),
        source=str(path),
        problems=tuple(note_repeats(first.tolist(), second.tolist(), flags, names, pairs)),
    )


def _is_listed(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def _flag(value: Any, pair: int, path: Path) -> bool:
    if not isinstance(value, bool | int | np.bool_ | np.integer) or value not in (0, 1):
        raise StoreError(f"{path}: pair {pair}: whether it is the same person must be true or false")
    return bool(value)


def looks_like_image(content: bytes) -> bool:
    """Whether the first bytes are those of a JPEG or PNG image."""
    return content.startswith((_JPEG, _PNG))


def image_name(index: int) -> str:
    """What an image is called in messages: pairs are counted from 1."""
    return f"pair {index // 2 + 1}, {'second' if index % 2 else 'first'} image"
