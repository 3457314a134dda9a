"""The pass of `vidface.scores.pairs.blocks` on a torch device, with half precision as the filter. Not yet run on a GPU.

Rows rounded to float16 are multiplied on tensor cores: that only sorts pairs out, as the product by BLAS does, with an
error that is bounded below. What is that close to a bracket, or in it, gets its exact score, the cosine in float64
(`vidface.embeddings.exact`), so the answer is the CPU's to the last bit. Tested in
``tests/scores/pairs/test_pair_scan.py`` with the CPU as the device. Inner work, on `Pairs` of checked rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from vidface.arrays import LONGEST
from vidface.embeddings.exact import product_error
from vidface.scores.pairs.blocks import Floats, Found, Pairs, blocks_of, checked_float32, outwards, tally

BLOCK = 8192  # rows on a side: 128 MB of half-precision products
PIECE = 2**15  # pairs to score at a time


def half_error(dimension: int, longest: float, left_gap: float, right_gap: float) -> float:
    """The most that a product of rows rounded to float16, summed up in float32, can differ from the rows' score.

    Rounding the rows: a'b' - ab = (a' - a)b' + a(b' - b), at most the gaps times the lengths (Cauchy-Schwarz).
    Summing up: products of float16 are exact in float32; a tensor core adds several at once, each cut off at the last
    bit of the largest, so n of them lose at most n times 2**-23 of the sum of absolute products, here twice that. The
    rest is for scores in float32. A gap is the largest length of what rounding took from a row of that side.
    """
    gap = max(left_gap, right_gap)
    rounding = left_gap * (longest + gap) + right_gap * longest
    return rounding + dimension * 2.0**-22 * (longest + gap) ** 2 + product_error(dimension, longest)


def scan_on_device(pairs: Pairs, low: Floats, high: Floats, *, device: str, block: int = BLOCK) -> Found:
    """As `vidface.scores.pairs.blocks.scan_blocks`, equal to it in every number.

    All rows have to fit into the device's memory, distractors come in blocks.
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
        zones = outwards(low, high, half_error(rows.shape[1], LONGEST, gap, right_gap))
        # Products were rounded to float16 in the end. Rounding keeps order, so ends that are rounded too lose nothing.
        ends = [zone.astype(np.float16).astype(np.float64).tolist() for zone in zones]
        column = torch.arange(side, side + len(right), device=device)
        for top in tops:
            left = rows[top : top + block]
            products = _multiply(halves[top : top + block], right_halves)
            if not far and until[top : top + block].max() > side:
                products[column < until[top : top + block, None]] = torch.nan
            near = (products >= ends[0][0]).nonzero()
            for row, column_ in (part.T for part in near.split(PIECE)):
                values = products[row, column_].float()
                for b, (bottom, roof) in enumerate(zip(*ends, strict=True)):
                    counts[b, 0] += int((values > roof).sum())
                    chosen = (values >= bottom) & (values <= roof)
                    scores = _scores(left[row[chosen]], right[column_[chosen]]).cpu().numpy()
                    inside.append(tally(scores, low[b], high[b], counts[b]))
    return Found(counts, np.concatenate(inside))


def best_on_device(
    rows: Floats, distractors: Any, error: float, *, device: str, block: int = BLOCK
) -> Floats:
    """float32 [V], the score of the best distractor of every row: the CPU's in every number.

    ``error`` is the most that a product in float32 can differ from the score. All rows have to fit into the device's
    memory, distractors come in blocks.
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
                scores = _scores(left[top + part[:, 0]], right[part[:, 1]])
                mine.scatter_reduce_(0, part[:, 0], scores, "amax")
    return best.cpu().numpy()


def _halve(rows: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Rows in float16, and the largest length of what that took from one, or a little more."""
    halves = rows.half()
    gaps = torch.linalg.vector_norm(rows - halves.float(), dim=1)  # the difference is exact
    return halves, float(gaps.max()) * 1.001 if len(rows) else 0.0


def _multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """float16 [rows on the left, rows on the right], summed up in float32."""
    if left.device.type == "cuda":
        return left @ right.T
    return (left.float() @ right.float().T).half()


def _scores(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The score of row i on the left with row i on the right: sums in float64 are exact in any order."""
    return (left.double() * right.double()).sum(dim=1).float()
