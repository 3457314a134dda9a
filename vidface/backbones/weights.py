"""Weights of the torch networks, as safetensors or plain torch archives: no weights file is ever a program here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from vidface.backbones.kinds import model_kind
from vidface.backbones.torch_archive import read_torch_archive
from vidface.errors import ModelError, printable
from vidface.files.atomic import write_atomic

__all__ = ["fill", "held_in", "load_weights", "save_weights"]


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state, from whatever device, to a safetensors file, whole or not at all.

    ``metadata`` is text to keep in the file's header, for example how it was trained.

    Raises:
        StoreError: the file cannot be written; what was there before is untouched.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    content = safetensors.torch.save(state, dict(metadata or {}))
    with write_atomic(path) as file:
        file.write(content)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module with the weights of a safetensors file or a torch archive; every name and shape must agree.

    Raises:
        ModelError: no such file, neither of the two (a pickle is refused by its first bytes and never run),
            damaged, or names or shapes differ from the module's; the module is then unchanged.
    """
    fill(module, _read(path), path)


def held_in(path: Path) -> str:
    """What a file of weights holds, for a message. Raises ModelError as `load_weights` does."""
    given = _read(path)
    names = [f"{name} ({_shape(tensor)})" for name, tensor in given.items()]
    return f"{len(given)} tensors ({_some(names)})"


def fill(module: nn.Module, given: Mapping[str, torch.Tensor], path: Path) -> None:
    """As `load_weights`, with tensors that were read from the file already."""
    wanted = module.state_dict()
    shapes = [
        f"{name} ({_shape(given[name])}, the network has {_shape(wanted[name])})"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    kinds = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": sorted(name for name in given if name not in wanted),
        "of another shape": shapes,
    }
    if problems := [f"{len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names]:
        raise ModelError(f"{path}: weights of another network: {'; '.join(problems)}: check the architecture")
    module.load_state_dict(given, strict=True)


def _read(path: Path) -> dict[str, torch.Tensor]:
    return read_torch_archive(path) if model_kind(path) == "torch" else _read_safetensors(path)


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: weights cannot be read: {error.strerror}") from error
    except SafetensorError as error:
        raise ModelError(f"{path}: not a safetensors file, or a damaged one: {error}") from error


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def _some(names: list[str]) -> str:
    shown = ", ".join(map(printable, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
