"""Weights of the torch networks, as safetensors or plain torch archives: no weights file is ever a program here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from vidface.backbones.kinds import model_kind
from vidface.backbones.torch_archive import read_torch_archive
from vidface.errors import ModelError, printable

__all__ = ["fill", "held_in", "load_weights", "save_weights"]


def save_weights(module: nn.Module, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state to a safetensors file, whole or not at all.

    Args:
        module: its parameters and buffers are written, from whatever device.
        path: the file; replaced if it exists.
        metadata: text to keep in the file's header, for example how it was trained.

    Raises:
        ModelError: the file cannot be written; what was there before is untouched.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    content = safetensors.torch.save(state, dict(metadata or {}))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise ModelError(f"{path}: weights cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill a module with the weights of a file; every name and shape must agree.

    Args:
        module: changed in place; numbers are converted to its own dtypes.
        path: a safetensors file, or a torch archive of plain weights (see `read_torch_archive` for where in it
            they are looked for).

    Raises:
        ModelError: no such file, neither of the two (a pickle is refused by its first bytes and never run),
            damaged, or names or shapes differ from the module's; the module is then unchanged.
    """
    fill(module, _read(path), path)


def held_in(path: Path) -> str:
    """What a file of weights holds, for a message.

    Raises:
        ModelError: as in `load_weights`.
    """
    given = _read(path)
    names = [f"{name} ({_shape(tensor)})" for name, tensor in given.items()]
    return f"{len(given)} tensors ({_some(names)})"


def fill(module: nn.Module, given: Mapping[str, torch.Tensor], path: Path) -> None:
    """As `load_weights`, with tensors that were read from the file already.

    Raises:
        ModelError: names or shapes differ from the module's; the module is then unchanged.
    """
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
