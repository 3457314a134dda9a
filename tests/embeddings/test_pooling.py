from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import pool_frames


def naive(unit: np.ndarray, keep: np.ndarray) -> list[float]:
    sums = [0.0] * unit.shape[1]
    for row, kept in zip(unit, keep, strict=True):
        if kept:
            sums = [a + float(b) for a, b in zip(sums, row, strict=True)]
    length = sum(a * a for a in sums) ** 0.5
    return [a / length for a in sums]


@given(st.integers(0, 10**6), st.integers(1, 50))
def test_agrees_with_a_naive_loop(seed: int, frames: int) -> None:
    random = np.random.default_rng(seed)
    unit = normalise_rows(random.standard_normal((frames, 24)) + 0.2)
    keep = random.random(frames) < 0.7
    keep[0] = True
    pooled = pool_frames(unit, keep)
    assert pooled.dtype == np.float32
    np.testing.assert_allclose(pooled, naive(unit, keep), atol=1e-7)
    assert np.linalg.norm(pooled.astype(np.float64)) == pytest.approx(1, abs=1e-6)


def test_nothing_kept_is_a_zero_row() -> None:
    assert pool_frames(np.eye(3, dtype=np.float32), np.zeros(3, bool)).tolist() == [0, 0, 0]
    assert pool_frames(np.zeros((0, 3), np.float32), np.zeros(0, bool)).tolist() == [0, 0, 0]
    assert pool_frames(np.zeros((0, 0), np.float32), np.zeros(0, bool)).tolist() == []


def test_frames_that_cancel_out_are_a_zero_row() -> None:
    around = 2 * np.pi / 7 * np.arange(7)
    unit = np.stack([np.cos(around), np.sin(around)], axis=1).astype(np.float32)
    assert np.abs(unit.sum(axis=0, dtype=np.float64)).max() > 0  # rounding leaves something
    assert pool_frames(unit, np.ones(7, bool)).tolist() == [0, 0]


def test_zero_rows_add_nothing() -> None:
    unit = np.float32([[1, 0], [0, 0], [0, 1], [0, 0]])
    np.testing.assert_allclose(pool_frames(unit, np.ones(4, bool)), [0.5**0.5, 0.5**0.5], atol=1e-7)


def test_many_frames_lose_nothing_to_rounding() -> None:
    unit = np.tile(normalise_rows(np.random.default_rng(0).standard_normal((1, 64))), (100_000, 1))
    np.testing.assert_allclose(pool_frames(unit, np.ones(len(unit), bool)), unit[0], atol=1e-7)
