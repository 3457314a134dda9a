from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from vidface.arrays import GRID, LONGEST, on_grid, unit_rows_of
from vidface.embeddings.exact import as_read, cosine, normalise_rows, product_error, unit_rows


@njit(fastmath=True)
def in_any_order(a, b):
    total = 0.0
    for d in range(a.size):
        total += np.float64(a[d]) * np.float64(b[d])
    return total


def exactly(a: np.ndarray, b: np.ndarray) -> Fraction:
    return sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)), Fraction(0))


def nasty(kind: str, dimension: int) -> np.ndarray:
    """Rows that would break a sum that rounds: float64 [8, D], of no particular length."""
    random = np.random.default_rng(dimension)
    rows = random.standard_normal((8, dimension))
    if kind == "one large value":
        rows *= 1e-7
        rows[:, dimension // 2] = random.choice([-3, 3], 8)
    elif kind == "denormals":
        rows *= 1e-42
    elif kind == "all equal":
        rows = np.ones((8, dimension)) * random.choice([-1, 1], (8, 1)) * random.uniform(0.1, 9, (8, 1))
    elif kind == "float16":
        rows = rows.astype(np.float16)
    elif kind == "huge and tiny":
        rows *= 10.0 ** random.integers(-30, 30, (8, dimension))
    return rows


KINDS = ["random", "one large value", "denormals", "all equal", "float16", "huge and tiny"]


@pytest.mark.parametrize("dimension", [1, 3, 31, 128, 512, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cosine_is_exact_in_whatever_order_it_is_added_up(kind: str, dimension: int) -> None:
    unit = normalise_rows(nasty(kind, dimension))
    wide = unit.astype(np.float64)
    expected = [[float(exactly(a, b)) for b in unit[:3]] for a in unit]
    assert all(
        Fraction(value) == exactly(unit[i], unit[j])
        for i, row in enumerate(expected)
        for j, value in enumerate(row)
    )
    shuffled = np.random.default_rng(0).permutation(dimension)
    ways = {
        "kernel": [[cosine(a, b) for b in unit[:3]] for a in unit],
        "fastmath": [[in_any_order(a, b) for b in unit[:3]] for a in unit],
        "shuffled": (wide[:, shuffled] @ wide[:3, shuffled].T).tolist(),
        "gemm": (wide @ wide[:3].T).tolist(),
        "gemv": [(wide @ row).tolist() for row in wide[:3]],
        "einsum": np.einsum("id,jd->ij", wide, wide[:3]).tolist(),
        "torch": (torch.from_numpy(wide) @ torch.from_numpy(wide[:3]).T).tolist(),
    }
    ways["gemv"] = np.transpose(ways["gemv"]).tolist()
    for way, found in ways.items():
        assert found == expected, way


@pytest.mark.parametrize("length", [1, 0.9985, 1.0015])
def test_rows_that_the_door_lets_in_are_exact_too(length: float) -> None:
    rows = (length * normalise_rows(nasty("random", 300)).astype(np.float64)).astype(np.float32)
    unit = unit_rows_of(rows)
    assert np.abs(unit - rows).max() <= 2.0**-26
    assert all(Fraction(float(cosine(a, b))) == exactly(a, b) for a in unit for b in unit)


@pytest.mark.parametrize("dimension", [1, 33, 512, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_unit_rows_are_on_the_grid_and_of_unit_length(kind: str, dimension: int) -> None:
    rows = nasty(kind, dimension)
    unit = normalise_rows(rows)
    assert ((unit.astype(np.float64) * GRID) % 1 == 0).all()
    assert on_grid(unit) is unit
    given_rows = rows.astype(np.float32).astype(np.float64)
    expected = given_rows / np.linalg.norm(given_rows, axis=1, keepdims=True)
    off = np.abs(unit - expected)
    assert (off <= np.where(np.abs(expected) > 0.25, 2.0**-25 + 2.0**-27, 2.0**-27) * 1.001).all()


@given(st.integers(0, 10**6), st.sampled_from([8, 128, 1000]), st.sampled_from(KINDS))
def test_products_by_blas_lie_within_the_bound(seed: int, dimension: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    rows = normalise_rows(
        np.abs(nasty(kind, dimension)) * random.uniform(0.5, 1, (8, dimension))
    )  # nothing cancels
    off = np.abs((rows @ rows.T).astype(np.float64) - rows.astype(np.float64) @ rows.T.astype(np.float64))
    assert off.max() <= product_error(dimension, LONGEST)


def test_rows_of_others_are_put_on_the_grid_and_left_alone() -> None:
    rows = np.random.default_rng(0).standard_normal((10_000, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    before = rows.copy()
    unit = on_grid(rows)
    assert (rows == before).all() and (unit != rows).any()
    assert ((unit.astype(np.float64) * GRID) % 1 == 0).all()
    half = rows.astype(np.float16).astype(np.float32)  # float16 has no finer values
    assert on_grid(half) is half
    mixed = np.concatenate([unit[:9000], rows[9000:]])  # also where only the last rows are off it
    assert (on_grid(mixed) == unit).all()


def test_every_float16_is_read_right() -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    assert len(every) == 65536 - 2048  # infinities and NaN
    rows = np.stack([every, np.ones_like(every)], axis=1)
    expected = normalise_rows(rows.astype(np.float32))
    np.testing.assert_array_equal(normalise_rows(rows), expected)
    np.testing.assert_array_equal(normalise_rows(rows[::2]), expected[::2])
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="row 1 is not finite"):
            normalise_rows(np.array([[1, 2], [bad, 1]], np.float16))


def test_normalise_rows_leaves_zeros_and_its_input_alone() -> None:
    rows = np.float32([[3, 4], [0, 0]])
    np.testing.assert_allclose(normalise_rows(rows), [[0.6, 0.8], [0, 0]], atol=1e-8)
    assert rows.tolist() == [[3, 4], [0, 0]]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dimension", [1, 2, 31, 300, 512])
def test_the_order_of_the_squares_is_the_written_one_bit_for_bit(dimension: int, dtype: type) -> None:
    def folded(squares: list[float]) -> float:
        if len(squares) == 1:
            return squares[0]
        half = (len(squares) + 1) // 2
        first, second = squares[:half], [*squares[half:], 0.0]
        return folded([a + b for a, b in zip(first, second, strict=False)])

    rows = np.random.default_rng(dimension).standard_normal((20, dimension)).astype(dtype)
    lengths = np.empty(20)
    unit_rows(*as_read(rows), np.empty(rows.shape, np.float32), lengths)
    assert lengths.tolist() == [folded([float(value) ** 2 for value in row]) ** 0.5 for row in rows]
