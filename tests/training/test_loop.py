"""One stage: what it learns, against a loop written anew; which weights it keeps; how it ends."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_faces import place_of, write_recipe
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import vidface.training.loop as loop
from vidface.backbones.mobilefacenet import build
from vidface.errors import UsageError
from vidface.training.checkpoint import first_classifier
from vidface.training.data import normalised
from vidface.training.epochs import epoch_batches
from vidface.training.loop import update_average
from vidface.training.recipe import read_training_recipe
from vidface.training.run import train

STAGE = """
[[stage]]
name = "first"
epochs = 2
batch_size = 20
learning_rate = 0.05
loss = { scale = 8.0, m2 = 0.2 }
augmentation = { flip = 0.0 }
"""


def trained(folder: Path, people: Path, stages: str = STAGE, **fields: Any) -> tuple[dict[str, Any], Path]:
    """What `train` returns, and the folder of its output."""
    recipe = write_recipe(folder / "recipe.toml", people, stages, **fields)
    return train(recipe, only=None, say=lambda _line: None), folder / "out"


def part(path: Path, name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key[len(prefix) :]: value for key, value in load_file(path).items() if key.startswith(prefix)}


def state(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["vidface"])
        return found


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def training_images(people: Path) -> tuple[Tensor, Tensor]:
    """float32 [N, 3, H, W] and labels, in the order of names, read with Pillow."""
    folders = [f for f in sorted(people.iterdir()) if place_of(f.name) >= 0.5]
    images = [np.array(Image.open(path)) for f in folders for path in sorted(f.iterdir())]
    labels = [label for label, f in enumerate(folders) for _ in f.iterdir()]
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    return (pixels - 127.5) / 128, torch.tensor(labels)


def naive_loss(embeddings: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """Combined margin with s = 8, m2 = 0.2, m3 = 0.1, and half the angle to the own class."""
    cosines = functional.normalize(embeddings) @ functional.normalize(weights).T
    rows = torch.arange(len(labels))
    angles = torch.acos(cosines[rows, labels])
    logits = cosines.clone()
    logits[rows, labels] = torch.cos(angles + 0.2) - 0.1
    return functional.cross_entropy(8 * logits, labels) + 0.5 * angles.mean()


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_it_learns_what_a_plain_loop_learns(tmp_path: Path, people: Path, optimiser: str) -> None:
    more = f"""
optimiser = "{optimiser}"
weight_decay = 0.01
warmup = 0.25
clip_norm = 0.5
[stage.loss]
classification = "combined"
m3 = 0.1
intra = 0.5
"""
    # AdamW makes whole steps of gradients that are hardly more than rounding: small steps then.
    highest = 0.05 if optimiser == "sgd" else 0.001
    stages = STAGE.replace("loss = { scale = 8.0, m2 = 0.2 }", "") + more + "scale = 8.0\nm2 = 0.2\n"
    assert "learning_rate = 0.05\n" in stages
    stages = stages.replace("learning_rate = 0.05\n", f"learning_rate = {highest}\n")
    _, out = trained(tmp_path, people, stages)

    images, labels = training_images(people)
    spec = read_training_recipe(tmp_path / "recipe.toml").spec
    torch.manual_seed(1)
    network = build(spec, (32, 32))
    classifier = nn.Parameter(first_classifier(19, 16, 1))
    parameters = [classifier, *network.parameters()]
    learner: torch.optim.Optimizer = (
        torch.optim.AdamW(parameters, weight_decay=0.01)
        if optimiser == "adamw"
        else torch.optim.SGD(parameters, momentum=0.9, weight_decay=0.01)
    )
    losses = []
    for step in range(8):
        order = epoch_batches(labels.numpy(), 20, None, [1, 0, step // 4])[step % 4]
        # Of 8 steps 2 rise, 6 fall along half a cosine.
        rate = highest * (
            (step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step / 8 - 0.25) / 0.75))
        )
        for group in learner.param_groups:
            group["lr"] = rate
        loss = naive_loss(network(images[order]), classifier, labels[order])
        learner.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), 0.5)
        assert norm > 0.5
        learner.step()
        losses.append(loss.item())
    near = 1e-3
    last = out / "1-first" / "last_checkpoint.safetensors"
    torch.testing.assert_close(load_file(last)["classifier"], classifier.data, rtol=near, atol=near)
    for name, value in part(last, "network").items():
        torch.testing.assert_close(value, network.state_dict()[name], rtol=near, atol=near)
    for line, epoch in (
        (lines_of(out / "1-first")[1], losses[:4]),
        (lines_of(out / "1-first")[3], losses[4:]),
    ):
        assert line["loss"] == pytest.approx(np.mean(epoch), rel=near)


def test_what_is_written_along_the_way(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LOG_STEPS", 3)
    trained(tmp_path, people, STAGE + "warmup = 0.5\n")
    lines = lines_of(tmp_path / "out" / "1-first")
    assert [line["step"] for line in lines] == [3, 4, 4, 7, 8, 8]
    assert [line["epoch"] for line in lines] == [1, 1, 1, 2, 2, 2]
    assert ["validation" in line for line in lines] == [False, False, True] * 2
    assert [line["rate"] for line in lines if "rate" in line] == pytest.approx(
        [0.0375, 0.05, 0.05 * 0.5, 0.05 * 0.5 * (1 + math.cos(math.pi * 0.75))]
    )
    for line in lines:
        assert line["loss"] == line["arcface"] > 0
        assert ("images_per_second" in line) != ("validation" in line)
    assert lines[1]["loss"] == lines[2]["loss"], "both are means over the whole epoch"


def test_gradients_are_cut_to_the_norm(tmp_path: Path, people: Path) -> None:
    one = STAGE.replace("epochs = 2", "epochs = 1").replace("batch_size = 20", "batch_size = 95")
    plain = 'schedule = "constant"\nmomentum = 0.0\nweight_decay = 0.0\n'
    spec = read_training_recipe(write_recipe(tmp_path / "r.toml", people, STAGE)).spec
    torch.manual_seed(1)
    fresh = dict(build(spec, (32, 32)).named_parameters())
    moved = {}
    for clip in (0.0, 1e-2):
        _, out = trained(tmp_path / str(clip), people, f"{one}{plain}clip_norm = {clip}\n")
        weights = part(out / "1-first" / "last_checkpoint.safetensors", "network")
        steps = [(weights[name] - value.detach()).double().square().sum() for name, value in fresh.items()]
        moved[clip] = math.sqrt(sum(steps))
    assert moved[1e-2] == pytest.approx(0.05 * 1e-2, rel=1e-2)
    assert moved[0.0] > 5 * moved[1e-2]


def test_a_loss_that_is_not_finite_spoils_no_checkpoint(tmp_path: Path, people: Path) -> None:
    wild = STAGE.replace("0.05", "1e30") + "clip_norm = 0.0\n"
    with pytest.raises(
        UsageError, match=r"^stage first, epoch 1, batch 2: loss is nan, arcface is nan: lower its "
    ):
        trained(tmp_path, people, wild, checkpoint_steps=1)
    assert state(tmp_path / "out" / "1-first" / "last_checkpoint.safetensors")["step"] == 1


def test_weights_that_are_not_finite(tmp_path: Path, people: Path) -> None:
    """The only batch has a loss; what it leaves has not."""
    wild = STAGE.replace("0.05", "1e38").replace("batch_size = 20", "batch_size = 95") + "clip_norm = 0.0\n"
    with pytest.raises(
        UsageError, match=r"^stage first, epoch 1: the network gives embeddings that are not finite"
    ):
        trained(tmp_path, people, wild)


def told(monkeypatch: pytest.MonkeyPatch, accuracies: list[float | None]) -> None:
    """Validation says these, epoch by epoch."""
    story: Iterator[float | None] = chain(accuracies)

    def measure(network: nn.Module, _faces: object, _device: object) -> Mapping[str, Any]:
        network.eval()
        value = next(story)
        return {"accuracy": 0.5, "accuracy_std": 0.0, "tpr": value}

    monkeypatch.setattr(loop, "measure", measure)


def test_the_best_epoch_is_kept_and_the_next_stage_starts_from_it(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, [None, 0.5, 0.7, 0.7, 0.6, 0.1])
    next_stage = '[[stage]]\nname = "next"\nepochs = 1\nlearning_rate = 1e-20\nschedule = "constant"\n'
    found, out = trained(tmp_path, people, STAGE.replace("epochs = 2", "epochs = 5") + next_stage)
    first, second = found["stages"]
    assert (first["epochs"], first["best_epoch"], first["images_seen"]) == (5, 3, 400)
    assert first["validation"]["people"]["tpr"] == 0.7
    assert (second["epochs"], second["best_epoch"]) == (1, 1)
    assert found["best_stage"] == "first"
    best, last = (out / "1-first" / f"{name}_checkpoint.safetensors" for name in ("best", "last"))
    assert (state(best)["epoch"], state(last)["epoch"]) == (3, 5)
    names = [name for name in part(best, "network") if name.endswith("weight")]
    begun = part(out / "2-next" / "last_checkpoint.safetensors", "network")
    assert all(torch.equal(begun[name], part(best, "network")[name]) for name in names)
    assert not all(torch.equal(begun[name], part(last, "network")[name]) for name in names)
    classifier = load_file(out / "2-next" / "last_checkpoint.safetensors")["classifier"]
    assert torch.equal(classifier, load_file(best)["classifier"])


def test_a_plateau_lowers_the_rate_and_ends_the_stage(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, [0.5, 0.4, 0.6, 0.6, 0.5, 0.9])
    rule = 'schedule = "constant"\nplateau = { patience = 1, factor = 0.5, drops = 2 }\n'
    found, out = trained(tmp_path, people, STAGE.replace("epochs = 2", "epochs = 9") + rule)
    assert (found["stages"][0]["epochs"], found["stages"][0]["best_epoch"]) == (5, 3)
    rates = [line["rate"] for line in lines_of(out / "1-first") if "rate" in line]
    assert rates == [0.05, 0.05, 0.025, 0.025, 0.0125]


def test_the_moving_average_is_validated_and_kept(
    tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    real = loop.measure

    def measure(network: nn.Module, faces: Any, device: Any) -> dict[str, Any]:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return real(network, faces, device)

    monkeypatch.setattr(loop, "measure", measure)
    _, out = trained(tmp_path, people, STAGE.replace("epochs = 2", "epochs = 1") + "ema = 0.8\n")
    folder = out / "1-first"
    last = folder / "last_checkpoint.safetensors"
    average, network = part(last, "average"), part(last, "network")
    assert set(average) == set(network)
    assert not torch.equal(average["fc.weight"], network["fc.weight"])
    best, model = (
        part(folder / "best_checkpoint.safetensors", "network"),
        load_file(folder / "model.safetensors"),
    )
    for name, value in average.items():
        assert all(torch.equal(found[name], value) for found in (seen[0], best, model))


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_of_the_network(tmp_path: Path, people: Path, precision: str) -> None:
    """On a CPU; what it learns is near what float32 learns, and not the same."""
    one = STAGE.replace("epochs = 2", "epochs = 1")
    _, exact = trained(tmp_path / "exact", people, one)
    _, half = trained(tmp_path / "half", people, one + f'precision = "{precision}"\n')
    name = Path("1-first") / "last_checkpoint.safetensors"
    first, second = (part(folder / name, "network") for folder in (exact, half))
    assert not torch.equal(first["fc.weight"], second["fc.weight"])
    assert all(value.dtype == first[name].dtype for name, value in second.items())
    near = 0.05 if precision == "bfloat16" else 0.2  # float16 leaves out steps until its scale fits
    losses = [lines_of(folder / "1-first")[0]["loss"] for folder in (exact, half)]
    assert losses[1] == pytest.approx(losses[0], rel=near)
    assert ("_growth_tracker" in state(half / name)["scaler"]) == (precision == "float16")


def test_the_input_is_that_of_the_challenge() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), np.uint8)
    found = normalised(torch.from_numpy(pixels), torch.device("cpu"))
    assert found.shape == (2, 3, 5, 4) and found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    for image, row, column, channel in np.ndindex(pixels.shape):
        expected = (float(pixels[image, row, column, channel]) - 127.5) / 128
        assert found[image, channel, row, column].item() == pytest.approx(expected, abs=1e-7)


def test_first_class_weights() -> None:
    weights = first_classifier(300, 16, 5)
    assert weights.shape == (300, 16) and weights.dtype == torch.float32
    assert torch.equal(weights, first_classifier(300, 16, 5))
    assert not torch.equal(weights, first_classifier(300, 16, 6))
    unit = nn.functional.normalize(weights)
    assert (unit @ unit.T - torch.eye(300)).abs().mean() < 0.3, "in all directions"
    torch.manual_seed(1)
    before = torch.rand(1)
    torch.manual_seed(1)
    first_classifier(3, 3, 0)
    assert torch.equal(torch.rand(1), before), "other draws are not moved"


def test_the_average_follows() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = copy.deepcopy(network)
    expected = {name: value.double() for name, value in average.state_dict().items()}
    for _step in range(3):
        network(torch.randn(8, 3))
        with torch.no_grad():
            network[0].weight += 1
        update_average(average, network, 0.75)
        for name, value in network.state_dict().items():
            counter = not value.is_floating_point()
            expected[name] = value.double() if counter else 0.75 * expected[name] + 0.25 * value.double()
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=1e-6)
    assert average[1].num_batches_tracked == 3
