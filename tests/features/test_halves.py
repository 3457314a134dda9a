"""Rows that hold two embeddings are told from rows that hold one, whatever the features are like."""

from __future__ import annotations

import numpy as np
import pytest

from vidface.features.rows import compare_halves, halves_warning

RANDOM = np.random.default_rng(5)
PEOPLE = np.repeat(RANDOM.normal(size=(40, 64)), 3, axis=0)
IMAGES = PEOPLE + 0.4 * RANDOM.normal(size=PEOPLE.shape)
MIRRORED = IMAGES + 0.4 * RANDOM.normal(size=PEOPLE.shape)


@pytest.mark.parametrize(
    "change", [lambda x: x, lambda x: np.maximum(x, 0), lambda x: 30 * x, lambda x: x.astype("f2")]
)
def test_an_embedding_and_that_of_the_mirror_image(change) -> None:
    rows = change(np.hstack([IMAGES, MIRRORED]))
    found = compare_halves(rows)
    assert found is not None and found.are_two
    first, second = (np.asarray(half, np.float64) for half in (rows[:, :64], rows[:, 64:]))
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    assert found.own == pytest.approx(np.median(cosines))
    assert "pass --so" in halves_warning(rows, "pass --so")[0]


@pytest.mark.parametrize("change", [lambda x: x, lambda x: np.maximum(x, 0), lambda x: np.abs(x) + 1])
def test_one_embedding_and_two_of_different_models_are_not(change) -> None:
    assert halves_warning(change(IMAGES), "") == []
    assert halves_warning(change(np.hstack([IMAGES, PEOPLE @ RANDOM.normal(size=(64, 64))])), "") == []


def test_too_little_to_tell() -> None:
    both = np.hstack([IMAGES, IMAGES])
    for rows in (
        both[:3],
        both[:0],
        both[:, 1:],
        np.hstack([IMAGES[:, :8], IMAGES[:, :8]]),
        np.zeros((9, 64)),
    ):
        assert compare_halves(rows) is None and halves_warning(rows, "") == []
    both[::2] = np.nan
    assert compare_halves(both) is not None
