"""A whole recipe: all kinds of stages, what is written, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_faces import NETWORK, SEVEN, SIDE, contents, face, place_of, write_people, write_recipe, write_tar
from forked import Forker
from safetensors.torch import load_file

import vidface.training.data as data
from vidface.backbones import load_backbone
from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import parse_spec
from vidface.errors import ChangedError, UsageError
from vidface.training.datasets.images import select
from vidface.training.datasets.open import open_folder
from vidface.training.datasets.pairs import write_bin
from vidface.training.run import train
from vidface.training.validation import held_out, measure

NAMES = ["arcface", "combined", "svgs", "intra-inter", "class-balanced", "pk4", "semi-hard"]
FOLDERS = [f"{number}-{name}" for number, name in enumerate(NAMES, 1)]
STAGE = '[[stage]]\nname = "first"\nepochs = 1\nbatch_size = 20\nlearning_rate = 0.05\n'
PEOPLE = {"min_images": 2, "validation": 0.25, "test": 0.25}
TWO = STAGE + '[[stage]]\nname = "second"\n'


def run(recipe: Path, only: str | None = None) -> dict[str, Any]:
    return train(recipe, only=only, say=lambda _line: None)


@pytest.fixture(scope="module")
def seven(
    forker: Forker, people: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The output folder of all seven stages, and what the command printed."""
    folder = tmp_path_factory.mktemp("seven")
    recipe = write_recipe(folder / "seven.toml", people, SEVEN, name="Tiny", licence='"free" for äll')
    ended = forker.run("train", recipe, "--json", curves=True)[0]
    assert (ended.code, ended.err) == (0, "")
    found: dict[str, Any] = json.loads(ended.out)
    return folder / "out", found


def test_all_stages_are_trained(seven: tuple[Path, dict[str, Any]]) -> None:
    out, found = seven
    assert found["ran"] == NAMES and found["already_done"] == []
    assert [stage["stage"] for stage in found["stages"]] == NAMES
    kept = ["best_checkpoint.safetensors", "last_checkpoint.safetensors", "metrics.jsonl"]
    for folder in FOLDERS:
        names = sorted(entry.name for entry in (out / folder).iterdir())
        assert names == sorted([*kept, "model.safetensors", "model.toml", "stage.json"])
    above = ["model.safetensors", "model.toml", "results.json", "table.md", "faults.jsonl"]
    above += ["curves.svg", "curves.png"]
    assert sorted(entry.name for entry in out.iterdir()) == sorted([*FOLDERS, *above])
    assert (out / "faults.jsonl").read_bytes() == b""


def test_each_stage_adds_its_loss(seven: tuple[Path, dict[str, Any]]) -> None:
    out, _ = seven
    whole = ["support_vector", "intra", "inter", "class_balanced", "triplet"]
    parts = [["arcface"], ["combined"], whole[:1], whole[:3], whole[:4], whole[:4], whole]
    others = {"step", "epoch", "loss", "rate", "images_per_second"}
    for folder, names in zip(FOLDERS, parts, strict=True):
        line = json.loads((out / folder / "metrics.jsonl").read_text().splitlines()[0])
        assert set(line) == {*names, *others}


def test_what_the_command_says_is_what_is_kept(seven: tuple[Path, dict[str, Any]]) -> None:
    out, found = seven
    kept = json.loads((out / "results.json").read_text())
    assert {**kept, "ran": NAMES, "already_done": []} == found
    assert found["people"] == {
        "training": {"people": 19, "images": 95},
        "validation": {"people": 11, "images": 55},
        "test": {"people": 10, "images": 50},
        "cut": {"people": 0, "images": 0},
    }
    for stage in found["stages"]:
        keys = "stage epochs best_epoch images_seen validation test faults model"
        assert set(stage) == set(keys.split())
        assert 0 <= stage["validation"]["people"]["tpr"] <= 1
        assert Path(stage["model"]).samefile(out / FOLDERS[NAMES.index(stage["stage"])] / "model.safetensors")
    assert all(f"| {name}" in (out / "table.md").read_text() for name in NAMES)
    assert (out / "curves.svg").read_text().count("<svg") == 1


def test_the_best_stage_is_the_model(seven: tuple[Path, dict[str, Any]]) -> None:
    out, found = seven
    rates = [stage["validation"]["people"]["tpr"] for stage in found["stages"]]
    best = rates.index(max(rates))
    assert found["best_stage"] == NAMES[best]
    for name in ("model.safetensors", "model.toml"):
        assert (out / name).read_bytes() == (out / FOLDERS[best] / name).read_bytes()
    row = next(line for line in (out / "table.md").read_text().splitlines() if "*" in line)
    assert row.startswith(f"| {NAMES[best]}* |")


def plain_network(path: Path) -> torch.nn.Module:
    network = build(parse_spec(NETWORK), (SIDE, SIDE)).eval()
    network.load_state_dict(load_file(path))
    return network


def test_the_model_of_a_stage_is_a_backbone(seven: tuple[Path, dict[str, Any]]) -> None:
    out, _ = seven
    path = out / "6-pk4" / "model.safetensors"
    backbone = load_backbone(path, device="cpu")
    assert (backbone.card.name, backbone.card.licence) == ("Tiny", '"free" for äll')
    assert backbone.card.source == "trained by vidface, recipe Tiny, stage pk4"
    assert (backbone.card.input_size, backbone.card.dimension) == ((SIDE, SIDE), 16)
    assert (set(backbone.card.mean), set(backbone.card.std)) == ({127.5}, {128.0})
    assert backbone.card.architecture == {**NETWORK, "se": True, "depthwise_stem": False}
    faces = np.array([face(person, 77) for person in range(9)])
    with torch.no_grad():
        expected = plain_network(path)((torch.from_numpy(faces).permute(0, 3, 1, 2) - 127.5) / 128)
    np.testing.assert_allclose(backbone.embed(faces), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_figures_are_those_of_the_kept_weights(seven: tuple[Path, dict[str, Any]], people: Path) -> None:
    out, found = seven
    images = open_folder(people)
    for name, low, high in (("validation", 0.0, 0.25), ("test", 0.25, 0.5)):
        chosen = [low <= place_of(images.identities[label]) < high for label in images.labels]
        faces = held_out(select(images, np.flatnonzero(chosen)), (SIDE, SIDE), 1)
        for folder, stage in zip(FOLDERS, found["stages"], strict=True):
            measured = measure(plain_network(out / folder / "model.safetensors"), faces, torch.device("cpu"))
            assert measured == pytest.approx(
                stage["validation"]["people"] if name == "validation" else stage["test"]
            )


def test_finished_stages_are_not_trained_again(
    seven: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, found = seven
    before = contents(out)
    monkeypatch.setattr("vidface.training.run.train_stage", None)
    again = run(out.parent / "seven.toml")
    assert again == {**found, "ran": [], "already_done": NAMES}
    assert contents(out) == before


def test_held_out_people_are_in_no_batch(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Counter[str] = Counter()
    real = data.read_face

    def read_face(images: Any, index: int, size: tuple[int, int]) -> Any:
        read[images.names[index]] += 1
        return real(images, index, size)

    monkeypatch.setattr(data, "read_face", read_face)
    pk = "images_per_identity = 4\n"
    run(write_recipe(tmp_path / "r.toml", people, TWO + pk))
    trained = {path.name for path in people.iterdir() if place_of(path.name) >= 0.5}
    assert {name.split("/")[0] for name in read} == trained
    assert len(trained) == 19 and sum(read.values()) == 160


@pytest.mark.parametrize("workers", [0, 2])
def test_a_tar_and_worker_processes_give_the_bytes_of_a_folder(
    tmp_path: Path, people: Path, workers: int
) -> None:
    stages = STAGE + "augmentation = { light = 0.5, shift = 0.5 }\n"
    run(write_recipe(tmp_path / "folder.toml", people, stages, output="folder", name="same"))
    tar = write_tar(people, tmp_path / "people.tar")
    run(write_recipe(tmp_path / "tar.toml", tar, stages, output="tar", name="same", workers=workers))
    assert contents(tmp_path / "folder") == contents(tmp_path / "tar")


def test_one_stage_alone(tmp_path: Path, people: Path) -> None:
    three = TWO + '[[stage]]\nname = "third"\n'
    recipe = write_recipe(tmp_path / "r.toml", people, three)
    with pytest.raises(
        UsageError, match=r"^stage second starts from stage first, which is not finished: train it"
    ):
        run(recipe, "second")
    with pytest.raises(UsageError, match="has no stage 'fourth': it has first, second, third"):
        run(recipe, "fourth")
    for only, done in (("first", []), ("second", ["first"])):
        found = run(recipe, only)
        assert (found["ran"], found["already_done"]) == ([only], done)
        assert [stage["stage"] for stage in found["stages"]] == [*done, only]
    assert not (tmp_path / "out" / "3-third").exists()
    found = run(recipe)
    assert (found["ran"], found["already_done"]) == (["third"], ["first", "second"])
    run(write_recipe(tmp_path / "w.toml", people, three, output="whole", name="r"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("stages", "fields", "said"),
    [
        (STAGE.replace("0.05", "0.04"), {}, "learning_rate was 0.05, now 0.04"),
        (STAGE + "loss = { m2 = 0.25 }\n", {}, "loss was "),
        (STAGE, {"seed": 2}, "seed was 1, now 2"),
        (STAGE, {"architecture": {**NETWORK, "head": 8}}, "architecture was "),
        (STAGE, {"choose": "accuracy"}, "choose was tpr, now accuracy"),
        (STAGE, {"people": {**PEOPLE, "validation": 0.2}}, "images was "),
        (STAGE, {"people": {**PEOPLE, "images_per_person": 4}}, "validation was "),
    ],
)
def test_a_changed_recipe_is_refused(
    seven_of_one: Path, people: Path, stages: str, fields: dict[str, Any], said: str
) -> None:
    before = contents(seven_of_one / "out")
    with pytest.raises(ChangedError) as raised:
        run(write_recipe(seven_of_one / "r.toml", people, stages, **fields))
    assert said in str(raised.value) and "1-first was made otherwise" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert contents(seven_of_one / "out") == before
    # Also where the stage is not finished.
    finished = (seven_of_one / "out" / "1-first" / "stage.json").rename(seven_of_one / "kept")
    with pytest.raises(ChangedError, match="1-first was made otherwise"):
        run(write_recipe(seven_of_one / "r.toml", people, stages, **fields))
    finished.rename(seven_of_one / "out" / "1-first" / "stage.json")


def test_a_changed_validation_set_is_refused(tmp_path: Path, people: Path) -> None:
    images = open_folder(people)
    bins = [images.read(index) for index in range(40)]
    same = [bool(images.labels[index] == images.labels[index + 1]) for index in range(0, 40, 2)]
    assert any(same) and not all(same)
    write_bin(tmp_path / "faces.bin", bins, same)
    recipe = write_recipe(tmp_path / "r.toml", people, STAGE, pairs={"faces": "faces.bin"})
    assert set(run(recipe)["stages"][0]["validation"]) == {"faces", "people"}
    write_bin(tmp_path / "faces.bin", bins[::-1], same[::-1])
    with pytest.raises(ChangedError, match="pairs was "):
        run(recipe)


@pytest.fixture(scope="module")
def seven_of_one(forker: Forker, people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the output of a single stage in it."""
    folder = tmp_path_factory.mktemp("one")
    ended = forker.run("train", write_recipe(folder / "r.toml", people, STAGE))[0]
    assert ended.code == 0
    return folder


def test_a_moved_folder_is_used_where_it_is(tmp_path: Path, people: Path) -> None:
    run(write_recipe(tmp_path / "here" / "r.toml", people, STAGE))
    (tmp_path / "here").rename(tmp_path / "there")
    found = run(tmp_path / "there" / "r.toml")
    assert found["already_done"] == ["first"]
    assert found["stages"][0]["model"] == str(tmp_path / "there" / "out" / "1-first" / "model.safetensors")


def test_what_a_killed_run_was_writing_is_taken_away(tmp_path: Path, people: Path) -> None:
    folder = tmp_path / "out" / "1-first"
    folder.mkdir(parents=True)
    for left in (".last_checkpoint.safetensors.77.partial", ".model.safetensors.77.part"):
        (folder / left).write_bytes(b"half of it")
    (tmp_path / "out" / ".results.json.77.partial").write_bytes(b"{")
    run(write_recipe(tmp_path / "r.toml", people, STAGE))
    assert list((tmp_path / "out").rglob(".*")) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("batch_size = 96\n", "stage second: 95 training images do not fill one batch of 96"),
        (
            "batch_size = 80\nimages_per_identity = 4\n",
            "stage second: a batch of 80 with 4 images a person needs 20",
        ),
    ],
)
def test_batches_that_cannot_be_made_are_said_before_anything_is_trained(
    tmp_path: Path, people: Path, change: str, said: str
) -> None:
    with pytest.raises(UsageError) as raised:
        run(write_recipe(tmp_path / "r.toml", people, TWO + change))
    assert str(raised.value).startswith(said)
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_too_few_held_out_people_are_said_before_anything_is_trained(tmp_path: Path) -> None:
    few = write_people(tmp_path / "few", [2] * 12)
    with pytest.raises(UsageError, match="are too few for ten folds: raise their share in"):
        run(write_recipe(tmp_path / "r.toml", few, STAGE, people={"validation": 0.2, "test": 0.0}))
    assert not list((tmp_path / "out").rglob("*.safetensors"))
