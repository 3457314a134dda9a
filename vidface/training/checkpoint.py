"""Checkpoints, and what a first stage starts from: tensors and plain values in safetensors, whole or not; no pickles.

    weights = "face.safetensors"     in the first [[stage]]: what a model file may be (safetensors, plain .pth), or a
                                     checkpoint of an earlier run (best_checkpoint.safetensors)

The network is taken whole or refused. The weights of the classes belong to the people they were trained on: they are
taken from a checkpoint of the same images, and begin anew otherwise, which is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vidface.backbones.card_file import card_spec, read_card
from vidface.backbones.kinds import model_kind
from vidface.backbones.mobilefacenet import build
from vidface.backbones.weights import fill, load_weights
from vidface.errors import ModelError, StoreError, UsageError
from vidface.files.atomic import sha256_file, write_atomic
from vidface.training.data import MEAN, STD
from vidface.training.recipe import TrainingRecipe

STATE = "vidface"


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors by name and plain values (JSON keeps every float exactly) as one file, whole or not at all."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain, {STATE: json.dumps(state)})
    with write_atomic(path) as handle:
        handle.write(content)


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint: (tensors on the CPU, state).

    Raises:
        StoreError: missing, damaged, or not a checkpoint of vidface.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        state = json.loads(metadata[STATE])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise StoreError(f"{path}: not a checkpoint of a training run, or a damaged one: {error}") from error
    return tensors, state


def part_of(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors called ``<name>.<rest>``, by their rest."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def optimiser_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of an optimiser's ``state_dict()``, named ``<parameter>.<what>``."""
    return {
        f"{index}.{name}": value
        for index, held in state["state"].items()
        for name, value in held.items()
        if isinstance(value, Tensor)
    }


def restore_optimiser(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """An optimiser's ``state_dict()`` with the tensors of a checkpoint in place of its own."""
    held: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, what = name.partition(".")
        held.setdefault(int(index), {})[what] = tensor
    return {**state, "state": held}


class Start(NamedTuple):
    """What a first stage starts from.

    Attributes:
        network: the network's state, by name.
        classifier: float32 [C, D], the class weights; None: they begin anew.
        sha256: of the file, if a recipe names it.
        said: a line for people: what is taken from where.
    """

    network: dict[str, Tensor]
    classifier: Tensor | None
    sha256: str = ""
    said: str = ""


def first_classifier(classes: int, dimension: int, seed: int) -> Tensor:
    """float32 [C, D]: class weights in random directions, decided by the seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(classes, dimension, generator=generator) * 0.01


def of_checkpoint(path: Path) -> Start:
    """What the next stage starts from: the weights that a stage has kept."""
    tensors, _ = load_checkpoint(path)
    return Start(part_of(tensors, "network"), tensors["classifier"])


def read_start(path: Path, recipe: TrainingRecipe, images: str) -> Start:
    """Read the weights that a recipe starts from; a card beside the file must say the same network as the recipe.

    ``images`` is the digest of the images that are trained on, as checkpoints hold it.

    Raises:
        ModelError: no such file, no weights, those of another network, or some that are not finite.
        UsageError: an ONNX model, or a card that says another network, or other pixels than training feeds.
        StoreError: a damaged checkpoint.
    """
    if model_kind(path) == "onnx":
        raise UsageError(
            f"{path}: an ONNX model cannot be trained further: name a safetensors file or a plain .pth"
        )
    network = build(recipe.spec, recipe.input_size)
    classifier = None
    anew = "the file holds none"
    if _is_checkpoint(path):
        tensors, kept = load_checkpoint(path)
        fill(network, part_of(tensors, "average") or part_of(tensors, "network"), path)
        if kept.get("made_with", {}).get("images") == images:
            classifier = tensors["classifier"]
        else:
            anew = f"those of the file are of {len(tensors['classifier'])} other people"
    else:
        _check_card(path, recipe)
        load_weights(network, path)
    state = dict(network.state_dict())
    if wrong := [name for name, values in state.items() if not values.isfinite().all()]:
        raise ModelError(f"{path}: {wrong[0]} holds NaN or infinity: nothing can be trained from it")
    classes = (
        f"the class weights start from scratch ({anew})" if classifier is None else "the class weights too"
    )
    said = f"weights from {path.name}: the network; {classes}"
    return Start(state, classifier, sha256_file(path), said)


def _is_checkpoint(path: Path) -> bool:
    """Whether a run of training wrote it, with its state in the header."""
    if model_kind(path) != "safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return STATE in (file.metadata() or {})
    except SafetensorError:
        return False  # whoever reads it says what is wrong


def _check_card(path: Path, recipe: TrainingRecipe) -> None:
    """A card beside the weights must say the recipe's network, and the pixels that training feeds it."""
    if not path.with_suffix(".toml").is_file():
        return
    card = read_card(path, {})
    if card_spec(card, path) != recipe.spec or card.input_size != recipe.input_size:
        raise UsageError(
            f"{path}: its card and the recipe differ in architecture or input_size: use the card's in the recipe"
        )
    if card.colour_order != "rgb" or set(card.mean) != {MEAN} or set(card.std) != {STD}:
        raise UsageError(
            f"{path}: its card says pixels in {card.colour_order}, mean {list(card.mean)}, std {list(card.std)}"
            f"; training feeds rgb, (x - {MEAN:g}) / {STD:g}: it cannot start from these weights"
        )
