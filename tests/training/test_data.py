from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vidface.errors import MediaError, StoreError
from vidface.training.data import Batches, augment, loader, read_face
from vidface.training.datasets.images import ImageSet
from vidface.training.recipe import Augmentation

SIZE = (16, 12)
PLAIN = Augmentation(flip=0.0)
WILD = Augmentation(flip=0.5, shift=0.5, light=0.5, erase=0.5)


def pixels(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (*SIZE, 3), np.uint8)


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


class Stored:
    """The images of a set; can be sent to worker processes, and tells what was read."""

    def __init__(self, damaged: dict[int, object]) -> None:
        self.damaged, self.asked = damaged, []  # type: tuple[dict[int, object], list[int]]

    def __call__(self, index: int) -> bytes:
        self.asked.append(index)
        what = self.damaged.get(index)
        if isinstance(what, Exception):
            raise what
        return what if isinstance(what, bytes) else png(pixels(index))


def image_set(count: int = 24, **damaged: object) -> ImageSet:
    """`i3=...` puts something else in the place of image 3."""
    read = Stored({int(name[1:]): what for name, what in damaged.items()})
    labels = np.arange(count, dtype=np.int64) // 3
    people = tuple(f"p{person}" for person in range(labels.max() + 1))
    return ImageSet(people, labels, [f"p{i // 3}/{i}.png" for i in range(count)], read, "the set")


def batches(images: ImageSet, how: Augmentation = PLAIN, each: int = 4) -> Batches:
    count = len(images.labels)
    order = np.random.default_rng(5).permutation(count).reshape(-1, each)
    return Batches(images, order, SIZE, how, [1, 2, 3])


def test_a_batch_is_its_images_and_their_people() -> None:
    found = batches(image_set())
    assert len(found) == 6
    for step in range(6):
        images, labels, faults = found[step]
        assert images.shape == (4, *SIZE, 3) and images.dtype == np.uint8
        assert labels.dtype == np.int64 and faults == []
        for row, index in enumerate(found.batches[step]):
            assert np.array_equal(images[row], pixels(index))
            assert labels[row] == index // 3


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    images = image_set(i7=b"no image")
    alone = list(loader(batches(images, WILD)))
    shared = list(loader(batches(images, WILD), workers=workers))
    assert len(alone) == len(shared) == 6
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1]) and one[2] == other[2]
    assert [fault for _, _, faults in shared for fault in faults] == [("p2/7.png", faults_of(images, 7))]


def faults_of(images: ImageSet, index: int) -> str:
    with pytest.raises(MediaError) as raised:
        read_face(images, index, SIZE)
    return f"{raised.value.kind}: {raised.value}"


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_before_the_first_are_not_read(workers: int) -> None:
    images = image_set()
    whole = list(loader(batches(images, WILD)))
    images.read.asked.clear()  # type: ignore[attr-defined]
    rest = list(loader(batches(images, WILD), first=4, workers=workers))
    assert len(rest) == 2
    for one, other in zip(whole[4:], rest, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    if not workers:
        wanted = batches(images).batches[4:].ravel().tolist()
        assert images.read.asked == wanted  # type: ignore[attr-defined]


def test_the_seed_decides_the_changes_of_every_batch() -> None:
    images = image_set()
    order = np.zeros((2, 8), np.int64)
    first = Batches(images, order, SIZE, WILD, [1, 2, 3])
    again = Batches(images, order, SIZE, WILD, [1, 2, 3])
    other = Batches(images, order, SIZE, WILD, [1, 2, 4])
    assert np.array_equal(first[1][0], again[1][0])
    assert not np.array_equal(first[0][0], first[1][0])
    assert not np.array_equal(first[0][0], other[0][0])
    assert len({row.tobytes() for row in first[0][0]}) > 2, "one image comes in many ways within a batch"


BAD: dict[str, Callable[[], object]] = {
    "no image": lambda: b"GIF89a",
    "empty": lambda: b"",
    "cut short": lambda: png(pixels(0))[:300],
    "not there": lambda: MediaError("unreadable-image", "it is gone"),
    "damaged store": lambda: StoreError("record 3 is damaged"),
    "disk": lambda: OSError(5, "Input/output error"),
}


@pytest.mark.parametrize("what", BAD)
def test_an_unreadable_image_is_replaced_and_listed(what: str) -> None:
    images = image_set(i3=BAD[what]())
    found = Batches(images, np.array([[9, 3, 6, 7], [8, 4, 5, 3]]), SIZE, PLAIN, [0])
    pictures, labels, faults = found[0]
    assert [name for name, _ in faults] == ["p1/3.png"]
    assert faults[0][1].startswith("unreadable-image: ") and "\n" not in faults[0][1]
    assert np.array_equal(pictures, [pixels(i) for i in (9, 6, 6, 7)])
    assert labels.tolist() == [3, 2, 2, 2]
    pictures, labels, _ = found[1]  # the last one: its place is taken by the first
    assert np.array_equal(pictures, [pixels(i) for i in (8, 4, 5, 8)])
    assert labels.tolist() == [2, 1, 1, 2]
    assert images.labels[3] == 1, "the set itself stays as it is"


def test_an_image_of_another_size_is_replaced_and_listed() -> None:
    images = image_set(i3=png(np.zeros((12, 16, 3), np.uint8)), i6=b"")
    pictures, labels, faults = Batches(images, np.array([[3, 6, 9]]), SIZE, PLAIN, [0])[0]
    assert faults[0] == ("p1/3.png", "wrong-size: it is 12x16, not 16x12")
    assert faults[1][0] == "p2/6.png"
    assert np.array_equal(pictures, [pixels(9)] * 3) and labels.tolist() == [3, 3, 3]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_without_a_usable_image_is_an_error(workers: int) -> None:
    images = image_set(i3=b"", i6=b"")
    all_of = Batches(images, np.array([[1, 2], [3, 6]]), SIZE, PLAIN, [0])
    found = loader(all_of, workers=workers)
    next(found)
    with pytest.raises(MediaError) as raised:
        next(found)
    assert raised.value.kind == "unreadable-image"
    said = str(raised.value)
    assert said.startswith(
        "the set: no image of a whole batch can be used; the first is p1/3.png: unreadable-image: "
    )
    assert "\n" not in said


NONE = {"flip": 0.0}
OPTIONS = ("flip", "shift", "light", "grey", "blur", "jpeg", "erase")


def picture(height: int = 32, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def changed(image: np.ndarray, seed: int, **how: float) -> np.ndarray:
    return augment(image, Augmentation(**{**NONE, **how}), np.random.default_rng(seed))


def smooth() -> np.ndarray:
    """A picture that no option can leave as it is, but that blur and JPEG hardly change."""
    rows, columns = np.mgrid[:32, :24]
    return np.stack([4 * rows + 40, 6 * columns + 30, 2 * rows + 3 * columns], axis=2).astype(np.uint8)


@given(
    st.fixed_dictionaries({name: st.sampled_from([0.0, 0.5, 1.0]) for name in OPTIONS}),
    st.integers(0, 2**32),
    st.integers(16, 40),
    st.integers(16, 40),
)
def test_whatever_falls(how: dict[str, float], seed: int, height: int, width: int) -> None:
    image = picture(height, width)
    before = image.copy()
    found = changed(image, seed, **how)
    assert found.shape == image.shape and found.dtype == np.uint8 and found.flags.c_contiguous
    assert np.array_equal(image, before), "the picture given is not changed"
    assert np.array_equal(found, changed(image, seed, **how)), "the seed decides"
    if not any(how.values()):
        assert np.array_equal(found, image)


def test_a_read_only_picture_will_do() -> None:
    image = picture()
    image.flags.writeable = False
    changed(image, 0, **dict.fromkeys(OPTIONS, 1.0))


def test_flip_is_exact() -> None:
    image = picture()
    assert np.array_equal(changed(image, 1, flip=1.0), image[:, ::-1])
    flipped = sum(not np.array_equal(changed(image, seed, flip=0.5), image) for seed in range(400))
    assert 150 < flipped < 250


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_comes_as_often_as_it_says(option: str) -> None:
    image = smooth()
    assert not np.array_equal(changed(image, 3, **{option: 1.0}), image) or option == "shift"
    times = sum(not np.array_equal(changed(image, seed, **{option: 0.25}), image) for seed in range(400))
    assert 60 < times < 140


@pytest.mark.parametrize("option", OPTIONS)
def test_one_option_does_not_change_the_luck_of_another(option: str) -> None:
    """Each is thrown for with a die of its own: it falls for the same images whatever else is on."""
    image, others = smooth(), [other for other in OPTIONS if other not in (option, "erase")]
    seeds = [seed for seed in range(40) if not np.array_equal(changed(image, seed, **{option: 0.5}), image)]
    how = {**dict.fromkeys(others, 0.5), option: 0.5}
    for seed in range(40):
        without = changed(image, seed, **{**how, option: 0.0})
        assert (not np.array_equal(changed(image, seed, **how), without)) == (seed in seeds)


def test_shift_moves_by_up_to_six_pixels_and_repeats_the_border() -> None:
    image = picture()
    whither = range(-6, 7)
    places = {moved(image, down, right).tobytes(): (down, right) for down in whither for right in whither}
    seen = [places[changed(image, seed, shift=1.0).tobytes()] for seed in range(300)]
    assert {down for down, _ in seen} == {right for _, right in seen} == set(whither)


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    padded = np.pad(image, ((6, 6), (6, 6), (0, 0)), mode="edge")
    return padded[6 - down : 6 - down + image.shape[0], 6 - right : 6 - right + image.shape[1]]


def test_grey_is_the_luma_of_itu_r_601() -> None:
    image = picture()
    found = changed(image, 0, grey=1.0)
    assert (found == found[:, :, :1]).all()
    red, green, blue = image.astype(float).transpose(2, 0, 1)
    assert np.abs(found[:, :, 0] - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 0.5 + 1e-9


def test_erase_covers_one_rectangle() -> None:
    image = np.zeros((32, 24, 3), np.uint8)
    for seed in range(50):
        rows, columns = np.nonzero(changed(image, seed, erase=1.0).any(axis=2))
        height, width = rows.max() - rows.min() + 1, columns.max() - columns.min() + 1
        assert 4 <= height < 16 and 3 <= width < 12
        assert len(rows) >= height * width - 2  # noise is black in one pixel of 16 million


@pytest.mark.parametrize(("option", "least", "most"), [("blur", 0, 8), ("jpeg", 0, 8), ("light", 1, 128)])
def test_mild_changes_stay_mild(option: str, least: float, most: float) -> None:
    image = smooth()
    for seed in range(20):
        difference: Any = np.abs(changed(image, seed, **{option: 1.0}).astype(int) - image)
        assert least <= difference.mean() <= most
