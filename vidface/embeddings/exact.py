"""Unit rows on a grid: their cosines are the same bits in whatever order they are added up.

BLAS, compiled loops and GPUs each add the products of a dot in an order of their own, so the last bit of a cosine would
depend on the machine, and with it who is above a threshold and who is tied. Here every unit row is rounded once, where
it is normalised, to multiples of 2**-26 (`vidface.arrays.GRID`); the sum of the float64 products is exact then:

    Let a and b be rows on the grid, and |a| |b| < 2. The product of two values is a multiple of 2**-52, and so is every
    sum of some of the products, however they are taken together. No such sum is larger than the sum of the absolute
    products, which is at most |a| |b| < 2 (Cauchy-Schwarz). A multiple of 2**-52 below 2 has at most 53 binary digits,
    so float64 holds it: no product and no addition rounds, fused or not.

    |a| |b| < 2 holds for whatever `vidface.arrays.unit_rows_of` lets in: no row is longer than 1.002. Rounding moves a
    row of D values by at most sqrt(D) * 2**-27, and those of its values that are above 1/4, of which there are at
    most 16, by at most 2**-24 each, as float32 is coarser than the grid there: less than 0.001 up to D = 2**32.

The grid moves a cosine by some 1e-8, less than one product by BLAS in float32 rounds. Such products are the filter:
they are off by at most `product_error`, and what lies closer to a threshold is decided by `cosine`. Tested in
``tests/embeddings/test_exact.py`` with rows that are as bad as can be. Kernels are not in `__all__`: they check nothing
of what they are given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import GRID, NotFiniteError, array_of

__all__ = ["normalise_rows"]

# Of float16 bits: sign and digits as they lie in a float32, 13 places on; the exponent, all ones for infinity and NaN;
# what makes up for its zero, which lies elsewhere in float32.
_SIGN_AND_DIGITS, _EXPONENT, _SCALE = np.int32(0x8FFFE000 - 2**32), np.int32(0x7C00), np.float32(2.0**112)
_NAN = np.int32(0x7FC00000)


def product_error(dimension: int, longest: float) -> float:
    """The most that a dot of two rows by BLAS in float32, in any order, can differ from their `cosine`.

    n roundings are off by at most n u / (1 - n u) of the sum of absolute products, at most the product of the lengths
    (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). Nothing underflows on the grid.

    Args:
        dimension: numbers a row.
        longest: the length of the longest row.
    """
    rounding = dimension * 2.0**-24
    return rounding / (1 - rounding) * longest**2 * 1.001 + 2.0**-24


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def cosine(a: Any, b: Any) -> Any:
    """The dot of two float32 rows on the grid, of equal length: exact, so the order of the additions is free."""
    total = 0.0
    for d in range(a.size):
        total += np.float64(a[d]) * np.float64(b[d])
    return total


@njit(cache=True, nogil=True)
def unit_row(values: Any, squares: Any, unit: Any) -> Any:
    """Write a unit row on the grid, zeros for zeros; returns the length that the values had.

    The values are on no grid yet, so the order of the sum of squares is written down: the second half is added to the
    first until one number is left.

    Args:
        values: float32 or float64 [D].
        squares: float64 [D], room for them.
        unit: float32 [D] for the answer, elsewhere in memory, or the loops do not become vector instructions.
    """
    for d in range(values.size):
        squares[d] = np.float64(values[d]) * np.float64(values[d])
    left = values.size
    while left > 1:
        half = (left + 1) // 2
        for d in range(left - half):
            squares[d] += squares[d + half]
        left = half
    # Squares of float32 neither overflow nor vanish in float64.
    length = np.sqrt(squares[0]) if values.size else 0.0
    scale = GRID / length if length > 0 else 0.0
    for d in range(values.size):
        unit[d] = np.float32(np.rint(np.float64(values[d]) * scale)) * np.float32(1 / GRID)
    return length


@njit(cache=True, nogil=True)
def unit_rows(rows16: Any, rows32: Any, unit: Any, lengths: Any) -> Any:
    """Write unit rows, from the bits of float16 rows or from float32 rows, whichever are not empty.

    Args:
        rows16, rows32: int16 and float32 [n, D], one of them [0, D].
        unit: float32 [n, D] for the answer.
        lengths: float64 [n] for the lengths that the rows had.

    Returns:
        The last row that is not finite, -1 for none.
    """
    wrong = -1
    squares, wide = np.empty(unit.shape[1]), np.empty(unit.shape[1], np.float32)
    wide_bits = wide.view(np.int32)
    for i in range(lengths.size):
        row = wide if len(rows16) else rows32[i]
        if len(rows16):
            half = rows16[i]
            for d in range(wide.size):
                bits = np.int32(half[d])
                wide_bits[d] = (
                    _NAN if bits & _EXPONENT == _EXPONENT else bits << np.int32(13) & _SIGN_AND_DIGITS
                )
            for d in range(wide.size):
                wide[d] *= _SCALE
        lengths[i] = unit_row(row, squares, unit[i])
        if not np.isfinite(lengths[i]):
            wrong = i
    return wrong


def normalise_rows(x: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit length, on the grid, so that dot products are cosines.

    Args:
        x: [n, D] features, float16 or float32 (other kinds are converted to float32). Not changed.

    Returns:
        float32 [n, D], multiples of 2**-26. Zero rows stay zero.

    Raises:
        ValueError: not [n, D] of real numbers, or a row that is not finite.
    """
    rows16, rows32 = as_read(x)
    unit = np.empty((max(len(rows16), len(rows32)), rows16.shape[1]), np.float32)
    refuse_wrong(unit_rows(rows16, rows32, unit, np.empty(len(unit))))
    return unit


def refuse_wrong(row: int) -> None:
    """Refuse the row that `unit_rows` found not to be finite; -1 for none."""
    if row >= 0:
        raise NotFiniteError(row)


def as_read(x: ArrayLike) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """The two arrays that ``unit_rows`` takes, one of them empty: bits of float16 rows, or other rows as float32."""
    rows = array_of(x, "frames")
    if rows.ndim != 2 or rows.dtype.kind not in "fiub" or (len(rows) and not rows.shape[1]):
        raise ValueError(f"frames must be [n, D] of real numbers, not {rows.dtype} {rows.shape}")
    none = (0, rows.shape[1])
    if rows.dtype == np.float16:
        return np.ascontiguousarray(rows, np.float16).view(np.int16), np.empty(none, np.float32)
    with np.errstate(over="ignore"):  # what float32 cannot hold is not finite
        return np.empty(none, np.int16), np.ascontiguousarray(rows, dtype=np.float32)
