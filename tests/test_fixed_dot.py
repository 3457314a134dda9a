from __future__ import annotations

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from vidface.fixed_dot import dot32, dot64


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
