from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from face_sets import content_of, jpeg

from vidface.errors import StoreError
from vidface.training.datasets.pairs import read_bin, write_bin

IMAGES = [jpeg(0), jpeg(1), jpeg(2, kind="PNG"), jpeg(0), jpeg(4), jpeg(5)]
SAME = [True, False, True]


EXPECTED = [(IMAGES[2 * pair], IMAGES[2 * pair + 1], SAME[pair]) for pair in range(3)]


@pytest.mark.parametrize("kind", [bytes, lambda image: np.frombuffer(image, np.uint8)])
def test_public_readers_read_what_is_written(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "set.bin"
    write_bin(path, (kind(image) for image in IMAGES), SAME)
    with path.open("rb") as file:
        images, same = pickle.load(file, encoding="bytes")  # noqa: S301 - as public readers do
    assert (images, same) == (IMAGES, SAME)
    assert {type(image) for image in images} == {bytes} and {type(one) for one in same} == {bool}
    assert content_of(read_bin(path)) == EXPECTED
    before = path.read_bytes()
    write_bin(path, IMAGES, SAME)
    assert path.read_bytes() == before


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["lists", "arrays", "numpy flags", "numbers"])
def test_what_others_write_is_read(tmp_path: Path, protocol: int, form: str) -> None:
    images: list[Any] = list(IMAGES)
    same: Any = SAME
    if form == "arrays":
        images = [np.frombuffer(image, np.uint8) for image in IMAGES]
    elif form == "numpy flags":
        same = np.array(SAME)
    elif form == "numbers":
        same = [int(one) for one in SAME]
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((images, same), protocol))
    assert content_of(read_bin(path)) == EXPECTED


def test_python_2_str(tmp_path: Path) -> None:
    texts = b"".join(b"T" + len(image).to_bytes(4, "little") + image for image in IMAGES)
    content = b"\x80\x02](" + texts + b"e](\x88\x89\x88e\x86."
    assert pickle.loads(content, encoding="bytes") == (IMAGES, SAME)  # noqa: S301
    path = tmp_path / "set.bin"
    path.write_bytes(content)
    assert content_of(read_bin(path)) == EXPECTED


def test_equal_images_are_one_and_repeats_are_listed(tmp_path: Path) -> None:
    a, b, c = jpeg(0), jpeg(1), jpeg(2)
    path = tmp_path / "set.bin"
    write_bin(path, [a, b, c, c, b, a, a, b], [True, True, False, True])
    pairs = read_bin(path)
    assert list(pairs.names) == ["pair 1, first image", "pair 1, second image", "pair 2, first image"]
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 2, 1, 0], [1, 2, 0, 1])
    assert pairs.problems == (
        f"{path}: pair 2: 'pair 2, first image' is paired with itself",
        f"{path}: pair 3: the same pair as {path}: pair 1, where it says the opposite",
        f"{path}: pair 4: the same pair as {path}: pair 1",
    )
    assert pairs.left_out == 0


@pytest.mark.parametrize(
    ("images", "same", "said"),
    [
        (IMAGES[:5], SAME, "5 images for 3 pairs, which take 6"),
        (IMAGES, SAME[:2], "6 images for 2 pairs, which take 4"),
        (
            [*IMAGES[:3], b"<html>", *IMAGES[4:]],
            SAME,
            "pair 2, second image is neither a JPEG nor a PNG image",
        ),
        ([b"", *IMAGES[1:]], SAME, "pair 1, first image is neither"),
    ],
)
def test_what_does_not_fit_is_neither_written_nor_read(
    tmp_path: Path, images: list[bytes], same: list[bool], said: str
) -> None:
    path = tmp_path / "set.bin"
    with pytest.raises(StoreError, match=said):
        write_bin(path, images, same)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(pickle.dumps((images, same)))
    with pytest.raises(StoreError, match=said):
        read_bin(path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "two lists"),
        ([IMAGES], "two lists"),
        ((IMAGES, 3), "two lists"),
        (({}, []), "two lists"),
        (([], []), "0 images for 0 pairs"),
        ((IMAGES, [True, "yes", False]), "pair 2: whether"),
        ((IMAGES, [True, 2, False]), "pair 2: whether"),
        ((IMAGES, [True, 0.0, False]), "pair 2: whether"),
        (([*IMAGES[:5], "text"], SAME), "pair 3, second image"),
        (([*IMAGES[:5], np.zeros((112, 112, 3), np.uint8)], SAME), "pair 3, second image"),
        (([*IMAGES[:5], None], SAME), "pair 3, second image"),
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, value: Any, said: str) -> None:
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(StoreError, match=said) as caught:
        read_bin(path)
    assert str(caught.value).startswith(f"{path}: ") and str(caught.value).isprintable()


def test_missing_cut_and_unwritable(tmp_path: Path) -> None:
    path = tmp_path / "set.bin"
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        read_bin(path)
    write_bin(path, IMAGES, SAME)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StoreError, match="damaged"):
        read_bin(path)
    with pytest.raises(StoreError, match="cannot be written"):
        write_bin(tmp_path / "none" / "set.bin", IMAGES, SAME)


class Bomb:
    """An image that is a call."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_a_call_among_the_images_never_runs(tmp_path: Path) -> None:
    path, marker = tmp_path / "set.bin", tmp_path / "it-ran"
    path.write_bytes(pickle.dumps(([*IMAGES[:5], Bomb(marker)], SAME)))
    with pytest.raises(StoreError, match=r"wants to call posix\.mkdir: refused"):
        read_bin(path)
    assert not marker.exists()
    pickle.load(io.BytesIO(path.read_bytes()))  # noqa: S301 - shows that the payload was a live one
    assert marker.exists()
