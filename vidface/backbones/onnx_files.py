"""Which other files an ONNX model would read: found by walking its protobuf, before any library opens it.

A tensor of an ONNX file may say "my values lie in file X at offset Y". A crafted model could name any file of
the machine and hand out its content as weights, so locations are checked here, whatever version of
onnxruntime is installed. Only the fields on the way to a tensor are walked; the numbers are those of
onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from vidface.errors import ModelError
from vidface.files.pointers import pointer_at, pointer_in

__all__ = ["external_files"]

# message -> {field number: message it holds}
_PATHS = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor",
        6: "Graph",
        10: "Tensor",
        11: "Graph",
        22: "SparseTensor",
        23: "SparseTensor",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}


def external_files(model: bytes, path: Path) -> list[Path]:
    """The external data files of an ONNX model, all inside its own folder.

    Args:
        model: content of the model file.
        path: where it lies; locations are relative to its folder.

    Returns:
        Sorted paths of existing files; empty for a model that is whole in itself.

    Raises:
        ModelError: the content is no ONNX model, or a location is absolute, leaves the folder (also by way of
            a symbolic link) or does not exist.
    """
    if advice := pointer_in(model):
        raise ModelError(f"{path}: {advice}")
    folder = path.resolve().parent
    files = set()
    try:
        locations = sorted(set(_locations(model)))
    except ValueError as error:
        raise ModelError(f"{path}: not an ONNX model, or a damaged one: {error}") from error
    for location in locations:
        target = (folder / location).resolve() if "\0" not in location else folder
        absolute = PurePosixPath(location).is_absolute() or PureWindowsPath(location).anchor
        if absolute or not target.is_relative_to(folder):
            raise ModelError(
                f"{path}: wants to read {location!r}, which is outside its own folder: refused; "
                "put the file beside the model, or do not use this model"
            )
        if not target.is_file():
            raise ModelError(f"{path}: its data file {location!r} is not beside it")
        if advice := pointer_at(target):
            raise ModelError(f"{target}: {advice}")
        files.add(target)
    return sorted(files)


def _locations(model: bytes) -> Iterator[str]:
    """Values of every entry "location" of every tensor, nested graphs included."""
    graphs = 0
    todo = [("Model", memoryview(model))]
    while todo:
        kind, message = todo.pop()
        if kind == "Entry":
            entry = {number: value for number, value in _fields(message) if value is not None}
            if bytes(entry.get(1, b"")) == b"location":
                yield bytes(entry.get(2, b"")).decode("utf-8")
            continue
        inner = _PATHS[kind]
        for number, value in _fields(message):
            if number in inner:
                if value is None:
                    raise ValueError(f"field {number} has the wrong type")
                todo.append((inner[number], value))
                graphs += inner[number] == "Graph"
    if not graphs:
        raise ValueError("it has no graph")


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """(field number, content) of one message; the content of plain numbers is None."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        value = None
        if wire == 0:
            _, at = _varint(message, at)
        elif wire == 1:
            at += 8
        elif wire == 2:
            size, at = _varint(message, at)
            value = message[at : at + size]
            at += size
        elif wire == 5:
            at += 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if number == 0 or at > end:
            raise ValueError("a field runs past its end")
        yield number, value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
