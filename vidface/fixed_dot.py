"""Dot products whose last bit never depends on where they are computed.

BLAS and fast-math loops choose the order of their additions by the shape at hand, so the same two rows can
give two results that differ in the last bit; then a threshold cuts one run another way than the next, and
equal rows stop being tied. Here the order is written down: 32 lanes, each the sum of every 32nd product in
order, no fused multiply-add; the lanes are folded in halves; the remaining products are added one by one. So
``dot(a, b) == dot(b, a)`` bit for bit, at every call site and on every machine.

Numba cannot be told this order in Python without losing the vector instructions (three to nine times slower),
so the loop is given to LLVM directly. Tested in ``tests/test_fixed_dot.py`` against the same order in numpy,
bit for bit. Callers cached by numba are not rebuilt when only this file changes: after an edit, remove
``__pycache__``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

__all__ = ["dot32", "dot64"]

_WIDTH = 16  # lanes in one vector; LLVM splits it where the machine has narrower ones
_LANES = 2 * _WIDTH  # two vectors, so that one addition need not wait for the last


def _make_dot(result: Any, scalar: Any) -> Callable[..., Any]:
    """Build the dot of two float32 rows of equal length, summed in the type ``scalar``."""
    narrow, wide = ir.VectorType(ir.FloatType(), _WIDTH), ir.VectorType(scalar, _WIDTH)

    def multiply(builder: Any, left: Any, right: Any, kind: Any) -> Any:
        if scalar != ir.FloatType():
            left, right = builder.fpext(left, kind), builder.fpext(right, kind)
        return builder.fmul(left, right)

    def fold(builder: Any, vector: Any) -> Any:
        for width in (8, 4, 2, 1):
            kind = ir.VectorType(ir.IntType(32), width)
            low, high = (ir.Constant(kind, list(range(at, at + width))) for at in (0, width))
            halves = [builder.shuffle_vector(vector, vector, lanes) for lanes in (low, high)]
            vector = builder.fadd(*halves)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right = (
            context.make_array(kind)(context, builder, arg)
            for kind, arg in zip(signature.args, args, strict=True)
        )
        length = builder.extract_value(left.shape, 0)

        def number(value: int) -> Any:
            return ir.Constant(length.type, value)

        def load(array: Any, at: Any) -> Any:
            value = builder.load(builder.bitcast(builder.gep(array.data, [at]), narrow.as_pointer()))
            value.align = 4  # rows start anywhere
            return value

        def load_one(array: Any, at: Any) -> Any:
            return builder.load(builder.gep(array.data, [at]))

        zero = ir.Constant(wide, None)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]  # type: ignore[no-untyped-call]
        blocks = builder.udiv(length, number(_LANES))
        with cgutils.for_range(builder, blocks) as loop:
            for part, total in enumerate(sums):
                at = builder.add(builder.mul(loop.index, number(_LANES)), number(part * _WIDTH))
                products = multiply(builder, load(left, at), load(right, at), wide)
                builder.store(builder.fadd(builder.load(total), products), total)
        folded = fold(builder, builder.fadd(builder.load(sums[0]), builder.load(sums[1])))
        answer = cgutils.alloca_once_value(builder, folded)  # type: ignore[no-untyped-call]
        done = builder.mul(blocks, number(_LANES))
        with cgutils.for_range(builder, builder.sub(length, done)) as loop:
            at = builder.add(done, loop.index)
            one = multiply(builder, load_one(left, at), load_one(right, at), scalar)
            builder.store(builder.fadd(builder.load(answer), one), answer)
        return builder.load(answer)

    def typing(typingctx: Any, a: Any, b: Any) -> Any:
        for kind in (a, b):
            if not (isinstance(kind, types.Array) and kind.ndim == 1 and kind.layout == "C"):
                raise TypingError("fixed dots take contiguous rows")
            if kind.dtype != types.float32:
                raise TypingError("fixed dots take float32 rows")
        return result(a, b), codegen

    return intrinsic(typing)


# For numba code: dot32(a, b) and dot64(a, b) of two contiguous float32 rows OF EQUAL LENGTH (not checked).
# dot32 returns float32; dot64 float64, where every product is exact.
dot32 = _make_dot(types.float32, ir.FloatType())
dot64 = _make_dot(types.float64, ir.DoubleType())
