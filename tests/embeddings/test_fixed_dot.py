from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from vidface.embeddings.exact import TILE_LEFT, TILE_RIGHT, aligned_rows, dot32, dot64, tile32


@njit
def both(a, b):
    return dot32(a, b), dot64(a, b)


def in_the_written_order(a: np.ndarray, b: np.ndarray, kind: type) -> np.floating:
    products = a.astype(kind) * b.astype(kind)
    lanes = np.zeros(32, kind)
    whole = len(products) // 32 * 32
    for start in range(0, whole, 32):
        lanes += products[start : start + 32]
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    total = lanes[0]
    for product in products[whole:]:
        total += product
    return total


@pytest.mark.parametrize("dimension", [0, 1, 5, 31, 32, 33, 64, 100, 128, 511, 512])
def test_the_order_is_the_written_one_bit_for_bit(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    for _ in range(20):
        a, b = random.standard_normal((2, dimension)).astype(np.float32)
        single, double = both(a, b)
        assert single == in_the_written_order(a, b, np.float32)
        assert double == in_the_written_order(a, b, np.float64)
        assert both(b, a) == (single, double)


def test_rows_at_any_address() -> None:
    store = np.random.default_rng(0).standard_normal(600).astype(np.float32)
    a, b = store[:77].copy(), store[100:177].copy()
    for shift in range(1, 17):
        moved = np.empty(200, np.float32)
        moved[shift : shift + 77] = a
        assert both(moved[shift : shift + 77], b) == both(a, b)


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((2, 2), np.float32), np.zeros(8, np.float32)[::2]])
def test_only_contiguous_float32_rows(bad: np.ndarray) -> None:
    with pytest.raises(TypingError, match="fixed dots"):
        both(bad, np.zeros(4, np.float32))


@njit
def tile(x, left, i, right, j):
    out = np.full(TILE_LEFT * TILE_RIGHT + 1, np.float32(7))
    tile32(x, left, i, right, j, out)
    return out


@pytest.mark.parametrize("dimension", [0, 1, 5, 31, 32, 33, 100, 512])
def test_a_tile_is_the_dots_of_its_rows_bit_for_bit(dimension: int) -> None:
    random = np.random.default_rng(dimension)
    x = random.standard_normal((9, dimension)).astype(np.float32)
    left, right = random.integers(0, 9, (2, 12)).astype(np.int32)
    for i, j in [(0, 0), (3, 7), (8, 10)]:
        found = tile(x, left, i, right, j)
        expected = [
            both(x[left[i + p]], x[right[j + q]])[0] for p in range(TILE_LEFT) for q in range(TILE_RIGHT)
        ]
        assert found.tolist() == [*map(float, expected), 7]


def test_a_tile_refuses_other_arrays() -> None:
    x, rows = np.zeros((4, 8), np.float32), np.zeros(4, np.int32)
    for bad in [(x.astype(np.float64), rows), (x[:, ::2], rows), (x, rows.astype(np.int64))]:
        with pytest.raises(TypingError, match="fixed dots"):
            tile(bad[0], bad[1], 0, bad[1], 0)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (3, 5), (40, 512)])
def test_aligned_rows(shape: tuple[int, int]) -> None:
    rows = [aligned_rows(*shape) for _ in range(5)]
    assert all(row.shape == shape and row.dtype == np.float32 and row.flags.c_contiguous for row in rows)
    assert all(row.ctypes.data % 64 == 0 for row in rows if row.size)
