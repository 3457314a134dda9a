from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.training.data import augment
from vidface.training.recipe import Augmentation

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
