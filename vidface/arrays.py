"""Arrays at the door: every public function on arrays takes them through these, once, before anything is computed.

Compiled code checks neither an index nor a length, and a cosine of rows that are not of unit length is a wrong number
without a word. So what `__all__` of `vidface.embeddings` and `vidface.scores` lists checks what it is given; kernels,
and functions that are given what was checked, are not listed there. Rows are looked at in one pass: the sum of squares
says whether they are finite, of unit length, or zero. Tested in ``tests/scores/test_hostile_arrays.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidface.files.store import UNIT_TOLERANCE

__all__ = [
    "GRID",
    "LONGEST",
    "NotFiniteError",
    "array_of",
    "at_least_one",
    "booleans",
    "integers",
    "numbers",
    "on_grid",
    "refuse_masked",
    "refuse_rows",
    "texts",
    "two_sides",
    "unit_rows_of",
]

# Whatever was read within `UNIT_TOLERANCE` is well inside, as here squares are added in float32.
_TOLERANCE = 2 * UNIT_TOLERANCE
LONGEST = 1 + _TOLERANCE  # no row that went through the door is longer
_BLOCK = 8192  # rows looked at at a time
GRID = 2.0**26  # values of unit rows are multiples of its inverse, `vidface.embeddings.exact` says why


class NotFiniteError(ValueError):
    """A row of features holds NaN or infinity; ``row`` is its number."""

    def __init__(self, row: int) -> None:
        super().__init__(f"features: row {row} is not finite: leave out what has NaN or infinity")
        self.row = row


def unit_rows_of(values: ArrayLike, what: str = "embeddings") -> NDArray[np.float32]:
    """Rows of length 1, or 0 where a video has no usable frame: float32 [n, D], C order, on the grid.

    They are copied only if need be.

    Args:
        values: real numbers [n, D].
        what: their name in messages.

    Raises:
        ValueError: another shape or type; a row that is not finite, or whose length is neither 1 nor 0.
    """
    found = _real(values, what)
    if found.ndim != 2 or (len(found) and not found.shape[1]):
        raise ValueError(f"{what} must be [n, D], one row each, not {found.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
        rows = np.ascontiguousarray(found, np.float32)
    refuse_rows(rows, what)
    return on_grid(rows)


def on_grid(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit rows rounded to multiples of 2**-26; the rows themselves where they are that already, as ours are.

    Args:
        rows: float32 [n, D].
    """
    for start in range(0, len(rows), _BLOCK):
        scaled = rows[start : start + _BLOCK] * np.float32(GRID)
        if (np.rint(scaled) != scaled).any():
            rounded: NDArray[np.float32] = np.rint(rows * np.float32(GRID))
            rounded *= np.float32(1 / GRID)
            return rounded
    return rows


def refuse_rows(rows: NDArray[np.float32], what: str, first: int = 0) -> None:
    """Refuse float32 rows [n, D] that are not finite, or whose length is neither 1 nor 0.

    Args:
        rows: rows ``first``, ``first`` + 1 ... of what they belong to.
        what: their name in messages.
        first: number of the first row in messages.

    Raises:
        ValueError: the first such row, its length, and how many there are.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
        wrong = ~(np.abs(squares - 1) <= 2 * _TOLERANCE)
    wrong[wrong] = rows[wrong].any(axis=1)  # zero rows are right; the squares of tiny ones are zero as well
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    length = float(np.linalg.norm(rows[row].astype(np.float64)))
    count = f"{np.count_nonzero(wrong)} of {len(rows)} rows"
    if not np.isfinite(length):
        raise ValueError(
            f"{what}: row {first + row} is not finite ({count} are wrong): leave out what has NaN or infinity, or set "
            "the row to zero where a video has no usable frame"
        )
    raise ValueError(
        f"{what}: row {first + row} has length {length:.4g}, not 1 or 0 ({count} are wrong): divide every row by its "
        "length, as vidface.embeddings.exact.normalise_rows does"
    )


def two_sides(
    one: NDArray[np.float32], other: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both, or ValueError where their rows are not of the same dimension."""
    if one.shape[1] != other.shape[1]:
        raise ValueError(
            f"rows of {one.shape[1]} and of {other.shape[1]} numbers do not have the same dimension"
        )
    return one, other


def numbers(values: ArrayLike, what: str, count: int | None = None) -> NDArray[np.float64]:
    """Finite numbers, float64 [count].

    Raises:
        ValueError: another shape or type, or a number that is not finite.
    """
    found = _in_line(_real(values, what), what, count).astype(np.float64, copy=False)
    if not np.isfinite(found).all():
        raise ValueError(f"{what}: number {int(np.argmin(np.isfinite(found)))} is not finite")
    return found


def integers(
    values: ArrayLike, what: str, count: int | None = None, *, at_least: int | None = None
) -> NDArray[Any]:
    """Whole numbers [count] in their own type; that must be one of integers: fractions and NaN would be cut off.

    Args:
        values: integers, in any type that int64 holds.
        what: their name in messages.
        count: how many there must be; None: any number.
        at_least: the smallest that is allowed; None: any.

    Raises:
        ValueError: another shape or type, or one below ``at_least``.
    """
    found = _in_line(array_of(values, what), what, count)
    if found.size and (found.dtype.kind not in "iu" or found.max() > np.iinfo(np.int64).max):
        raise ValueError(
            f"{what} must be whole numbers, not {found.dtype}: np.unique(names, return_inverse=True)[1] numbers names"
        )
    if at_least is not None and found.size and found.min() < at_least:
        raise ValueError(f"{what}: number {int(np.argmin(found))} is {found.min()}, below {at_least}")
    return found if found.size else found.astype(np.int64)


def booleans(values: ArrayLike, what: str, count: int | None = None, ndim: int = 1) -> NDArray[np.bool_]:
    """True and false, bool [count], or with more axes; 0 and 1 are taken, other numbers would all be true.

    Raises:
        ValueError: another shape, or something else than true and false, 0 and 1.
    """
    found = _real(values, what)
    found = _in_line(found, what, count) if ndim == 1 else found
    if found.ndim != ndim:
        raise ValueError(f"{what} must have {ndim} axes, not the shape {found.shape}")
    if found.dtype.kind != "b" and not ((found == 0) | (found == 1)).all():
        raise ValueError(f"{what} must be true or false, or 0 and 1, not other numbers")
    return found.astype(np.bool_, copy=False)


def texts(values: Iterable[str], what: str, count: int) -> list[str]:
    """Names or ids, as they are, in a list: a column of a table has numbers of its own.

    Raises:
        ValueError: another number of them than ``count``, or something that is not text.
    """
    found = list(values)
    if len(found) != count:
        raise ValueError(f"{len(found)} {what} for {count} rows")
    others = [value for value in found if not isinstance(value, str)]
    if others:
        raise ValueError(f"{what} must be text, not {type(others[0]).__name__}: str() makes text of numbers")
    return found


def at_least_one(**values: int | None) -> None:
    """Refuse numbers below 1, such as of threads or of rows in a block; None is as good as any.

    Raises:
        ValueError: the first such number, by its name.
    """
    for name, value in values.items():
        if value is not None and not value >= 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


def refuse_masked(values: Any, what: str) -> None:
    """Refuse a masked array of which something is masked: numpy's functions would take what lies below.

    Raises:
        ValueError: something is masked.
    """
    if np.ma.is_masked(values):
        raise ValueError(f"{what}: some are masked: leave them out")


def array_of(values: ArrayLike, what: str) -> NDArray[Any]:
    """An array of any shape and type.

    Raises:
        ValueError: there is no array of it, or something is masked.
    """
    refuse_masked(values, what)
    try:
        return np.asarray(values)
    except (TypeError, RuntimeError) as error:  # tensors that are on a GPU, have a gradient, or are bfloat16
        raise ValueError(
            f"{what} cannot be made an array ({error}): of a torch tensor pass t.detach().float().cpu().numpy()"
        ) from None


def _real(values: ArrayLike, what: str) -> NDArray[Any]:
    found = array_of(values, what)
    if found.size and found.dtype.kind not in "fiub":
        raise ValueError(f"{what} must be real numbers, not {found.dtype}")
    return found


def _in_line(found: NDArray[Any], what: str, count: int | None) -> NDArray[Any]:
    if found.ndim != 1 or (count is not None and len(found) != count):
        raise ValueError(f"{what} must be [{'n' if count is None else count}], not {found.shape}")
    return found
