"""Unit rows and dot products whose last bit never depends on where they are computed.

BLAS and fast-math loops choose the order of their additions by the shape at hand, so the same two rows can
give two results that differ in the last bit; then a threshold cuts one run another way than the next, and
equal rows stop being tied. Here the order is written down: 32 lanes, each the sum of every 32nd product in
order, no fused multiply-add; the lanes are folded in halves; the remaining products are added one by one. So
``dot(a, b) == dot(b, a)`` bit for bit, at every call site and on every machine.

Numba cannot be told this order in Python without losing the vector instructions (three to nine times slower),
so the loop is given to LLVM directly. Many dots go through ``tile32``, which computes 4 x 2 of them at once:
what was loaded is used several times, and a dot costs about what it costs in BLAS. Tested in
``tests/embeddings/test_fixed_dot.py`` against the same order in numpy, bit for bit.

Float16 rows become float32 many times as fast as by numpy's cast: sign and digits are moved into place; the exponent,
whose zero lies elsewhere, is put right by a product with a power of two, which is exact. Tested in
``tests/embeddings/test_half.py`` with all 65,536 numbers.

Kernels, such as dots, are not in `__all__`: they check neither a shape nor an index.

Callers cached by numba are not rebuilt when only this file changes: after an edit, run ``make clean-compiled``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic
from numpy.typing import ArrayLike, NDArray

from vidface.arrays import array_of

__all__ = ["normalise_rows", "widen_rows"]

TILE_LEFT, TILE_RIGHT = 4, 2  # rows on the two sides of a tile

_WIDTH = 16  # lanes in one vector; LLVM splits it where the machine has narrower ones
_LANES = 2 * _WIDTH  # two vectors, so that one addition need not wait for the last

_SIGN_AND_DIGITS = np.int32(0x8FFFE000 - 2**32)  # where they lie after a shift by 13
_EXPONENT = np.int32(0x0F800000)  # all ones: infinity or NaN
_LARGEST_EXPONENT = np.int32(0x70000000)  # makes float32's own infinity or NaN of those
_SCALE = np.float32(2.0**112)  # float32 has an exponent bias of 127, float16 one of 15


def _dots(
    builder: Any, lefts: Sequence[Any], rights: Sequence[Any], length: Any, scalar: Any, together: bool
) -> list[Any]:
    """Emit the dots of every left with every right row, given as pointers to float32.

    ``together`` adds both vectors of lanes in one pass over the rows. Where many dots are computed at once, a pass
    for each vector is better: half as many sums are held, so that they fit the registers.
    """
    narrow, wide = ir.VectorType(ir.FloatType(), _WIDTH), ir.VectorType(scalar, _WIDTH)

    def number(value: int) -> Any:
        return ir.Constant(length.type, value)

    def load(row: Any, at: Any) -> Any:
        value = builder.load(builder.bitcast(builder.gep(row, [at]), narrow.as_pointer()))
        value.align = 4  # rows start anywhere
        return widened(value, wide)

    def load_one(row: Any, at: Any) -> Any:
        return widened(builder.load(builder.gep(row, [at])), scalar)

    def widened(value: Any, kind: Any) -> Any:
        return value if scalar == ir.FloatType() else builder.fpext(value, kind)

    def add_products(sums: Sequence[Any], left: Sequence[Any], right: Sequence[Any]) -> None:
        products = [builder.fmul(a, b) for a in left for b in right]
        for total, product in zip(sums, products, strict=True):
            builder.store(builder.fadd(builder.load(total), product), total)

    def fold(vector: Any) -> Any:
        for width in (8, 4, 2, 1):
            kind = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(kind, list(range(at, at + width))) for at in (0, width))
            halves = [builder.shuffle_vector(vector, vector, lanes) for lanes in (low, high)]
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def variables(values: Sequence[Any]) -> list[Any]:
        return [cgutils.alloca_once_value(builder, value) for value in values]  # type: ignore[no-untyped-call]

    zeros = [ir.Constant(wide, None)] * (len(lefts) * len(rights))
    sums = [variables(zeros) for _ in range(2)]
    blocks = builder.udiv(length, number(_LANES))
    for parts in [(0, 1)] if together else [(0,), (1,)]:
        with cgutils.for_range(builder, blocks) as loop:
            for part in parts:
                at = builder.add(builder.mul(loop.index, number(_LANES)), number(part * _WIDTH))
                add_products(sums[part], [load(row, at) for row in lefts], [load(row, at) for row in rights])
    lanes = [builder.fadd(builder.load(a), builder.load(b)) for a, b in zip(*sums, strict=True)]
    answers = variables([fold(vector) for vector in lanes])
    done = builder.mul(blocks, number(_LANES))
    with cgutils.for_range(builder, builder.sub(length, done)) as loop:
        at = builder.add(done, loop.index)
        add_products(answers, [load_one(row, at) for row in lefts], [load_one(row, at) for row in rights])
    return [builder.load(answer) for answer in answers]


def _require(kind: Any, dtype: Any, ndim: int, message: str) -> None:
    if not (
        isinstance(kind, types.Array) and kind.ndim == ndim and kind.layout == "C" and kind.dtype == dtype
    ):
        raise TypingError(f"fixed dots take {message}")


def _make_dot(result: Any, scalar: Any) -> Callable[..., Any]:
    """Build the dot of two float32 rows of equal length, summed in the type ``scalar``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right = (
            context.make_array(kind)(context, builder, arg)
            for kind, arg in zip(signature.args, args, strict=True)
        )
        length = builder.extract_value(left.shape, 0)
        return _dots(builder, [left.data], [right.data], length, scalar, together=True)[0]

    def typing(typingctx: Any, a: Any, b: Any) -> Any:
        for kind in (a, b):
            _require(kind, types.float32, 1, "contiguous float32 rows")
        return result(a, b), codegen

    return intrinsic(typing)


def _make_tile() -> Callable[..., Any]:
    """Build ``tile32``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, left, right, out = (
            context.make_array(signature.args[i])(context, builder, args[i]) for i in (0, 1, 3, 5)
        )
        length = builder.extract_value(x.shape, 1)

        def rows(index: Any, first: Any, count: int) -> list[Any]:
            places = [builder.add(first, ir.Constant(length.type, i)) for i in range(count)]
            numbers = [builder.load(builder.gep(index.data, [place])) for place in places]
            return [
                builder.gep(x.data, [builder.mul(builder.sext(number, length.type), length)])
                for number in numbers
            ]

        lefts, rights = rows(left, args[2], TILE_LEFT), rows(right, args[4], TILE_RIGHT)
        dots = _dots(builder, lefts, rights, length, ir.FloatType(), together=False)
        for i, dot in enumerate(dots):
            builder.store(dot, builder.gep(out.data, [ir.Constant(length.type, i)]))
        return context.get_dummy_value()

    def typing(typingctx: Any, x: Any, left: Any, left_at: Any, right: Any, right_at: Any, out: Any) -> Any:
        _require(x, types.float32, 2, "contiguous float32 rows")
        for kind in (left, right):
            _require(kind, types.int32, 1, "contiguous int32 row numbers")
        _require(out, types.float32, 1, "a contiguous float32 array for the answers")
        return types.void(x, left, types.intp, right, types.intp, out), codegen

    return intrinsic(typing)


# For numba code: dot32(a, b) and dot64(a, b) of two contiguous float32 rows OF EQUAL LENGTH (not checked).
# dot32 returns float32; dot64 float64, where every product is exact.
dot32 = _make_dot(types.float32, ir.FloatType())


dot64 = _make_dot(types.float64, ir.DoubleType())


# tile32(x, left, i, right, j, out) sets out[TILE_RIGHT * p + q] = dot32(x[left[i + p]], x[right[j + q]]), the same
# bits, for all p < TILE_LEFT and q < TILE_RIGHT. The two lists are int32; nothing is checked.
tile32 = _make_tile()


@njit(cache=True, nogil=True)
def aligned_rows(count: Any, dimension: Any) -> Any:
    """Room for float32 rows [count, dimension] that begins where a line of the cache does.

    A vector that lies across two lines is loaded twice: with rows elsewhere, dots take up to half as long again.
    """
    room = np.empty(count * dimension + _WIDTH, np.float32)
    first = -(room.ctypes.data // room.itemsize) % _WIDTH
    return room[first : first + count * dimension].reshape(count, dimension)


def widen_rows(rows: NDArray[np.float16], out: NDArray[np.float32]) -> None:
    """Write float16 rows as float32.

    Args:
        rows: float16 [n, D], C-contiguous.
        out: float32 [n, D], C-contiguous; every value is that of ``rows``, exactly.
    """
    if rows.dtype != np.float16 or out.dtype != np.float32 or rows.shape != out.shape:
        raise ValueError(f"{rows.dtype} rows {rows.shape} do not fit {out.dtype} {out.shape}")
    if not out.flags.c_contiguous:
        raise ValueError("the answer must be C-contiguous")  # else it would be written to a copy
    _widen_all(rows.reshape(-1).view(np.int16), out.reshape(-1))


def _bitcast(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


_float_of_bits: Callable[..., Any] = intrinsic(_bitcast)  # the float32 that 32 bits are


@njit(cache=True)
def widen(row16: Any, out: Any) -> None:
    """For numba code: float16 bits, int16 [D], to float32 [D]."""
    for d in range(row16.size):
        bits = np.int32((np.int32(row16[d]) << np.int32(13)) & _SIGN_AND_DIGITS)
        number = _float_of_bits(bits) * _SCALE
        special = _float_of_bits(np.int32(bits | _LARGEST_EXPONENT))
        out[d] = special if bits & _EXPONENT == _EXPONENT else number


@njit(cache=True, nogil=True)
def _widen_all(row16: Any, out: Any) -> None:
    widen(row16, out)


def normalise_rows(x: ArrayLike) -> NDArray[np.float32]:
    """Scale every row to unit length, so that dot products are cosines.

    Args:
        x: [n, D] features, float16 or float32 (other kinds are converted to float32). Not changed.

    Returns:
        float32 [n, D]. Zero rows stay zero.

    Raises:
        ValueError: not [n, D] of real numbers, or a row that is not finite.
    """
    rows16, rows32 = as_read(x)
    unit: NDArray[np.float32] = aligned_rows(max(len(rows16), len(rows32)), rows16.shape[1])
    refuse_wrong(unit_rows(rows16, rows32, unit))
    return unit


def refuse_wrong(row: int) -> None:
    """Refuse the row that `unit_rows` found not to be finite; -1 for none."""
    if row >= 0:
        raise ValueError(f"features: row {row} is not finite: leave out what has NaN or infinity")


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


@njit(cache=True, nogil=True)
def unit_rows(rows16: Any, rows32: Any, unit: Any) -> Any:
    """Write unit rows, from the bits of float16 rows or from float32 rows, whichever are not empty.

    Args:
        rows16, rows32: int16 and float32 [n, D], C-contiguous, one of them [0, D].
        unit: float32 [n, D], C-contiguous, for the answer.

    Returns:
        The last row that is not finite, -1 for none: the length tells, for nothing.
    """
    wrong = -1
    for i in range(unit.shape[0]):
        if not np.isfinite(_unit_row(rows16, rows32, unit, i)):
            wrong = i
    return wrong


@njit(cache=True, nogil=True)
def unit_rows_and_norms(rows16: Any, rows32: Any, unit: Any, norms: Any) -> Any:
    """Write unit rows as ``unit_rows`` does, and float64 [n], the lengths that the rows had."""
    wrong = -1
    for i in range(unit.shape[0]):
        norms[i] = _unit_row(rows16, rows32, unit, i)
        if not np.isfinite(norms[i]):
            wrong = i
    return wrong


@njit(cache=True)
def _unit_row(rows16: Any, rows32: Any, unit: Any, i: Any) -> Any:
    if rows16.shape[0]:
        widen(rows16[i], unit[i])
    else:
        for d in range(unit.shape[1]):
            unit[i, d] = rows32[i, d]
    norm = np.sqrt(dot64(unit[i], unit[i]))  # squares of float32 neither overflow nor vanish in float64
    if norm != 0:
        scale = 1 / norm
        for d in range(unit.shape[1]):
            unit[i, d] = np.float32(np.float64(unit[i, d]) * scale)
    return norm
