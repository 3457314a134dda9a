"""What an ONNX model costs, counted from its graph with the shapes that the onnx package infers; it is not run.

What a node costs and what is not counted: `vidface.backbones.onnx_layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import TensorProto, shape_inference
from onnx.external_data_helper import load_external_data_for_tensor

from vidface.backbones.card import ModelCard
from vidface.backbones.costs import Budget
from vidface.backbones.onnx_files import external_files
from vidface.backbones.onnx_layers import (
    FOLDED,
    SMALL,
    Shapes,
    biased_convolutions,
    few_bits,
    layers_of,
    node_cost,
    unfolded,
)
from vidface.backbones.opened import choose_output
from vidface.errors import ModelError, printable, shortened

__all__ = ["graph_budget", "onnx_budget"]


def onnx_budget(
    path: Path, card: ModelCard | None, input_size: tuple[int, int] | None, output: str | None = None
) -> Budget:
    """Count an ONNX model.

    Args:
        path: the model; external data is read only from its own folder, and of that only small tensors.
        card: its card, if it has one: gives the input size, and must agree with the graph.
        input_size: (height, width), where there is no card and the graph leaves it free.
        output: which output is the embedding, where there is no card and the graph has several.

    Raises:
        ModelError: the file is no ONNX model, is damaged, reads files outside its folder, is no face model,
            does not fit its card, or leaves its input size free and none was given.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: model cannot be read: {error.strerror}") from error
    has_data = external_files(content, path)
    try:
        model = onnx.load_model_from_string(content)
        if has_data:
            _load_small(model, path.resolve().parent)
    except (DecodeError, OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{path}: not an ONNX model, or a damaged one: {shortened(error)}") from error
    if card is None:
        return graph_budget(model, str(path), input_size, embedding=output)
    return graph_budget(model, str(path), card.input_size, card.dimension, card.output)


def graph_budget(
    model: onnx.ModelProto,
    name: str,
    input_size: tuple[int, int] | None = None,
    dimension: int | None = None,
    embedding: str | None = None,
) -> Budget:
    """Count a graph.

    Args:
        model: with one input, N x 3 x H x W or N x H x W x 3, and an output N x D.
        name: what to call it, also in errors.
        input_size: (height, width); None takes what the graph says.
        dimension: what its card says; None takes what the graph says.
        embedding: the output that is the embedding; None: it has only one.

    Raises:
        ModelError: as for `onnx_budget`.
    """
    if not all(isinstance(text, str) for text in _texts(model)):  # bytes, where they are no UTF-8
        raise ModelError(f"{name}: not an ONNX model, or a damaged one: it has names that are not text")
    shapes, size, batch = _infer(model, name, input_size)
    # Where the inference could not follow, the file's own word on its output is all there is.
    outputs = {value.name: shapes.get(value.name) or _sides(value) for value in model.graph.output}
    output = outputs[choose_output({key: _shown(value) for key, value in outputs.items()}, embedding, name)]
    inner = [side for side in output[1:] or output if side != 1]
    if len(inner) > 1:
        raise ModelError(f"{name}: its output is {_shown(output)}; a face model gives N x D")
    found = inner[0] if inner else 1 if output else None
    if found is None and dimension is None:
        raise ModelError(
            f"{name}: the length of its embedding cannot be told from the graph: say it in a card"
        )
    if None not in (found, dimension) and found != dimension:
        raise ModelError(f"{name}: gives embeddings of {found} numbers, its card says dimension {dimension}")
    layers, not_counted = layers_of(model.graph, shapes, batch)
    notes = []
    definition = None
    if (metadata := {entry.key: entry.value for entry in model.metadata_props}).get(FOLDED) is not None:
        definition = unfolded(model.graph, layers, metadata[FOLDED], shapes)
        if definition is None:
            notes.append(
                "its metadata names folded normalisations that the graph does not have: not believed"
            )
        else:
            changed = sum(a != b for a, b in zip(layers, definition, strict=True))
            notes.append(
                f"{changed} layers are counted as before their normalisation was folded into them, as the file's "
                "metadata states; these figures are judged, those of the file as it is stand beside"
            )
    elif biased := biased_convolutions(model.graph, layers):
        less = sum(
            (node_cost(n, shapes, bias=True)[1] - node_cost(n, shapes, bias=False)[1]) // batch
            for n in biased
        )
        notes.append(
            f"{len(biased)} convolutions have a bias and are counted with it; if all are folded normalisations, "
            f"the definition costs {less / 1e6:.2f}M FLOPs less on the organisers' counter"
        )
    for tensor in few_bits(model.graph):
        not_counted.append(f"{printable(tensor.name)} ({prod(tensor.dims):,} weights in few bits)")
    if model.graph.sparse_initializer:
        not_counted.append(f"{len(model.graph.sparse_initializer)} sparse weights")
    return Budget(
        name,
        size,
        found or dimension or 0,
        tuple(definition or layers),
        as_stored=tuple(layers) if definition else None,
        not_counted=tuple(not_counted),
        notes=tuple(notes),
    )


def _texts(model: onnx.ModelProto) -> Iterator[str]:
    """Every text of a model that the counting looks at."""
    graph = model.graph
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    things = (
        *graph.initializer,
        *graph.input,
        *graph.output,
        *(a.t for n in graph.node for a in n.attribute),
    )
    yield from (thing.name for thing in things)
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)


def _infer(
    model: onnx.ModelProto, name: str, input_size: tuple[int, int] | None
) -> tuple[Shapes, tuple[int, int], int]:
    """(shapes of all values that are known, input size, batch size they hold for)."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]  # old files list weights too
    if len(inputs) != 1:
        raise ModelError(f"{name}: has {len(inputs)} inputs; a face model has one")
    dims = _sides(inputs[0])
    last = len(dims) == 4 and dims[3] == 3 and dims[1] != 3
    if len(dims) != 4 or (not last and dims[1] not in (3, None)):
        raise ModelError(
            f"{name}: its input is {_shown(dims)}; a face model takes N x 3 x H x W or N x H x W x 3"
        )
    for side, told in zip(dims[1:3] if last else dims[2:], input_size or (None, None), strict=True):
        if side is None and told is None:
            raise ModelError(f"{name}: leaves its input size free: pass for example --input-size 112x112")
        if None not in (side, told) and side != told:
            raise ModelError(
                f"{name}: its input is {_shown(dims)}, not {_shown(input_size or ())}: leave the size out"
            )
    known = input_size or (0, 0)
    told_all = (1, *known, 3) if last else (1, 3, *known)
    full = [told if side is None else side for side, told in zip(dims, told_all, strict=True)]
    batch, height, width = full[0], full[1 if last else 2], full[2 if last else 3]
    if min(batch, height, width) < 1:
        raise ModelError(f"{name}: its input is {_shown(dims)}; sizes must be positive")
    # What the file says of inner shapes may be for another size, or wrong: only what follows counts.
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.value_info[:]
    value = next(value for value in plain.graph.input if value.name == inputs[0].name)
    for dim, side in zip(value.type.tensor_type.shape.dim, full, strict=True):
        dim.dim_value = side
    try:
        inferred = shape_inference.infer_shapes(plain, strict_mode=True, data_prop=True).graph
    except (
        shape_inference.InferenceError,
        onnx.checker.ValidationError,
        DecodeError,
        EncodeError,
        ValueError,
        RuntimeError,
    ) as error:
        raise ModelError(f"{name}: its shapes do not fit together: {shortened(error)}") from error
    shapes: dict[str, tuple[int, ...]] = {t.name: tuple(t.dims) for t in plain.graph.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        sides = _sides(value)
        if value.type.tensor_type.HasField("shape") and None not in sides:
            shapes[value.name] = tuple(side for side in sides if side is not None)
    return shapes, (height, width), batch


def _sides(value: onnx.ValueInfoProto) -> list[int | None]:
    """Shape of a value as the file says it: None for a side that is free; empty also where nothing is said."""
    sides = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") and d.dim_value != -1 else None for d in sides]


def _load_small(model: onnx.ModelProto, folder: Path) -> None:
    """Read the external tensors that may be shapes; their locations have been checked."""
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL and prod(tensor.dims) <= SMALL:
            load_external_data_for_tensor(tensor, str(folder))


def _shown(dims: Sequence[int | None]) -> str:
    return " x ".join("?" if side is None else str(side) for side in dims) or "not an array"
