"""Fine-tuning: a first stage that starts from weights of a file, against plain torch, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_faces import NETWORK, SIDE, place_of, write_people, write_recipe
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import parse_spec
from vidface.errors import ChangedError, ModelError, UsageError
from vidface.training.checkpoint import first_classifier
from vidface.training.run import train

STAGE = """
[[stage]]
name = "tune"
weights = "{name}"
epochs = 1
batch_size = 95
learning_rate = 0.05
schedule = "constant"
clip_norm = 0.0
loss = {{ scale = 8.0, m2 = 0.0 }}
augmentation = {{ flip = 0.0 }}
"""


def known_network(seed: int = 5) -> nn.Module:
    """A network whose weights and statistics are none that training would begin with."""
    torch.manual_seed(seed)
    network = build(parse_spec(NETWORK), (SIDE, SIDE))
    with torch.no_grad():
        network(torch.randn(8, 3, SIDE, SIDE))
    return network


def run(folder: Path, people: Path, name: str, more: str = "", **fields: Any) -> tuple[list[str], Path]:
    """What `train` says, and its output folder."""
    said: list[str] = []
    recipe = write_recipe(folder / "recipe.toml", people, STAGE.format(name=name) + more, **fields)
    train(recipe, only=None, say=said.append)
    return said, folder / "out"


def write_card(path: Path, **changes: Any) -> None:
    fields = {
        "name": "m",
        "input_size": [SIDE, SIDE],
        "colour_order": "rgb",
        "mean": [127.5] * 3,
        "std": [128.0] * 3,
    }
    fields |= {"dimension": NETWORK["dimension"], "licence": "none", "source": "a test", **changes}
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in fields.items()]
    lines += ["[architecture]\n", *(f"{name} = {json.dumps(value)}\n" for name, value in NETWORK.items())]
    path.with_suffix(".toml").write_text("".join(lines))


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_one_step_from_known_weights_is_that_of_plain_torch(tmp_path: Path, people: Path, kind: str) -> None:
    network = known_network()
    path = tmp_path / f"known.{kind}"
    if kind == "pth":
        torch.save({"state_dict": network.state_dict()}, path)
    else:
        save_file(network.state_dict(), path)
    said, out = run(tmp_path, people, path.name)
    assert "weights from known" in said[1]
    assert "the class weights start from scratch (the file holds none" in said[1]

    folders = [folder for folder in sorted(people.iterdir()) if place_of(folder.name) >= 0.5]
    images = np.array([np.array(Image.open(file)) for folder in folders for file in sorted(folder.iterdir())])
    labels = torch.arange(19).repeat_interleave(5)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127.5) / 128
    classes = nn.Parameter(first_classifier(19, 16, 1))
    network.double().train()
    pixels, classes = pixels.double(), nn.Parameter(classes.detach().double())
    embeddings = network(pixels)  # all images are one batch: their order only changes how sums are rounded
    cosines = functional.normalize(embeddings) @ functional.normalize(classes).T
    functional.cross_entropy(8 * cosines, labels).backward()
    last = load_file(out / "1-tune" / "last_checkpoint.safetensors")
    moved = 0.0
    for name, value in network.named_parameters():
        assert value.grad is not None
        stepped = value.detach() - 0.05 * (value.grad + 5e-4 * value.detach())
        torch.testing.assert_close(last[f"network.{name}"].double(), stepped, rtol=1e-4, atol=1e-5)
        moved = max(moved, float((stepped - value.detach()).abs().max()))
    for name, buffer in network.named_buffers():
        torch.testing.assert_close(last[f"network.{name}"].double(), buffer.double(), rtol=1e-4, atol=1e-5)
    assert classes.grad is not None
    stepped = classes.detach() - 0.05 * (classes.grad + 5e-4 * classes.detach())
    torch.testing.assert_close(last["classifier"].double(), stepped, rtol=1e-4, atol=1e-5)
    assert moved > 1e-3, "a step that could be mistaken for none"
    card = (out / "model.toml").read_text()
    assert f"starting from the weights {path.name}" in card


def test_a_checkpoint_brings_its_class_weights_to_the_same_people_alone(tmp_path: Path, people: Path) -> None:
    _, first = run(tmp_path / "a", people, "none")
    best = first / "1-tune" / "best_checkpoint.safetensors"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "best.safetensors").write_bytes(best.read_bytes())
    # A rate of nearly nothing: what comes out is what went in.
    tiny = "[[stage]]\nname = 'still'\nlearning_rate = 1e-12\nweight_decay = 0.0\n"
    said, out = run(tmp_path / "b", people, "best.safetensors", tiny)
    assert "the network; the class weights too" in said[1]
    before = load_file(best)
    recipe = (
        (tmp_path / "b" / "recipe.toml").read_text().replace("learning_rate = 0.05", "learning_rate = 1e-12")
    )
    (tmp_path / "b" / "still.toml").write_text(recipe.replace('output = "out"', 'output = "still"'))
    train(tmp_path / "b" / "still.toml", only="tune", say=said.append)
    after = load_file(tmp_path / "b" / "still" / "1-tune" / "last_checkpoint.safetensors")
    torch.testing.assert_close(after["classifier"], before["classifier"], rtol=0, atol=1e-6)
    assert out.exists()

    others = write_people(tmp_path / "others", [5] * 48)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "best.safetensors").write_bytes(best.read_bytes())
    said, _ = run(tmp_path / "c", others, "best.safetensors")
    assert "the class weights start from scratch (those of the file are of 19 other people)" in said[1]


def test_other_weights_are_refused_where_a_run_is_resumed(tmp_path: Path, people: Path) -> None:
    path = tmp_path / "known.safetensors"
    save_file(known_network().state_dict(), path)
    run(tmp_path, people, path.name)
    assert "weights from" in run(tmp_path, people, path.name)[0][1]
    save_file(known_network(6).state_dict(), path)
    for name, now in ((path.name, ""), ("none", ".*, now none")):
        with pytest.raises(
            ChangedError, match=rf"1-tune was made otherwise .*weights was [0-9a-f]{{12}}{now}"
        ):
            run(tmp_path, people, name)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (
            {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
            "it cannot start from these weights",
        ),
        ({"colour_order": "bgr"}, "its card says pixels in bgr"),
        ({"input_size": [64, 64]}, "differ in architecture or input_size"),
    ],
)
def test_weights_of_other_pixels_are_refused(
    tmp_path: Path, people: Path, card: dict[str, Any], said: str
) -> None:
    path = tmp_path / "known.safetensors"
    save_file(known_network().state_dict(), path)
    write_card(path, **card)
    with pytest.raises(UsageError, match=said):
        run(tmp_path, people, path.name)
    write_card(path)
    run(tmp_path, people, path.name)


def test_what_is_no_weights_of_this_network(tmp_path: Path, people: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x08")
    save_file(
        build(parse_spec({**NETWORK, "head": 8}), (SIDE, SIDE)).state_dict(), tmp_path / "other.safetensors"
    )
    broken = known_network().state_dict()
    broken["fc.weight"][0, 0] = np.nan
    save_file(broken, tmp_path / "broken.safetensors")
    later = "[[stage]]\nname = 'later'\nweights = 'other.safetensors'\n"
    for name, more, kind, said in (
        ("none.safetensors", "", ModelError, r"none\.safetensors: model cannot be read: No such file"),
        ("m.onnx", "", UsageError, "an ONNX model cannot be trained further: name a safetensors file"),
        ("other.safetensors", "", ModelError, "weights of another network: .*of another shape"),
        ("broken.safetensors", "", ModelError, r"broken\.safetensors: fc\.weight holds NaN or infinity"),
        (
            "other.safetensors",
            later,
            UsageError,
            "stage later: weights: the first stage alone starts from a file",
        ),
    ):
        with pytest.raises(kind, match=said):
            run(tmp_path, people, name, more)
    assert not list(tmp_path.glob("out/*-*"))
