"""The inner loops of `vidface.scores.search.retrieval`: what of a block may be among the best, and its order.

Tested in ``tests/scores/search/test_retrieval.py``. Inner work: `search` checks what is passed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit
from numba.core import types
from numba.extending import intrinsic

from vidface.embeddings.exact import dot64

__all__: list[str] = []

_LANES = 16  # scores compared at once; LLVM splits them where the machine has narrower vectors
_AHEAD = 4  # candidates whose rows are on their way from memory while one is scored
_HALVINGS = 20  # finds the floor to a millionth of the scores' range; a lower one only keeps more


def _not_below_code(typingctx: Any, row: Any, at: Any, floor: Any) -> Any:
    """Bit i tells whether row[at + i] is not below the floor, for 16 scores of a contiguous row; so for NaN."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), _LANES)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        scores = builder.load(builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer()))
        scores.align = 4
        nothing = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(nothing, args[2], ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
        floors = builder.shuffle_vector(first, nothing, lanes)
        bits = builder.bitcast(builder.fcmp_unordered(">=", scores, floors), ir.IntType(_LANES))
        return builder.zext(bits, ir.IntType(64))

    return types.uint64(row, types.int64, types.float32), codegen


def _ones_code(typingctx: Any, bits: Any) -> Any:
    """How many bits are set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.uint64), codegen


def _lowest_bit_code(typingctx: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; there must be one."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), codegen


def _fetch_code(typingctx: Any, row: Any, at: Any) -> Any:
    """Begin to load row[at] and what shares its cache line."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(prefetch, [place, *(ir.Constant(number, value) for value in (0, 3, 1))])  # to read, soon
        return context.get_dummy_value()

    return types.none(row, types.int64), codegen


_intrinsic: Any = intrinsic  # its stub gives what it returns the wrong signature
_not_below, _ones, _lowest_bit, _fetch = map(
    _intrinsic, (_not_below_code, _ones_code, _lowest_bit_code, _fetch_code)
)


@njit(cache=True, nogil=True)
def scan(
    found: Any,
    width: int,
    first: int,
    queries: Any,
    stored: Any,
    rank: Any,
    error: float,
    depth: int,
    videos: Any,
    values: Any,
    held: Any,
    floors: Any,
) -> None:
    """Add to every query's candidates those of a block of scores that are not below its floor.

    Args:
        found: float32 [Q, W], C order, W a multiple of 16: products of the queries with videos `first`, ... of which
            the first `width` count.
        queries: float32 [Q, D].
        stored: float32 [V, D], the gallery.
        rank: int64 [V], of two equal scores the lower rank comes first.
        error: how far a product may be off.
        depth: how many candidates are wanted.
        videos: int32 or int64 [Q, C], the candidates, C > depth or V.
        values: float32 [Q, C], their products.
        held: int64 [Q], how many there are.
        floors: float32 [Q], what a product must reach to be kept.
    """
    capacity = values.shape[1]
    for q in range(len(found)):
        row = found[q]
        floor, count = floors[q], held[q]
        for start in range(0, width, _LANES):
            bits = _not_below(row, start, floor)
            while bits:
                column = start + _lowest_bit(bits)
                bits &= bits - np.uint64(1)
                if column >= width or row[column] < floor:  # the floor may have risen meanwhile
                    continue
                if count == capacity:
                    count, floor = _drop(
                        queries[q], stored, rank, error, depth, videos[q], values[q], count, floor
                    )
                    if row[column] < floor:
                        continue
                videos[q, count], values[q, count] = first + column, row[column]
                count += 1
        floors[q], held[q] = floor, count


@njit(cache=True, nogil=True)
def _drop(
    query: Any,
    stored: Any,
    rank: Any,
    error: float,
    depth: int,
    videos: Any,
    values: Any,
    count: int,
    floor: Any,
) -> Any:
    """(how many candidates stay, the new floor): what cannot be among the best `depth` any more goes."""
    floor = max(floor, _floor(values[:count], depth, error))
    kept = 0
    for c in range(count):  # no branch: half of them would be guessed wrong
        videos[kept], values[kept] = videos[c], values[c]
        kept += not values[c] < floor
    if 2 * kept > count:  # too many near ties: their exact scores tell them apart
        exact, order = _exact_order(query, stored, rank, videos[:kept])
        floor = max(floor, np.float32(exact[order[depth - 1]] - 2 * error))
        best_videos, best_values = videos[order[:depth]], values[order[:depth]]
        kept = depth
        videos[:kept], values[:kept] = best_videos, best_values
    return kept, floor


@njit(cache=True, nogil=True)
def _floor(values: Any, depth: int, error: float) -> Any:
    """A product that the best `depth` are not below, close to the lowest such: all products may be off."""
    if len(values) < depth:
        return np.float32(-np.inf)
    low, high = np.float64(values.min()), np.float64(values.max())
    for _ in range(_HALVINGS):
        middle = np.float32((low + high) / 2)
        if _count(values, middle) >= depth:
            low = np.float64(middle)
        else:
            high = np.float64(middle)
    return np.float32(low - 2 * error)


@njit(cache=True, nogil=True)
def _count(values: Any, floor: Any) -> Any:
    """How many of the values are not below the floor."""
    whole = len(values) - len(values) % _LANES
    count = 0
    for start in range(0, whole, _LANES):
        count += _ones(_not_below(values, start, floor))
    for value in values[whole:]:
        count += not value < floor
    return count


@njit(cache=True, nogil=True)
def _exact_order(query: Any, stored: Any, rank: Any, videos: Any) -> Any:
    """(float64 score of every candidate, candidates by falling score and then by rank)."""
    falling = np.empty(len(videos), np.float64)
    for c in range(len(videos)):
        ahead = stored[videos[min(c + _AHEAD, len(videos) - 1)]]
        for at in range(0, len(ahead), _LANES):
            _fetch(ahead, at)
        falling[c] = -dot64(query, stored[videos[c]])
    order = np.argsort(falling)
    for place in range(1, len(order)):
        if falling[order[place]] == falling[order[place - 1]]:
            by_rank = np.argsort(rank[videos])
            return -falling, by_rank[np.argsort(falling[by_rank], kind="mergesort")]
    return -falling, order


@njit(cache=True, nogil=True)
def rank_candidates(
    queries: Any,
    stored: Any,
    rank: Any,
    error: float,
    depth: int,
    videos: Any,
    values: Any,
    held: Any,
    scores: Any,
    index: Any,
) -> None:
    """Write the best `depth` of every query's candidates."""
    for q in range(len(queries)):
        count = held[q]
        mine = videos[q, :count]
        mine = mine[~(values[q, :count] < _floor(values[q, :count], depth, error))]
        exact, order = _exact_order(queries[q], stored, rank, mine)
        for place in range(depth):
            scores[q, place] = exact[order[place]]
            index[q, place] = mine[order[place]]
