"""What an ONNX face model takes and gives: what its file says, then what a run on black images shows.

Names in a graph promise shapes, only a run shows them. What is taken: N x 3 x H x W or N x H x W x 3 in float32,
float16 or uint8, with a free or a fixed batch; one row of numbers per face, whatever axes of length 1 stand around it.
Of several outputs the card names the one that is the embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vidface.backbones.card import ModelCard
from vidface.backbones.onnx_session import run_session
from vidface.backbones.opened import Form, choose_output
from vidface.errors import ModelError, printable

__all__ = ["INPUT_DTYPES", "embedding_rows", "form_of"]

Layout = Literal["NCHW", "NHWC"]

INPUT_DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "uint8": np.uint8}
_NAMES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_CHANNEL_AXIS: dict[Layout, int] = {"NCHW": 1, "NHWC": 3}
_MAX_BATCH = 1024


def form_of(session: Any, path: Path, card: ModelCard, *, one_by_one: bool) -> Form:
    """The form of a model that is open.

    Args:
        session: of onnxruntime.
        path: of the model, for messages.
        card: input size and which output is the embedding; mean and std must leave uint8 input alone.
        one_by_one: run each face alone even if the batch is free.

    Raises:
        ModelError: no face model, one that does not fit its card, or one that cannot be run as it is; the message says
            how to convert it.
    """
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise ModelError(
            f"{path}: has {len(inputs)} inputs; a face model has one "
            f"({', '.join(repr(node.name) for node in inputs)}): export it with the faces as its only input"
        )
    shapes = {node.name: _shown(node.shape) if "tensor" in node.type else node.type for node in outputs}
    output = choose_output(shapes, card.output, str(path))
    kind, shape = inputs[0].type, inputs[0].shape or ["?"] * 4
    if kind not in _NAMES:
        raise ModelError(
            f"{path}: its input is {kind}; only float32, float16 and uint8 are run: export it with a float32 input "
            "(in torch: network.float())"
        )
    dtype = _NAMES[kind]
    if dtype == "uint8" and (set(card.mean) != {0.0} or set(card.std) != {1.0}):
        raise ModelError(
            f"{path}: its input is uint8, so it takes pixels as they are and normalises them itself: write "
            "mean = [0, 0, 0] and std = [1, 1, 1] on its card"
        )
    batch = shape[0] if isinstance(shape[0], int) else None
    if batch is not None and not 0 < batch <= _MAX_BATCH:
        raise ModelError(
            f"{path}: a fixed batch of {batch} is too large or too small: export it with a free one"
        )
    tries = [
        (layout, count)
        for layout in _layouts(shape, path, card.input_size)
        for count in ([batch] if batch else [1] if one_by_one else [2, 1])
    ]
    failed: ModelError | None = None
    for layout, count in tries:
        sides = card.input_size
        blank = np.zeros((count, 3, *sides) if layout == "NCHW" else (count, *sides, 3), INPUT_DTYPES[dtype])
        try:
            rows = embedding_rows(run_session(session, output, blank, path), count, path)
        except ModelError as error:
            failed = failed or error
            continue
        why = None
        if batch is None and count == 1:
            why = "it is quantised dynamically" if one_by_one else "a batch of 2 does not give 2 rows"
        return Form(dtype, layout, 1 if why else batch, why, shapes, output, rows.shape[1])
    assert failed is not None
    raise failed


def embedding_rows(out: NDArray[np.float32], count: int, path: Path) -> NDArray[np.float32]:
    """The output of a run as one row per face: [n, D] of [n, D], [n, D, 1, 1], [n, 1, D], or [D] for one face.

    Raises:
        ModelError: it has another form.
    """
    shape = out.shape if count > 1 or out.ndim != 1 else (1, *out.shape)
    inner = [side for side in shape[1:] if side != 1]
    if len(shape) >= 2 and shape[0] == count and len(inner) == 1:
        return out.reshape(count, -1)
    gives = f"{path}: {count} faces give an output of {' x '.join(map(str, out.shape))}"
    if len(shape) >= 2 and shape[0] == count and not inner:
        raise ModelError(
            f"{gives}, one number per face: not an embedding (if there is a second output, name that one)"
        )
    hint = ": a feature map: export it with its pooling and embedding layers" if len(inner) > 1 else ""
    raise ModelError(f"{gives}; a face model gives one row of numbers per face{hint}")


def _layouts(shape: list[Any], path: Path, input_size: tuple[int, int]) -> list[Layout]:
    """The layouts that the file leaves open, most likely first; its sides must be those of the card."""
    shown = _shown(shape)
    if len(shape) != 4:
        raise ModelError(f"{path}: its input is {shown}; a face model takes N x 3 x H x W or N x H x W x 3")
    named = [layout for layout, axis in _CHANNEL_AXIS.items() if shape[axis] == 3]
    free = [layout for layout, axis in _CHANNEL_AXIS.items() if not isinstance(shape[axis], int)]
    layouts = named[:1] or free
    if not layouts:
        raise ModelError(f"{path}: its input is {shown}; a face model takes N x 3 x H x W or N x H x W x 3")
    sides = shape[2:] if layouts[0] == "NCHW" else shape[1:3]
    for side, wanted in zip(sides, input_size, strict=True):
        if isinstance(side, int) and side != wanted:
            height, width = input_size
            raise ModelError(f"{path}: its input is {shown}, but its card says {height}x{width}")
    return layouts


def _shown(shape: list[Any]) -> str:
    return (
        " x ".join("?" if side is None else printable(str(side)) for side in shape) or "of a shape not stated"
    )
