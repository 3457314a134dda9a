"""Training runs that are killed, doubled or spoilt."""

from __future__ import annotations

import fcntl
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import MODULE, read_lines, vidface
from fault_material import Payload

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from drawn_faces import contents, place_of, without_progress, write_people, write_recipe
from forked import Ended, Forker

STAGE = """
[[stage]]
name = "first"
epochs = 1
batch_size = 20
learning_rate = 0.05
"""


@pytest.fixture(scope="module")
def forker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    with Forker(tmp_path_factory.mktemp("forked")) as started:
        yield started


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """19 people to train on (p00 is one), 11 for validation, 10 for the test; 5 images each."""
    return write_people(tmp_path / "people", [5] * 40)


def ended(forker: Forker, recipe: Path, *options: str, code: int) -> Ended:
    """One run; its error, where it ends in one, is a single line."""
    found = forker.run("train", recipe, *options)[0]
    assert found.code == code, found
    assert "Traceback" not in found.err
    assert code == 0 or "--json" in options or found.err.count("\n") <= 1
    return found


def test_killed_from_outside_and_run_again_at_once(tmp_path: Path, people: Path) -> None:
    """The real command, with worker processes, which share the lock of the killed run."""
    stage = STAGE.replace("epochs = 1", "epochs = 12")
    recipes = {
        name: write_recipe(tmp_path / f"{name}.toml", people, stage, output=name, name="same", **fields)
        for name, fields in {"whole": {}, "killed": {"workers": 2, "checkpoint_steps": 2}}.items()
    }
    vidface("train", recipes["whole"], code=0)
    folder = tmp_path / "killed" / "1-first"
    words = [*MODULE, "train", str(recipes["killed"])]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 400
    while not (folder / "last_checkpoint.safetensors").exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "stage.json").exists()
    ran = vidface("train", recipes["killed"], code=0)
    assert without_progress(ran.err) == ""
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_two_at_once(tmp_path: Path, people: Path, forker: Forker) -> None:
    recipe = write_recipe(tmp_path / "r.toml", people, STAGE)
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".training.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = ended(forker, recipe, code=2)
    assert "another run is writing it now" in found.err
    ended(forker, recipe, code=0)


def test_images_that_cannot_be_used(tmp_path: Path, people: Path, forker: Forker) -> None:
    (people / "p00" / "0.png").write_bytes(b"no image")
    whole = (people / "p00" / "1.png").read_bytes()
    (people / "p00" / "1.png").write_bytes(whole[: len(whole) // 2])
    recipe = write_recipe(tmp_path / "r.toml", people, STAGE + '[[stage]]\nname = "second"\nepochs = 2\n')
    found = ended(forker, recipe, "--json", code=1)
    faults = read_lines(tmp_path / "out" / "faults.jsonl")
    # A stage lists what it met: 80 of 95 images an epoch.
    assert {fault["image"] for fault in faults} <= {"p00/0.png", "p00/1.png"}
    assert {"image", "stage", "detail"} == set(faults[0])
    assert {fault["image"] for fault in faults if fault["stage"] == "second"} == {"p00/0.png", "p00/1.png"}
    assert all(fault["detail"].startswith("unreadable-image: ") for fault in faults)
    again = ended(forker, recipe, "--json", code=1)
    assert read_lines(tmp_path / "out" / "faults.jsonl") == faults
    assert '"already_done": ["first", "second"]' in again.out
    assert found.out.count("\n") == 1


def test_a_held_out_image_that_cannot_be_used(tmp_path: Path, people: Path, forker: Forker) -> None:
    name = next(path.name for path in sorted(people.iterdir()) if place_of(path.name) < 0.25)
    (people / name / "2.png").write_bytes(b"")
    found = ended(forker, write_recipe(tmp_path / "r.toml", people, STAGE), code=1)
    assert f"{name}/2.png: " in found.err and "take it out or mend it" in found.err


@pytest.mark.parametrize("workers", [0, 2])
def test_no_image_of_a_batch_can_be_used(tmp_path: Path, people: Path, forker: Forker, workers: int) -> None:
    for path in people.iterdir():
        if place_of(path.name) >= 0.5:
            for image in path.iterdir():
                image.write_bytes(b"gone")
    found = ended(forker, write_recipe(tmp_path / "r.toml", people, STAGE, workers=workers), code=1)
    assert found.err.startswith(f"error: {people}: no image of a whole batch can be used; the first is p")


def test_a_loss_that_is_not_finite(tmp_path: Path, people: Path, forker: Forker) -> None:
    wild = STAGE.replace("0.05", "1e30") + "clip_norm = 0.0\n"
    found = ended(forker, write_recipe(tmp_path / "r.toml", people, wild), code=2)
    assert found.err.startswith("error: stage first, epoch 1, batch 4: loss is nan")


@pytest.mark.parametrize("kind", ["pickle", "cut short", "of others"])
def test_a_checkpoint_that_is_none(tmp_path: Path, people: Path, forker: Forker, kind: str) -> None:
    recipe = write_recipe(tmp_path / "r.toml", people, STAGE)
    ended(forker, recipe, code=0)
    folder = tmp_path / "out" / "1-first"
    (folder / "stage.json").unlink()
    last = folder / "last_checkpoint.safetensors"
    whole = last.read_bytes()
    spoilt = {
        "pickle": pickle.dumps(Payload(tmp_path / "ran")),
        "cut short": whole[: len(whole) // 2],
        "of others": (folder / "model.safetensors").read_bytes(),
    }
    last.write_bytes(spoilt[kind])
    found = ended(forker, recipe, code=1)
    assert f"{last}: not a checkpoint of a training run, or a damaged one" in found.err
    assert not (tmp_path / "ran").exists()
    assert last.read_bytes() == spoilt[kind]
