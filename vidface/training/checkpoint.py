"""Checkpoints: tensors and a few plain values in one safetensors file, whole or not there. Nothing is pickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vidface.errors import StoreError
from vidface.files.atomic import write_atomic

__all__ = ["STATE", "load_checkpoint", "optimiser_tensors", "part_of", "restore_optimiser", "save_checkpoint"]

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
