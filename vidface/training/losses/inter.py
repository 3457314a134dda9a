"""Equation 8: the largest cosine of a class weight with another one."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from vidface.training.losses.precision import full_precision
from vidface.training.losses.shard import Shard, all_sum, class_count


@full_precision
def inter(weights: Tensor, *, block: int = 4096, shard: Shard | None = None) -> Tensor:
    """Compute the mean over all classes of the largest cosine to another class's weight; 0 for a single class.

    The nearest classes are found without a graph, ``block`` x ``block`` cosines at a time. The gradient goes
    through the chosen pairs alone, on both sides, which is the true gradient of a maximum. ``weights`` is [C, D],
    any length; of a sharded classifier, this process's own classes: all are brought together here, for the search
    is among all.
    """
    unit = functional.normalize(weights, dim=1)
    first, total, everyone = 0, class_count(unit, shard), unit
    if shard is not None:
        first = shard.first
        # Each process adds its rows to zeros: a gathering that knows no equal sizes, and has its gradient.
        everyone = all_sum(functional.pad(unit, (0, 0, first, total - first - len(unit))), shard)
    if total < 2:
        return unit.sum() * 0
    nearest = _nearest(unit.detach(), everyone.detach(), first, block)
    return all_sum((unit * everyone[nearest]).sum(), shard) / total


def _nearest(unit: Tensor, everyone: Tensor, first: int, block: int) -> Tensor:
    """int64 [C_local]: for each row of ``unit``, which is row ``first + i`` of ``everyone``, the nearest other row."""
    nearest = torch.zeros(len(unit), dtype=torch.int64, device=unit.device)
    for top in range(0, len(unit), block):
        rows = unit[top : top + block]
        best = rows.new_full((len(rows),), -math.inf)
        for left in range(0, len(everyone), block):
            similar = rows @ everyone[left : left + block].T
            similar.diagonal(offset=first + top - left).fill_(-math.inf)  # a class and itself
            value, index = similar.max(dim=1)
            better = value > best
            best = torch.where(better, value, best)
            nearest[top : top + block] = torch.where(better, index + left, nearest[top : top + block])
    return nearest
