"""What the graph of an ONNX model gives away: layers left in training mode, and its own first steps with the pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import numpy_helper

from vidface.errors import printable

Range = tuple[NDArray[np.float64], NDArray[np.float64]]  # lowest and highest, [3] each, by channel

_RANDOM = {
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
}
_SHIFTS = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}


class Facts(NamedTuple):
    """What a graph gives away.

    Attributes:
        training: layers in training mode and sources of random numbers, "name (operation)".
        batch_statistics: those of them that compute with the mean and variance of the batch.
        normalised: the range of the pixels after the graph's own first steps (a shift, a scale); None: it has none.
    """

    training: tuple[str, ...] = ()
    batch_statistics: tuple[str, ...] = ()
    normalised: Range | None = None


def graph_facts(content: bytes, entering: Range) -> Facts:
    """Look through a model file; nothing is found in one that the onnx package cannot read.

    ``entering`` is the range of what it is fed. Of external data nothing is read.
    """
    try:
        model = onnx.load_model_from_string(content)
        graph = model.graph
        stored = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                stored[node.output[0]] = node.attribute[0].t
        opset = max(
            (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1
        )
        statistics = [node for node in graph.node if _batch_statistics(node, opset)]
        random = [node for node in graph.node if _random(node, stored)]
        return Facts(
            tuple(map(_named, statistics + random)),
            tuple(map(_named, statistics)),
            _first_steps(graph, stored, entering),
        )
    except (DecodeError, ValueError, TypeError, IndexError):
        return Facts()


def _named(node: onnx.NodeProto) -> str:
    return f"{printable(node.name or (node.output[0] if node.output else '?'))} ({node.op_type})"


def _batch_statistics(node: onnx.NodeProto, opset: int) -> bool:
    if node.op_type != "BatchNormalization":
        return False
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    # From opset 14 an attribute says it, before that the further outputs do.
    return bool(flags.get("training_mode", 0)) if opset >= 14 else sum(map(bool, node.output)) > 1


def _random(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type == "Dropout" and len(node.input) > 2:
        mode = stored.get(node.input[2])
        return mode is None or bool(numpy_helper.to_array(mode).any())
    return node.op_type in _RANDOM


def _first_steps(
    graph: onnx.GraphProto, stored: dict[str, onnx.TensorProto], entering: Range
) -> Range | None:
    """Follow the input through shifts and scales, as long as nothing else uses what lies between."""
    name = next((value.name for value in graph.input if value.name not in stored), None)
    low, high = entering
    found = False
    while name is not None:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1 or not users[0].output:
            break
        node = users[0]
        if node.op_type in _SHIFTS:
            other = [stored.get(part) for part in node.input if part != name]
            value = _constant(other[0]) if len(other) == 1 and other[0] is not None else None
            if value is None:
                break
            step = _SHIFTS[node.op_type]
            with np.errstate(all="ignore"):
                ends = [
                    step(end, value) if node.input[0] == name else step(value, end) for end in (low, high)
                ]
        elif node.op_type == "BatchNormalization":
            values = [_constant(stored.get(part)) for part in node.input[1:5]]
            if len(values) != 4 or any(value is None or value.size != 3 for value in values):
                break
            scale, bias, mean, variance = (np.asarray(value) for value in values)
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            ends = [(end - mean) / np.sqrt(variance + epsilon) * scale + bias for end in (low, high)]
        elif node.op_type in ("Identity", "Cast", "Transpose"):
            name = node.output[0]
            continue
        else:
            break
        low, high = np.minimum(*ends), np.maximum(*ends)
        found, name = True, node.output[0]
    return (low, high) if found else None


def _constant(tensor: onnx.TensorProto | None) -> NDArray[np.float64] | None:
    """A number for all channels [1], or one for each [3]; None for anything else."""
    if tensor is None or math.prod(tensor.dims) not in (1, 3) or tensor.external_data:
        return None
    return numpy_helper.to_array(tensor).astype(np.float64).ravel()
