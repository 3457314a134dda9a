"""The classifier's classes shared out among processes.

Every process holds the embeddings of ALL samples of the global batch and the weights of its OWN classes, so its cosines
are [N, C_local]. Sums and maxima over classes go over the processes, and every process computes the same loss.

Gradients: every process backpropagates its own copy of that one loss, and the backward pass adds up what the
copies ask for. With W processes the gradient is therefore W times the true one, for the class weights as they
are and for the embeddings once their copies' gradients are summed over the processes. The training loop divides
by W.

``torch.distributed.nn.functional`` had these collectives; it is deprecated, so the one that is needed stands here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """Which classes this process holds: its own are ``first``, ``first + 1`` ... without a gap.

    The shards of a group cover all classes, each once; their sizes may differ. ``group`` is the ``torch.distributed``
    process group; None is the default group.
    """

    first: int
    group: Any = None


class _Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum over processes of the gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:
        ctx.group = group
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        total = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None


def all_sum(value: Tensor, shard: Shard | None) -> Tensor:
    """Sum ``value`` (same shape everywhere) over the processes, differentiably; without a shard, ``value``."""
    if shard is None:
        return value
    total: Tensor = _Sum.apply(value, shard.group)  # type: ignore[no-untyped-call]
    return total


def all_max(value: Tensor, shard: Shard | None) -> Tensor:
    """Take the element-wise largest ``value`` over the processes, without a gradient."""
    largest = value.detach()
    if shard is not None:
        largest = largest.clone()
        dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=shard.group)
    return largest


def class_count(local: Tensor, shard: Shard | None) -> int:
    """Count the classes on all processes; ``local`` [C_local, ...] holds this one's."""
    if shard is None:
        return len(local)
    end = torch.tensor(shard.first + len(local), device=local.device)
    return int(all_max(end, shard))


def own_column(labels: Tensor, columns: int, shard: Shard | None) -> tuple[Tensor, Tensor | None]:
    """Find the samples' own classes among this process's ``columns`` (at least one); ``labels`` int64 [N] are global.

    Returns:
        int64 [N, 1], the column of each sample's own class, and bool [N, 1], whether it is here at all; where it
        is not, the column is any valid one. None in place of the second: all are here.
    """
    if shard is None:
        return labels[:, None], None
    column = labels[:, None] - shard.first
    here = (column >= 0) & (column < columns)
    return column.clamp(0, columns - 1), here
