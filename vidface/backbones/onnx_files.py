"""Which other files an ONNX model would read: found in its protobuf, before onnxruntime opens it.

A tensor of an ONNX file may say "my values lie in file X at offset Y". A crafted model could name any file of
the machine and hand out its content as weights, so locations are checked here, whatever version of
onnxruntime is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from vidface.errors import ModelError, shortened
from vidface.files.pointers import pointer_at, pointer_in


def external_files(model: bytes, path: Path) -> list[Path]:
    """The external data files of an ONNX model, sorted and all inside the folder of ``path``, where its content lies.

    Raises:
        ModelError: the content is no ONNX model, or a location is absolute, leaves the folder (also by way of
            a symbolic link) or does not exist.
    """
    if advice := pointer_in(model):
        raise ModelError(f"{path}: {advice}")
    folder = path.resolve().parent
    files = set()
    try:
        parsed = onnx.load_model_from_string(model)
        if not parsed.HasField("graph"):
            raise ValueError("it has no graph")
        tensors = [message for message in messages_of(parsed) if isinstance(message, onnx.TensorProto)]
        entries = [entry for tensor in tensors for entry in tensor.external_data if entry.key == "location"]
        if not all(isinstance(entry.value, str) for entry in entries):  # bytes, where they are no UTF-8
            raise ValueError("the name of a data file is not text")
        locations = sorted({entry.value for entry in entries})
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path}: not an ONNX model, or a damaged one: {shortened(error)}") from error
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


def messages_of(model: onnx.ModelProto) -> Iterator[Message]:
    """A model and every message in it, nested graphs and functions included."""
    todo: list[Message] = [model]
    while todo:
        message = todo.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                todo += [value] if isinstance(value, Message) else value
