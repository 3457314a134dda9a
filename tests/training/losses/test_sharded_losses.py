"""The classes shared out among processes give the value and the gradients of a single process."""

from __future__ import annotations

from pathlib import Path

import naive_losses as naive
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from vidface.training.losses.objective import Objective, objective
from vidface.training.losses.shard import Shard

MARGINS = {"m1": 1.1, "m2": 0.3, "m3": 0.2}
SETTINGS = {
    "arcface": Objective(),
    "combined": Objective(classification="combined", **MARGINS),
    "straight": Objective(classification="combined", **MARGINS, straight_through=True),
    "guided": Objective(classification="support_vector", **MARGINS),
    "intra": Objective(weight=0.0, intra=1.0),
    "inter": Objective(weight=0.0, inter=1.0),
    "triplet": Objective(weight=0.0, triplet=1.0, triplet_margin=0.6),
    "all": Objective(
        classification="support_vector",
        scale=16.0,
        **MARGINS,
        intra=0.3,
        inter=0.2,
        class_balanced=0.9,
        triplet=0.5,
        triplet_margin=0.6,
    ),
}
# Uneven, one process without a class, a single class at all, classes without samples on the last process.
SIZES = {2: [(4, 3), (1, 6), (1, 0)], 3: [(2, 4, 1), (3, 0, 4), (0, 1, 0)]}
TYPES = {"float64": torch.float64, "float32": torch.float32}


def made(sizes: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    embeddings, weights, labels = naive.problem(samples=12, classes=sum(sizes), seed=5, dtype=dtype)
    return embeddings, weights, labels, 3 * torch.bincount(labels, minlength=sum(sizes))


def work(rank: int, world: int, folder: str) -> None:
    """One process: everything that it computes goes to ``rank.npz``."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    found = {}
    for sizes in SIZES[world]:
        first = sum(sizes[:rank])
        for type_, dtype in TYPES.items():
            for name, settings in SETTINGS.items():
                embeddings, weights, labels, counts = made(sizes, dtype)
                mine = weights.detach()[first : first + sizes[rank]].clone().requires_grad_()
                # Once with the default group and once with a named one.
                group = dist.group.WORLD if name == "all" else None
                total, parts = objective(embeddings, mine, labels, counts, settings, Shard(first, group))
                total.backward()
                for tensor in (embeddings, mine):
                    if tensor.grad is None:
                        tensor.grad = torch.zeros_like(tensor)
                dist.all_reduce(
                    embeddings.grad
                )  # the copies' gradients, as the gathering of embeddings does it
                key = f"{sizes}/{type_}/{name}"
                found[f"{key}/total"] = total.detach().numpy()
                found[f"{key}/parts"] = torch.stack(list(parts.values())).numpy()
                found[f"{key}/embeddings"] = embeddings.grad.numpy() / world
                found[f"{key}/weights"] = mine.grad.numpy() / world
    np.savez(f"{folder}/{rank}.npz", **found)
    dist.destroy_process_group()


@pytest.fixture(scope="module", params=[2, 3])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, object]]:
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(work, args=(request.param, str(folder)), nprocs=request.param)
    found = []
    for rank in range(request.param):
        with np.load(Path(folder) / f"{rank}.npz") as file:
            found.append(dict(file))
    return found


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(("type_", "tolerance"), [("float64", 1e-11), ("float32", 1e-4)])
def test_shards_equal_one_process(
    processes: list[dict[str, np.ndarray]], name: str, type_: str, tolerance: float
) -> None:
    for sizes in SIZES[len(processes)]:
        embeddings, weights, labels, counts = made(sizes, TYPES[type_])
        total, parts = objective(embeddings, weights, labels, counts, SETTINGS[name])
        total.backward()
        key = f"{sizes}/{type_}/{name}"
        for one in processes:
            assert one[f"{key}/total"] == processes[0][f"{key}/total"]  # every process the same bits
            np.testing.assert_allclose(one[f"{key}/total"], total.item(), rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(
                one[f"{key}/parts"], torch.stack(list(parts.values())), rtol=tolerance, atol=tolerance
            )
            expected = embeddings.grad if embeddings.grad is not None else torch.zeros_like(embeddings)
            np.testing.assert_allclose(
                one[f"{key}/embeddings"], expected, rtol=10 * tolerance, atol=tolerance
            )
        expected = weights.grad if weights.grad is not None else torch.zeros_like(weights)
        together = np.concatenate([one[f"{key}/weights"] for one in processes])
        np.testing.assert_allclose(together, expected, rtol=10 * tolerance, atol=tolerance)
        if sum(sizes) > 1 and name != "triplet":
            assert np.abs(together).max() > 0
