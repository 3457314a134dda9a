"""The paper's networks leave as ONNX models that any tool can run, with their cards.

Batch normalisations are folded into the layers before them. The pixels' normalisation stays outside: the card says it.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from vidface.backbones.card import card_text
from vidface.backbones.card_file import read_card
from vidface.backbones.kinds import model_kind
from vidface.backbones.onnx_graph import onnx_model
from vidface.backbones.onnx_model import normalise
from vidface.backbones.torch_model import load_network
from vidface.errors import ModelError, UsageError
from vidface.files.atomic import write_atomic
from vidface.files.locks import waiting

TOLERANCE = 1e-4  # of an embedding's length; folding and another order of sums differ by some 1e-6
_NOISE = 5  # images of seeded noise that every export is tried on


@dataclass(frozen=True)
class Exported:
    """What was written and how well it agrees.

    Attributes:
        model, card: the two files.
        faces: how many images both were run on.
        difference: the largest distance between the two embeddings of an image, in units of their length.
        rounding: the same between torch in float32 and in float64: what rounding alone does to this network.
    """

    model: Path
    card: Path
    faces: int
    difference: float
    rounding: float


def export(checkpoint: Path, output: Path, faces: NDArray[np.uint8] | None = None) -> Exported:
    """Write a checkpoint as an ONNX model with its card, both or neither, after trying it in onnxruntime.

    Args:
        checkpoint: weights (safetensors, or a plain .pth) with a card that names their architecture, or that card.
        output: the model, ``NAME.onnx``; the card is written beside it as ``NAME.toml``.
        faces: uint8 RGB [N, H, W, 3], aligned, to compare torch and onnxruntime on beside seeded noise.

    Raises:
        ModelError: a checkpoint or card that cannot be used, or embeddings that differ by more than `TOLERANCE`
            and more than rounding explains; nothing is written then.
        UsageError: an output whose name does not end in .onnx, or whose card would replace another file.
        StoreError: the files cannot be written.
    """
    if checkpoint.suffix == ".toml":
        beside = [checkpoint.with_suffix(suffix) for suffix in (".safetensors", ".pth", ".pt")]
        checkpoint = next((path for path in beside if path.is_file()), beside[0])
    if model_kind(checkpoint) == "onnx":
        raise ModelError(f"{checkpoint}: no weights of a torch network: only those are exported")
    card_path = _card_beside(output)
    card = read_card(checkpoint, {})
    network, spec = load_network(checkpoint, card)
    images = np.random.default_rng(0).integers(0, 256, (_NOISE, *card.input_size, 3), dtype=np.uint8)
    if faces is not None:
        if faces.dtype != np.uint8 or faces.shape[1:] != images.shape[1:]:
            raise UsageError(
                f"faces must be uint8 N x {' x '.join(map(str, images.shape[1:]))}, "
                f"not {faces.dtype} {' x '.join(map(str, faces.shape))}"
            )
        images = np.concatenate([images, faces])
    pixels = normalise(images, card)
    wanted, exact = _embed(network, pixels), _embed(copy.deepcopy(network).double(), pixels)
    content = onnx_model(
        network,
        spec,
        card.input_size,
        {"checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()},
    ).SerializeToString(deterministic=True)
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {"faces": part})[0] for part in _parts(pixels)])
    difference, rounding = _distances(found, wanted), _distances(wanted, exact)
    # Some images bring a network near a point where float32 itself loses digits, noise more than faces: there
    # torch is as far from the exact embedding as from onnxruntime's.
    if not np.all(difference <= np.maximum(TOLERANCE, 10 * rounding)):  # NaN is no agreement
        raise ModelError(
            f"{checkpoint}: not exported: onnxruntime's embeddings differ from torch's by {np.max(difference):.1e} "
            f"of their length, more than {TOLERANCE:.0e}: check the weights for numbers that are not finite"
        )
    # The card takes its name first: a model is never there without one.
    with waiting(output), waiting(card_path), write_atomic(output) as model, write_atomic(card_path) as file:
        model.write(content)
        file.write(card_text(card.model_copy(update={"architecture": None})).encode())
    return Exported(output, card_path, len(images), float(np.max(difference)), float(np.max(rounding)))


def _card_beside(output: Path) -> Path:
    """Where the card goes; nothing but the card of an ONNX model may be replaced there."""
    if output.suffix != ".onnx":
        raise UsageError(f"{output}: the output's name must end in .onnx")
    card_path = output.with_suffix(".toml")
    for path in (output, card_path):
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: is not a file: choose another name")
    if card_path.exists():
        try:
            replaceable = read_card(output, {}).architecture is None
        except ModelError:
            replaceable = False
        if not replaceable:
            raise UsageError(
                f"{card_path}: is there already and is no card of an ONNX model, so it is not replaced: choose "
                "another name or folder for the output"
            )
    return card_path


def _parts(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """One image alone, then eight at a time: the batch must be free."""
    return [pixels[:1], *(pixels[start : start + 8] for start in range(1, len(pixels), 8))]


def _embed(network: nn.Module, pixels: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
    """The network's embeddings of normalised pixels, in its own precision."""
    dtype = next(network.parameters()).dtype
    with torch.inference_mode():
        return np.concatenate([network(torch.from_numpy(part).to(dtype)).numpy() for part in _parts(pixels)])


def _distances(found: NDArray[np.floating[Any]], wanted: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Distance of every row of two arrays [N, D], in units of the second's length."""
    distances = np.linalg.norm(found.astype(np.float64) - wanted, axis=1)
    lengths = np.linalg.norm(wanted.astype(np.float64), axis=1)
    return np.where(distances == 0, 0, distances / np.maximum(lengths, np.finfo(np.float32).tiny))
