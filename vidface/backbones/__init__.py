"""Backbones: what turns aligned faces into embeddings.

Two kinds, told apart by a file's content: any ONNX face model, and the paper's networks with weights from a
safetensors file or a plain torch archive (.pth). Each comes with a card (`vidface.backbones.card`) that states
what it expects. torch is imported only for the second kind.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vidface.backbones.card import ModelCard
from vidface.backbones.card_file import read_card
from vidface.backbones.kinds import model_kind
from vidface.backbones.opened import Embed
from vidface.errors import ModelError, UsageError

if TYPE_CHECKING:
    from vidface.backbones.probe import Findings

__all__ = ["Backbone", "ModelCard", "load_backbone", "read_card"]


@dataclass(frozen=True)
class Backbone:
    """A model that is ready to embed.

    Attributes:
        card: what it expects and gives.
        sha256: of the model file, its external data and the card's content, so that a changed card is a
            changed model.
        device: what it really runs on, for example "cpu (CPUExecutionProvider, float32)".
        embed: uint8 RGB [N, H, W, 3], N >= 0, to float32 [N, D], not L2-normalised; colour order, mean and
            std are handled inside. On a CPU a face has the same bits whatever batch it came in and whatever
            the number of threads; on a GPU they may differ by rounding. NaN is passed through. Raises
            UsageError for faces of another shape or dtype.
        warnings: what the probe found that may cost the user something, most costly first.
        findings: all that the probe found; None where it was not made.
    """

    card: ModelCard
    sha256: str
    device: str
    embed: Embed
    warnings: list[str] = field(default_factory=list)
    findings: Findings | None = None


def load_backbone(
    path: Path,
    *,
    overrides: dict[str, object] | None = None,
    device: str = "auto",
    half: bool = False,
    threads: int | None = None,
    probed: bool = True,
) -> Backbone:
    """Open a model with its card, and try it on a few images: see `vidface.backbones.probe`.

    Args:
        path: an ONNX model, or weights of the paper's networks (safetensors, or a .pth of torch 1.6 or later).
        overrides: card fields given as options (see `read_card`).
        device: "cpu", "cuda", or "auto": a GPU where the library finds one.
        half: half precision on a GPU; an ONNX model decides itself (see `device` of the result).
        threads: compute threads on a CPU; None: all cores this process may use.
        probed: False: it was tried elsewhere already.

    Raises:
        ModelError: the model or its card cannot be used, or its embeddings cannot be relied on.
        UsageError: a device that is not there, or half precision on a CPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device {device!r} is unknown: say auto, cpu or cuda")
    kind = model_kind(path)
    card = read_card(path, overrides or {})
    if kind != "onnx":
        from vidface.backbones.torch_model import open_torch

        if card.output is not None:
            raise ModelError(f"{path}: weights have one output: take `output` out of the card")
        files = [path]
        opened = open_torch(path, card, device, half, threads)
    else:
        from vidface.backbones.onnx_files import external_files
        from vidface.backbones.onnx_model import open_onnx

        if card.architecture is not None:
            raise ModelError(f"{path}: an ONNX model holds its own architecture: take it out of the card")
        opened = open_onnx(path, card, device, half, threads)
        files = [path, *external_files(path.read_bytes(), path)]
    if half and opened.where.startswith("cpu"):
        raise UsageError(f"half precision is for GPUs: leave it out, the model runs on {opened.where}")
    findings = None
    if probed:
        from vidface.backbones.onnx_facts import Facts, graph_facts  # here, since they import large libraries
        from vidface.backbones.probe import pixel_range, probe

        facts = graph_facts(path.read_bytes(), pixel_range(card)) if kind == "onnx" else Facts()
        findings = probe(opened, card, facts, path)

    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        shape = (*card.input_size, 3)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != shape:
            height, width, _ = shape
            found = " x ".join(map(str, images.shape))
            raise UsageError(f"faces must be uint8 N x {height} x {width} x 3, not {images.dtype} {found}")
        return opened.embed(images)

    return Backbone(
        card=card,
        sha256=_sha256(files, card),
        device=opened.where,
        embed=embed,
        warnings=[f"{path.name}: {warning}" for warning in findings.warnings] if findings else [],
        findings=findings,
    )


def _sha256(files: list[Path], card: ModelCard) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    # A field that came later and is not given changes no hash of before.
    fields = {name: v for name, v in card.model_dump().items() if v is not None or name == "architecture"}
    digest.update(json.dumps(fields, sort_keys=True).encode())
    return digest.hexdigest()
