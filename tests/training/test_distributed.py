"""Two processes on a CPU compute what one does; a layer without batch normalisation makes that comparable."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from drawn_faces import write_recipe
from forked import Forker
from safetensors.torch import load_file

from vidface.errors import UsageError
from vidface.training.data import Batches
from vidface.training.datasets.open import open_folder
from vidface.training.distributed import World, broadcast, gathered_rows, joined, shares
from vidface.training.loop import Setting, _batches
from vidface.training.recipe import read_training_recipe

ALL_LOSSES = """
[[stage]]
name = "all"
epochs = 2
batch_size = 20
images_per_identity = 4
learning_rate = 0.02
clip_norm = CLIP
ema = 0.5
augmentation = { flip = 0.0 }
loss = { classification = "support_vector", scale = 8.0, m2 = 0.2, m3 = 0.1, intra = 0.5, inter = 0.5, \
class_balanced = 0.9, triplet = 1.0, triplet_margin = 0.5 }
"""


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_two_processes_equal_one(forker: Forker, people: Path, tmp_path: Path, clip: float) -> None:
    stages = ALL_LOSSES.replace("CLIP", str(clip))
    tensors, lines = [], []
    for ranks in (1, 2):
        recipe = write_recipe(tmp_path / f"{ranks}.toml", people, stages, output=str(ranks), device="cpu")
        ended = forker.run("train", recipe, ranks=ranks, without_batch_norm=True)
        assert [rank.code for rank in ended] == [0] * ranks, ended
        folder = tmp_path / str(ranks) / "1-all"
        tensors.append(load_file(folder / "last_checkpoint.safetensors"))
        lines.append([json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()])
    assert set(tensors[0]) == set(tensors[1])
    assert {"classifier", "optimiser.0.momentum_buffer", "network.1.weight", "average.1.bias"} <= set(
        tensors[0]
    )
    for name, expected in tensors[0].items():
        torch.testing.assert_close(
            tensors[1][name], expected, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )
    for one, two in zip(*lines, strict=True):
        for part in ("loss", "support_vector", "class_balanced", "intra", "inter", "triplet"):
            assert two[part] == pytest.approx(one[part], rel=1e-4)


def test_ranks_share_out_every_batch_and_change_their_images_differently(
    people: Path, tmp_path: Path
) -> None:
    stages = ALL_LOSSES.replace("CLIP", "0.0").replace("flip = 0.0", "flip = 0.5")
    recipe = read_training_recipe(write_recipe(tmp_path / "r.toml", people, stages))
    images = open_folder(people)

    def part(rank: int, size: int) -> Batches:
        return _batches(Setting(recipe, images, {}, World(rank, size, torch.device("cpu"))), 0, 1)

    whole, halves = part(0, 1), [part(rank, 2) for rank in range(2)]
    assert np.array_equal(np.concatenate([half.batches for half in halves], axis=1), whole.batches)
    assert halves[0].seed != halves[1].seed


OVERFLOW = """
import torch
from vidface.training.distributed import joined
from vidface.training.loop import _scaler
from vidface.training.recipe import Stage

with joined("cpu") as world:
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    scaler = _scaler(Stage(name="half", epochs=1, precision="float16"), world)
    for bad in (True, False):
        optimiser.zero_grad()
        scaler.scale((weight * 2).sum()).backward()
        if bad and world.rank == 1:
            weight.grad[0] = torch.inf
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()
        with open(f"{world.rank}.txt", "a") as out:
            print(weight.tolist(), scaler.get_scale(), file=out)
"""


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")
def test_an_overflow_on_one_process_skips_the_step_on_all(tmp_path: Path) -> None:
    (tmp_path / "overflow.py").write_text(OVERFLOW)
    command = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "overflow.py"]
    ran = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    moved = torch.full((3,), 0.8).tolist()
    for rank in range(2):
        found = (tmp_path / f"{rank}.txt").read_text().splitlines()
        assert found == ["[1.0, 1.0, 1.0] 32768.0", f"{moved} 32768.0"]


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")
def test_a_batch_that_cannot_be_shared_out(forker: Forker, people: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "three.toml", people, ALL_LOSSES.replace("CLIP", "0.0"))
    ended = forker.run("train", recipe, ranks=3)
    assert [rank.code for rank in ended] == [2, 2, 2]
    assert ended[0].err == "error: stage all: batch_size 20 is no multiple of 3 processes\n"


@pytest.mark.parametrize("size", range(1, 6))
def test_shares_are_even_and_cover_all(size: int) -> None:
    for count in range(12):
        parts = shares(count, size)
        assert [place for first, last in parts for place in range(first, last)] == list(range(count))
        sizes = [last - first for first, last in parts]
        assert len(sizes) == size and max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_alone() -> None:
    with joined("cpu") as world:
        assert world == World(0, 1, torch.device("cpu"))
        value = {"a": [0.1, None]}
        assert broadcast(value, world) is value
        rows = torch.rand(3, 2)
        assert torch.equal(gathered_rows(rows, 3, world), rows)


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="no GPU"), joined("cuda"):
        pass
    with joined("auto") as world:
        assert world.device.type == "cpu"
