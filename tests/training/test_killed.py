"""A run that is killed, wherever, and run again ends in the bytes of one that was not."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_faces import FRAGILE, contents, place_of, write_people, write_recipe
from forked import Forker
from PIL import Image


@pytest.fixture(scope="module")
def trained(
    forker: Forker, people: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[dict[str, Any], int]]:
    """Trains FRAGILE with some fields; gives what it wrote, and how often it was killed on the way there."""
    root = tmp_path_factory.mktemp("killed")

    def run(*, die_at: int | None = None, ranks: int = 1, **fields: Any) -> tuple[dict[str, Any], int]:
        output = f"out-{len(list(root.iterdir()))}"
        recipe = write_recipe(root / f"{output}.toml", people, FRAGILE, output=output, name="same", **fields)
        killed = -1
        while killed < 60:
            killed += 1
            ended = forker.run("train", recipe, ranks=ranks, die_at=die_at)
            if ended[0].code != -signal.SIGKILL:
                break
        assert [rank.code for rank in ended] == [0] * ranks, ended
        assert all(rank.err == "" for rank in ended)
        left = [path.name for path in (root / output).rglob(".*")]
        assert left == []
        return contents(root / output), killed

    return run


@pytest.fixture(scope="module")
def whole(trained: Callable[..., Any]) -> dict[str, Any]:
    found, _ = trained()
    assert {"1-first/last_checkpoint.safetensors", "2-second/model.safetensors"} <= set(found)
    assert len(found["2-second/metrics.jsonl"]) == 4  # of each epoch the last batch, and validation
    return found


@pytest.mark.parametrize(
    ("fields", "die_at", "least"),
    [
        ({"checkpoint_steps": 1}, 17, 6),
        # Workers hold no copy of its lock, or the next run would be refused until they have noticed.
        ({"checkpoint_steps": 2, "workers": 2}, 40, 2),
        pytest.param({"checkpoint_steps": 3}, 21, 3, marks=pytest.mark.long),
        pytest.param({}, 23, 2, marks=pytest.mark.long),
    ],
    ids=["at every batch", "with workers", "between checkpoints", "without checkpoints"],
)
def test_killed_within_epochs(
    trained: Callable[..., Any], whole: dict[str, Any], fields: dict[str, int], die_at: int, least: int
) -> None:
    found, killed = trained(die_at=die_at, **fields)
    assert killed >= least
    assert found == whole


def test_two_processes_killed(trained: Callable[..., Any], whole: dict[str, Any]) -> None:
    together, killed = trained(ranks=2)
    assert killed == 0
    assert set(together) == set(whole)
    again, killed = trained(ranks=2, checkpoint_steps=2, die_at=41)
    assert killed >= 1
    assert again == together


def test_faults_of_all_processes_outlive_a_kill(forker: Forker, tmp_path: Path) -> None:
    """Each meets its own: those before a checkpoint are not met again."""
    people = write_people(tmp_path / "people", [5] * 40)
    for folder in people.iterdir():
        if place_of(folder.name) >= 0.5:
            Image.new("RGB", (9, 9)).save(folder / "2.png")
    stages = '[[stage]]\nname = "first"\nepochs = 1\nbatch_size = 20\n'
    faults = []
    for die_at in (None, 16):
        output = "whole" if die_at is None else "killed"
        recipe = write_recipe(tmp_path / f"{output}.toml", people, stages, output=output, checkpoint_steps=1)
        codes = [forker.run("train", recipe, ranks=2, die_at=die_at)[0].code]
        while codes[-1] == -signal.SIGKILL:
            codes.append(forker.run("train", recipe, ranks=2, die_at=die_at)[0].code)
        assert codes[-1] == 1 and (len(codes) > 1) == (die_at is not None)
        faults.append(json.loads((tmp_path / output / "1-first" / "stage.json").read_text())["faults"])
    assert 10 < len(faults[0]) <= 19
    assert faults[1] == faults[0]
