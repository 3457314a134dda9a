"""What a model file is, told by its first bytes and not by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vidface.errors import ModelError

__all__ = ["model_kind", "refuse_pickle"]


def model_kind(path: Path) -> Literal["onnx", "safetensors"]:
    """The kind of a model file; what is neither a pickle nor safetensors is taken for ONNX, whose reader
    decides.

    Raises:
        ModelError: the file cannot be read, or is a pickle.
    """
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ModelError(f"{path}: model cannot be read: {error.strerror}") from error
    refuse_pickle(head, path)
    # A safetensors file: the length of a JSON header, 8 bytes, then the header itself.
    if path.suffix == ".safetensors" or head[8:9] == b"{":
        return "safetensors"
    return "onnx"


def refuse_pickle(head: bytes, path: Path) -> None:
    """Refuse a pickle or a torch archive (a zip around one), whatever its name.

    Args:
        head: the file's first bytes.
        path: where they come from.

    Raises:
        ModelError: it is one.
    """
    is_pickle = (
        head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and head[8:9] != b"{"
    )
    is_zip = head.startswith(b"PK\x03\x04")
    if is_pickle or is_zip or path.suffix in (".pth", ".pt", ".pkl", ".ckpt"):
        raise ModelError(
            f"{path}: a torch or pickle file can run code when it is loaded: refused; convert it once with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'NAME.safetensors')"
        )
