"""Several GPUs: one process each, started by torchrun; without it everything here is a matter of one.

The network is replicated (DistributedDataParallel); the classes of the classifier are shared out, since 93,431 of them
are more than the network itself. Tested with two processes on a CPU; never run on several GPUs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from vidface.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """One process among all that train together; rank 0 validates, writes and speaks."""

    rank: int
    size: int
    device: torch.device


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that torchrun has started; alone without it. ``device`` is auto, cpu or cuda.

    Raises:
        UsageError: cuda where torch has none.
    """
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise UsageError(f"no GPU for torch {torch.__version__}: say device = 'cpu' in the recipe")
    on_gpu = cuda and device != "cpu"
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    place = torch.device(f"cuda:{local}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(place)
    if size == 1:
        yield World(0, 1, place)
        return
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), place)
    finally:
        dist.destroy_process_group()


def shares(count: int, size: int) -> list[tuple[int, int]]:
    """[first, last) of every process, as even as can be, the larger shares first."""
    edges = [0]
    for rank in range(size):
        edges.append(edges[-1] + count // size + (rank < count % size))
    return list(pairwise(edges))


def broadcast(value: T, world: World, by: int = 0) -> T:
    """What one rank says, on every rank; values that JSON holds."""
    if world.size == 1:
        return value
    text = json.dumps(value).encode() if world.rank == by else b""
    length = torch.tensor([len(text)], device=world.device)
    dist.broadcast(length, src=by)
    letters = torch.zeros(int(length), dtype=torch.uint8, device=world.device)
    if world.rank == by:
        letters.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
    dist.broadcast(letters, src=by)
    heard: T = json.loads(bytes(letters.tolist()))
    return heard


def gathered_rows(rows: Tensor, count: int, world: World) -> Tensor:
    """All ``count`` rows of a tensor that is shared out by `shares`, on every rank; on the CPU."""
    if world.size == 1:
        return rows.detach().cpu()
    parts = shares(count, world.size)
    longest = max(last - first for first, last in parts)
    padded = torch.zeros((longest, *rows.shape[1:]), dtype=rows.dtype, device=rows.device)
    padded[: len(rows)] = rows.detach()
    received = [torch.empty_like(padded) for _ in parts]
    dist.all_gather(received, padded)
    return torch.cat(
        [part[: last - first].cpu() for part, (first, last) in zip(received, parts, strict=True)]
    )
