"""The pass of `vidface.scores.pairs.blocks` on a torch device, with half precision as the filter. Not yet run on a GPU.

Rows rounded to float16 are multiplied on tensor cores: that only sorts pairs out, as the product by BLAS does, with an
error that is bounded below. What is that close to a bracket, or in it, gets its score in float32, in the order of
`vidface.embeddings.exact.dot32` written as single torch operations, so the answer is the CPU's to the last bit. Tested
in ``tests/scores/pairs/test_pair_scan_torch.py`` with the CPU as the device. Inner work, on `Pairs` of checked rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vidface.embeddings.exact import product_error
from vidface.scores.pairs.blocks import Found, Pairs, blocks_of, checked_float32, outwards

__all__: list[str] = []

BLOCK = 8192  # rows on a side: 128 MB of half-precision products
RUN = 16  # rows whose products are looked at as one: most hold nothing
PIECE = 2**16  # runs, and pairs to score, at a time


def half_error(dimension: int, longest: float, left_gap: float, right_gap: float) -> float:
    """The most that a product of rows rounded to float16, summed up in float32, can differ from `dot32` of the rows.

    Rounding the rows: a'b' - ab = (a' - a)b' + a(b' - b), at most the gaps times the lengths (Cauchy-Schwarz).
    Summing up: products of float16 are exact in float32; a tensor core adds several at once, each cut off at the last
    bit of the largest, so n of them lose at most n times 2**-23 of the sum of absolute products, here twice that. The
    rest is `dot32`'s own error, with that of another float32 order.

    Args:
        dimension: numbers a row.
        longest: the length of the longest row.
        left_gap: the largest length of what rounding took from a row on the left.
        right_gap: the same on the right.
    """
    gap = max(left_gap, right_gap)
    rounding = left_gap * (longest + gap) + right_gap * longest
    return rounding + dimension * 2.0**-22 * (longest + gap) ** 2 + product_error(dimension, longest)


def scan_on_device(
    pairs: Pairs, low: NDArray[np.float32], high: NDArray[np.float32], *, device: str, block: int = BLOCK
) -> Found:
    """As `vidface.scores.pairs.blocks.scan_blocks`, equal to it in every number; not yet run on a GPU.

    Args:
        pairs: what is compared; all rows have to fit into the device's memory, distractors come in blocks.
        low: float32 [B], lower ends of the brackets, ascending.
        high: float32 [B], upper ends; each at least its ``low`` and below the next one's.
        device: as torch names it.
        block: rows on a side of a block.

    Raises:
        ValueError: a distractor's row is not of unit length.
    """
    # Otherwise cuBLAS may add up parts of a sum in half precision, and the bound would not hold.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    rows = torch.from_numpy(pairs.rows).to(device)
    halves, gap = _halve(rows)
    until = torch.from_numpy(pairs.until).to(device)
    counts, inside = np.zeros((len(low), 4), np.int64), [np.empty(0, np.float32)]
    for far, side, tops in blocks_of(pairs, block):
        right, right_halves, right_gap = rows[side : side + block], halves[side : side + block], gap
        if far:
            right = torch.from_numpy(checked_float32(pairs.distractors, side, side + block)).to(device)
            right_halves, right_gap = _halve(right)
        zones = outwards(low, high, half_error(rows.shape[1], pairs.longest, gap, right_gap))
        for top in tops:
            left = rows[top : top + block]
            first = torch.zeros_like(until[top : top + block]) if far else until[top : top + block] - side
            products = _multiply(halves[top : top + block], right_halves)
            found = _look(products, left, right, first, low, high, zones)
            counts += found.counts
            inside.append(found.inside)
    return Found(counts, np.concatenate(inside))


def product_on_device(
    left: NDArray[np.float32], right: NDArray[np.float32], *, device: str
) -> NDArray[np.float32]:
    """All products of two matrices of rows, in float32; not yet run on a GPU."""
    sides = (torch.from_numpy(side).to(device) for side in (left, right))
    return torch.mm(next(sides), next(sides).T).cpu().numpy()


def best_on_device(
    rows: NDArray[np.float32], distractors: Any, error: float, *, device: str, block: int = BLOCK
) -> NDArray[np.float32]:
    """As `vidface.scores.search.best.best_distractor`, equal to it in every number; not yet run on a GPU.

    Args:
        rows: float32 [V, D]; they have to fit into the device's memory, distractors come in blocks.
        distractors: [M, D], float16 or float32, unit or zero rows, M > 0.
        error: the most that a product in float32 can differ from `dot32`.
        device: as torch names it.
        block: rows on a side of a block.

    Raises:
        ValueError: a distractor's row is not of unit length.
    """
    torch.backends.cuda.matmul.allow_tf32 = False  # or the bound would not hold
    left = torch.from_numpy(rows).to(device)
    best = torch.full((len(left),), -torch.inf, device=device)
    for side in range(0, len(distractors), block):
        right = torch.from_numpy(checked_float32(distractors, side, side + block)).to(device)
        for top in range(0, len(left), block):
            mine = best[top : top + block]
            products = torch.mm(left[top : top + block], right.T)
            floor = torch.maximum(products.amax(dim=1).double() - 2 * error, mine.double() - error).float()
            floor = torch.nextafter(floor, torch.full_like(floor, -torch.inf))  # rounding may have raised it
            for part in (products >= floor[:, None]).nonzero().split(PIECE):  # type: ignore[no-untyped-call]
                scores = _fixed_dots(left[top + part[:, 0]], right[part[:, 1]])
                mine.scatter_reduce_(0, part[:, 0], scores, "amax")
    return best.cpu().numpy()


def _halve(rows: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Rows in float16, and the largest length of what that took from one, or a little more."""
    halves = rows.half()
    gaps = torch.linalg.vector_norm(rows - halves.float(), dim=1)  # the difference is exact
    return halves, float(gaps.max()) * 1.001 if len(rows) else 0.0


def _multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """float16 [rows on the left, made a multiple of RUN with zeros; rows on the right], summed up in float32."""
    left = torch.nn.functional.pad(left, (0, 0, 0, -len(left) % RUN))
    if left.device.type == "cuda":
        return left @ right.T
    return (left.float() @ right.float().T).half()


def _look(
    products: torch.Tensor,
    left: torch.Tensor,
    right: torch.Tensor,
    first: torch.Tensor,
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    zones: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> Found:
    """One block; row r has impostors from column ``first[r]`` on."""
    # Products were rounded to float16 in the end. Rounding keeps order, so ends that are rounded too lose nothing.
    bottoms, roofs = (zone.astype(np.float16).astype(np.float64).tolist() for zone in zones)
    counts, inside = np.zeros((len(low), 4), np.int64), [np.empty(0, np.float32)]
    runs = products.view(-1, RUN, products.shape[1])
    hits = (runs.amax(dim=1) >= bottoms[0]).nonzero()
    for part in hits.split(PIECE):
        values = runs[part[:, 0], :, part[:, 1]]
        run, row = (values >= bottoms[0]).nonzero(as_tuple=True)
        value, column, row = values[run, row].float(), part[run, 1], part[run, 0] * RUN + row
        real = row < len(left)
        real &= column >= first[row.clamp(max=len(left) - 1)]
        value, column, row = value[real], column[real], row[real]
        ends = list(zip(bottoms, roofs, strict=True))
        near = torch.stack([(value >= bottom) & (value <= roof) for bottom, roof in ends])
        scored = near.any(dim=0)
        scores = torch.cat(
            [
                _fixed_dots(left[rows], right[columns])
                for rows, columns in zip(row[scored].split(PIECE), column[scored].split(PIECE), strict=True)
            ]
        )
        for b, (_, roof) in enumerate(ends):
            score = scores[near[b, scored]].cpu().numpy()
            between = (score > low[b]) & (score < high[b])
            counts[b, 0] += int((value > roof).sum()) + np.count_nonzero(score > high[b])
            counts[b, 1] += np.count_nonzero(score == high[b])
            counts[b, 2] += np.count_nonzero(between)
            counts[b, 3] += 0 if low[b] == high[b] else np.count_nonzero(score == low[b])
            inside.append(score[between])
    return Found(counts, np.concatenate(inside))


def _fixed_dots(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`dot32` of row i on the left with row i on the right, to the last bit: one rounded operation after another."""
    products = left * right
    whole = products.shape[1] // 32 * 32
    lanes = products.new_zeros(len(products), 32)
    for at in range(0, whole, 32):
        lanes = lanes + products[:, at : at + 32]
    for width in (16, 8, 4, 2, 1):
        lanes = lanes[:, :width] + lanes[:, width:]
    total = lanes[:, 0]
    for at in range(whole, products.shape[1]):
        total = total + products[:, at]
    return total
