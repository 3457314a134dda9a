"""``vidface train`` as a person or a script meets it, alone and by torchrun."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from command_line import MODULE, vidface
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from drawn_faces import without_progress, write_people, write_recipe

STAGES = """
[[stage]]
name = "arcface"
epochs = 2
batch_size = 20
learning_rate = 0.05
[[stage]]
name = "pk4"
epochs = 1
images_per_identity = 4
loss = { triplet = 1.0 }
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("people") / "drawn", [5] * 40)


def test_from_a_recipe_to_a_model(tmp_path: Path, people: Path) -> None:
    recipe = write_recipe(tmp_path / "small.toml", people, STAGES)
    (people / "p00" / "notes.txt").write_text("not an image")
    ran = vidface("train", recipe, code=0)
    assert without_progress(ran.err) == ""
    lines = ran.out.splitlines()
    assert lines[0] == f"{people}: left out: 1 files that are not .jpg, .jpeg or .png, first 'p00/notes.txt'"
    assert lines[1] == (
        "training 19 people, 95 images; validation 11 people, 55 images; test 10 people, 50 images; "
        "cut 0 people, 0 images"
    )
    assert [line.split()[0].rstrip("*") for line in lines[2:]] == ["stage", "arcface", "pk4", "FPR", ""]
    assert lines[-1] == f"* the best by validation TPR at FPR 1e-3: {tmp_path / 'out' / 'model.safetensors'}"

    again = vidface("train", recipe, "--json", "--stage", "pk4", code=0)
    found = again.json
    assert (again.err, found["ran"], found["already_done"]) == ("", [], ["arcface", "pk4"])
    assert found["recipe"] == str(recipe)

    budget = vidface("budget", found["model"], "--json", code=None)
    assert budget.json["dimension"] == 16


def test_wrong_usage_ends_with_2(tmp_path: Path, people: Path) -> None:
    ran = vidface("train", tmp_path / "none.toml", code=2)
    assert ran.error == f"error: {tmp_path / 'none.toml'}: no such recipe"
    recipe = write_recipe(tmp_path / "r.toml", people, STAGES + "epoch = 3\n")
    ran = vidface("train", recipe, "--json", code=2)
    assert ran.error == f"error: {recipe}: stage pk4.epoch: Extra inputs are not permitted"
    assert ran.out == ""


@pytest.mark.skipif(not dist.is_gloo_available(), reason="torch without gloo")
def test_two_processes_by_torchrun(tmp_path: Path) -> None:
    """With a fault, so that they end with 1: torchrun then ends all, but not before everything is written."""
    faulty = write_people(tmp_path / "faulty", [5] * 40)
    Image.new("RGB", (9, 9)).save(faulty / "p00" / "1.png")  # of one who is trained on
    recipe = write_recipe(tmp_path / "small.toml", faulty, STAGES, device="cpu")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    words = [*torchrun, MODULE[-1], "train", str(recipe)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.count("* the best by") == 1, "one of them speaks"
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert [stage["stage"] for stage in results["stages"]] == ["arcface", "pk4"]
    reason = "wrong-size: it is 9x9, not 32x32"
    assert all(stage["faults"] == {"p00/1.png": reason} for stage in results["stages"])
    names = {entry.name for entry in out.iterdir()}
    assert {"model.safetensors", "model.toml", "table.md", "faults.jsonl"} <= names
    assert {"curves.svg", "curves.png"} <= names
