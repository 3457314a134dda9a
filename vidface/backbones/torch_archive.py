"""Weights in the `.pth` files of torch, read without running anything.

Since version 1.6, ``torch.save`` writes a zip archive: a pickle (`data.pkl`) that says which tensor is made of which
numbers, and the numbers themselves (`data/0`, `data/1`, ...), uncompressed. The pickle is read by the machine of
`vidface.files.unpickle`, which calls the four functions of this file and nothing of torch; a tensor must lie within the
numbers that it names. Files of older versions are a bare pickle, and are refused with a word on what to do.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vidface.errors import ModelError, StoreError
from vidface.files.unpickle import PLAIN_CALLS, DamagedPickleError, Machine, Token, build_plain

__all__ = ["read_torch_archive"]

_DTYPES = {
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}

# Where training scripts keep the weights in a checkpoint that holds more than them.
_NESTED = ("state_dict", "model")
# What else torch writes as zip files, by a part of the names in them.
_PROGRAMS = {"/code/": "a TorchScript archive", "/archive_format": "an archive of torch.export"}


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
            content = _read(archive, path)
    except StoreError as error:
        raise ModelError(
            f"{error}; save the weights alone, with torch.save(network.state_dict(), NEW), or export the network to "
            "ONNX: see docs/models.md"
        ) from None
    except (OSError, ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        # as zipfile raises them for missing, damaged, exotic and encrypted archives
        raise ModelError(f"{path}: cannot be read as a torch archive: {_one_line(error)}") from error
    return _weights(content, path)


def _read(archive: zipfile.ZipFile, path: Path) -> Any:
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

    return Machine(
        archive.read(pickles[0]), source=str(path), calls=_CALLS, build=_build, persistent=storage
    ).run()


def _build(machine: Machine, target: Any, state: Any) -> None:
    # The attributes of an OrderedDict: torch keeps the versions of its layers there, which are not weights.
    if type(target) is not dict:
        build_plain(machine, target, state)


def _ordered_dict(machine: Machine, items: Any = ()) -> dict[Any, Any]:
    machine.spend(len(items))
    values: dict[Any, Any] = {}
    for key, value in items:
        machine.push(values)
        machine.extend_dict([key, value])
        machine.stack.pop()
    return values


def _tensor(
    _machine: Machine, storage: Any, offset: Any, size: Any, stride: Any, *_gradient_hooks_metadata: Any
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


def _parameter(_machine: Machine, tensor: Any, *_gradient_hooks: Any) -> torch.Tensor:
    if not isinstance(tensor, torch.Tensor):
        raise DamagedPickleError("a parameter without a tensor")
    return tensor


def _size(_machine: Machine, sides: Any = ()) -> tuple[Any, ...]:
    if type(sides) is not tuple:
        raise DamagedPickleError("a size that is not one")
    return sides


_CALLS: dict[str, Callable[..., Any] | None] = {
    **PLAIN_CALLS,
    **dict.fromkeys(_DTYPES),
    "collections.OrderedDict": _ordered_dict,
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
            raise ModelError(f"{path}: holds more than weights: {_one_line(name)} is not a tensor by name")
    prefix = "module." if all(name.startswith("module.") for name in content) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in content.items()}


def _one_line(value: object) -> str:
    return str(value)[:120].encode("unicode_escape").decode()
