"""What a model file is, told by its first bytes and not by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vidface.errors import ModelError
from vidface.files.atomic import require_regular

_ZIP = b"PK\x03\x04"
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number, a pickle of its own


def model_kind(path: Path) -> Literal["onnx", "safetensors", "torch"]:
    """The kind of a model file; what is none of the others is taken for ONNX, whose reader decides.

    "torch" is a zip archive, as ``torch.save`` writes it since version 1.6.

    Raises:
        ModelError: the file cannot be read, or is a bare pickle, whatever its name.
    """
    try:
        with require_regular(path).open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise ModelError(f"{path}: model cannot be read: {error.strerror}") from error
    if head.startswith(_ZIP):
        return "torch"
    # A safetensors file: the length of a JSON header, 8 bytes, then the header itself.
    has_header = head[8:9] == b"{"
    if head.startswith(_OLD_TORCH):
        raise ModelError(
            f"{path}: weights as torch before 1.6 saved them, in a pickle that can run code when it is loaded: "
            "refused; convert it once with torch.save(torch.load(FILE, weights_only=True), 'NAME.pth')"
        )
    is_pickle = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and not has_header
    if is_pickle or path.suffix in (".pth", ".pt", ".pkl", ".ckpt"):
        raise ModelError(
            f"{path}: a torch or pickle file can run code when it is loaded: refused; convert it once with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'NAME.safetensors')"
        )
    return "safetensors" if path.suffix == ".safetensors" or has_header else "onnx"
