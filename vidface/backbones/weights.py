"""Weights of the torch networks, as safetensors or plain torch archives: no weights file is ever a program here.

Since version 1.6, ``torch.save`` writes a zip archive: a pickle (`data.pkl`) that says which tensor is made of which
numbers, and the numbers themselves (`data/0`, `data/1`, ...), uncompressed. The pickle is read by
`vidface.files.unpickle`, which calls the functions of this file and nothing of torch; a tensor must lie within the
numbers that it names.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from vidface.backbones.kinds import model_kind
from vidface.errors import ModelError, StoreError, printable
from vidface.files.atomic import write_atomic
from vidface.files.unpickle import PLAIN_CALLS, DamagedPickleError, PlainUnpickler, Token

_FLOATS = {"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16}
_WHOLE = {
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
}
_DTYPES = {f"torch.{name}Storage": dtype for name, dtype in {**_FLOATS, **_WHOLE, "Bool": torch.bool}.items()}

# Where training scripts keep the weights in a checkpoint that holds more than them.
_NESTED = ("state_dict", "model")
# What else torch writes as zip files, by a part of the names in them.
_PROGRAMS = {"/code/": "a TorchScript archive", "/archive_format": "an archive of torch.export"}


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
    if model_kind(path) == "torch":
        return read_torch_archive(path)
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


def read_torch_archive(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a `.pth` or `.pt` file, tensors on the CPU by name, in the file's number types.

    The file holds the weights by name, or a checkpoint with them under "state_dict" or "model" (in that order;
    everything else in it is then left alone). A "module." before every name, as DataParallel writes it, is taken
    off. Tensors that shared numbers share them here.

    Raises:
        ModelError: the file cannot be read or is damaged; it wants anything called but the making of tensors,
            which is refused and does not run; its parts are compressed or larger than the file; a tensor does
            not lie within its numbers; there are no weights where they are looked for.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = _read_archive(archive, path)
    except StoreError as error:
        raise ModelError(
            f"{error}; save the weights alone, with torch.save(network.state_dict(), NEW), or export the network to "
            "ONNX: see docs/models.md"
        ) from None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        # as zipfile raises them for missing, damaged, exotic and encrypted archives
        raise ModelError(
            f"{path}: cannot be read as a torch archive: {printable(str(error))[:120]}"
        ) from error
    return _weights(content, path)


def _read_archive(archive: zipfile.ZipFile, path: Path) -> Any:
    members = {member.filename: member for member in archive.infolist()}
    if programs := [kind for part, kind in _PROGRAMS.items() if any(part in f"/{name}" for name in members)]:
        raise ModelError(
            f"{path}: {programs[0]}, which is a program, not weights: export it to ONNX, as docs/models.md says"
        )
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1 or len(members) != len(archive.infolist()):
        raise ModelError(f"{path}: a zip file, but not one that torch.save wrote: it must hold one data.pkl")
    folder = pickles[0].removesuffix("data.pkl")
    # torch writes its parts one after the other and as they are, so they can't be more than the file.
    packed = [name for name, member in members.items() if member.compress_type != zipfile.ZIP_STORED]
    if packed or sum(member.file_size for member in members.values()) > path.stat().st_size:
        raise ModelError(
            f"{path}: a torch archive whose parts are compressed, or larger than the file: refused"
        )
    order = f"{folder}byteorder"
    if order in members and archive.read(order) != b"little":
        raise ModelError(f"{path}: its numbers are big-endian: save the file anew on a little-endian machine")
    storages: dict[str, torch.Tensor] = {}

    def storage(key: Any) -> Token:
        """("storage", kind, name, device, count), the persistent id of the numbers of a tensor."""
        if not isinstance(key, tuple) or len(key) != 5 or key[0] != "storage":
            raise DamagedPickleError("it refers to something that is not a storage")
        _, kind, name, _, count = key
        dtype = _DTYPES.get(kind.name) if type(kind) is Token else None
        if dtype is None or type(name) is not str or type(count) is not int or not name.isdecimal():
            raise DamagedPickleError("a storage of a kind or name that torch does not write")
        member = members.get(f"{folder}data/{name}")
        if member is None or member.file_size != count * dtype.itemsize:
            raise DamagedPickleError(f"storage {name} is not there, or not of {count} numbers")
        if name not in storages:
            data = bytearray(archive.read(member))
            storages[name] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if storages[name].dtype != dtype:
            raise DamagedPickleError(f"storage {name} is of two kinds")
        return Token("storage", storages[name])

    return PlainUnpickler(archive.read(pickles[0]), source=str(path), calls=_CALLS, persistent=storage).run()


def _tensor(
    _reader: PlainUnpickler, storage: Any, offset: Any, size: Any, stride: Any, *_gradient_hooks_metadata: Any
) -> torch.Tensor:
    """A view of a storage; shape and stride are checked here, since torch trusts them where it is fast."""
    if type(storage) is not Token or not isinstance(storage.value, torch.Tensor):
        raise DamagedPickleError("a tensor without a storage")
    if not all(type(part) is tuple for part in (size, stride)) or len(size) != len(stride) or len(size) > 32:
        raise DamagedPickleError("a tensor without a shape")
    if not all(type(number) is int and 0 <= number < 2**63 for number in (offset, *size, *stride)):
        raise DamagedPickleError("a tensor whose shape is not of whole numbers")
    count = storage.value.numel()
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if math.prod(size) > count or (0 not in size and last >= count):
        raise DamagedPickleError(f"a tensor that leaves its storage of {count} numbers")
    return storage.value.as_strided(size, stride, min(offset, count))


def _parameter(_reader: PlainUnpickler, tensor: Any, *_gradient_hooks: Any) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise DamagedPickleError("a parameter without a tensor")
    return tensor


def _size(_reader: PlainUnpickler, sides: Any = ()) -> tuple[Any, ...]:
    if type(sides) is not tuple:
        raise DamagedPickleError("a size that is not one")
    return sides


_CALLS: dict[str, Callable[..., Any] | None] = {
    **PLAIN_CALLS,
    **dict.fromkeys(_DTYPES),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
}


def _weights(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path}: holds no weights by name, neither itself nor under {' or '.join(_NESTED)}")
    for name, value in content.items():
        if type(name) is not str or not isinstance(value, torch.Tensor):
            raise ModelError(
                f"{path}: holds more than weights: {printable(str(name))[:120]} is not a tensor by name"
            )
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}
