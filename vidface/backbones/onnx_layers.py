"""What the nodes of an ONNX graph cost.

Counted are Conv, ConvTranspose, Gemm and MatMul. Operations that multiply no matrices cost nothing, as on the
challenge organisers' counter. Everything else, known or not (Einsum, LSTM, quantised operations, those of a vendor,
loops), is listed as not counted, and the figures are then lower bounds.

The counter has no rule for ConvTranspose, which gets 2 x MACs here, nor for MatMul, which is a fully connected layer
without bias.

A graph whose normalisations were folded has a bias where its definition has none, and a bias costs one FLOP a number
more and stores less than a normalisation. `vidface.backbones.export` writes into the model which layers those are, so
that the definition can be counted from the graph; what the file itself holds is counted beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

import onnx
from onnx import TensorProto

from vidface.backbones.costs import Layer, conv_cost, conv_name, dense_cost
from vidface.errors import printable

__all__ = [
    "FOLDED",
    "SMALL",
    "Shapes",
    "biased_convolutions",
    "few_bits",
    "layers_of",
    "node_cost",
    "unfolded",
]

# Metadata of an exported model: {"as_bias": [...], "beside_bias": [...]}, names of the nodes into which a
# normalisation was folded; it became their bias, or joined one that was there.
FOLDED = "vidface.folded_normalisations"

Shapes = Mapping[str, tuple[int, ...]]

# Operations that multiply no matrices, by the names of onnx 1.23. A list of what costs nothing, not of what
# costs: what a later version brings is then listed as not counted instead of passing for free.
_FREE_NAMES = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu CenterCropPad Clip Compress Concat
    Constant ConstantOfShape Cos Cosh CumProd CumSum DepthToSpace Div Dropout Elu Equal Erf Exp Expand EyeLike
    Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN
    LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow RMSNormalization Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign
    Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
_FREE = frozenset(_FREE_NAMES.split())
_COUNTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Their arrays of floating-point numbers say how, and are no weights; every other setting is a single number.
_SETTINGS = frozenset({"Resize", "Upsample"})
_FLOATING = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
# Such numbers are places and shapes. Others that are not floating-point are weights in few bits.
_PLACES = frozenset({TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING})
# Of external tensors only small ones can be shapes that the inference needs.
SMALL = 1024


def layers_of(graph: onnx.GraphProto, shapes: Shapes, batch: int) -> tuple[list[Layer], list[str]]:
    """(layers that store numbers or are counted, figures for one image; what could not be counted, a line each)."""
    weights = {t.name: prod(t.dims) for t in graph.initializer if t.data_type in _FLOATING and t.dims}
    settings: set[str] = set()
    layers, not_counted = [], []
    for number, node in enumerate(graph.node):
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.t.data_type in _FLOATING and attribute.t.dims:
                weights[node.output[0]] = prod(attribute.t.dims)
            elif attribute.floats:
                weights[node.output[0]] = len(attribute.floats)
        if node.op_type in _SETTINGS:
            settings.update(node.input[1:])
        # A weight that several nodes use is stored once.
        parameters = sum(weights.pop(name, 0) for name in node.input if name not in settings)
        name = _node_name(node, number)
        op, flops, macs = printable(node.op_type), 0, 0
        if node.domain not in ("", "ai.onnx") or node.op_type not in _FREE | _COUNTED:
            domain = f"{printable(node.domain)}." if node.domain else ""
            not_counted.append(f"{name} ({domain}{op})")
        elif node.op_type in _COUNTED:
            try:
                op, flops, macs = node_cost(node, shapes, bias=_has_bias(node))
            except KeyError as error:
                not_counted.append(f"{name} ({node.op_type}: the shape of {error} is not known)")
            except ValueError as error:
                not_counted.append(f"{name} ({node.op_type}: {error})")
            except IndexError:
                not_counted.append(f"{name} ({node.op_type}: an input or its output is not there)")
        if parameters or macs:
            output = shapes.get(node.output[0], ())[1:] if node.output else ()
            layers.append(Layer(name, op, output, parameters, flops // batch, macs // batch))
    rest = {name: size for name, size in weights.items() if name not in settings}
    layers += [
        Layer(printable(name), "stored, used by no layer", (), size, 0, 0) for name, size in rest.items()
    ]
    return layers, not_counted


def node_cost(node: onnx.NodeProto, shapes: Shapes, *, bias: bool) -> tuple[str, int, int]:
    """(what it does, FLOPs on the organisers' counter, MACs) of a node, for the whole batch.

    Raises:
        KeyError: a shape is not known.
        IndexError: it has too few inputs, or no output.
        ValueError: its shapes contradict its groups.
    """
    first, second, numbers = shapes[node.input[0]], shapes[node.input[1]], prod(shapes[node.output[0]])
    attributes = {a.name: a for a in node.attribute}
    if node.op_type == "MatMul":
        return "MatMul", *dense_cost(first[-1], numbers, bias=False)
    if node.op_type == "Gemm":
        transposed = "transA" in attributes and attributes["transA"].i
        return "Gemm", *dense_cost(first[0] if transposed else first[1], numbers, bias=bias)
    groups = attributes["group"].i if "group" in attributes else 1
    kernel = second[2:]
    stride = list(attributes["strides"].ints) if "strides" in attributes else [1]
    # The inference of shapes takes a convolution's channels on trust.
    channels = (second[1] * groups, second[0])[node.op_type == "ConvTranspose"]
    if groups < 1 or second[0] % groups or first[1] != channels or not stride:
        raise ValueError("its channels and groups do not fit together")
    name = conv_name(node.op_type, kernel, stride, groups, first[1])
    if node.op_type == "ConvTranspose":
        macs = prod(first) * prod(second[1:])
        return name, 2 * macs, macs
    return name, *conv_cost(first[1], kernel, numbers, groups, bias=bias)


def unfolded(
    graph: onnx.GraphProto, layers: Sequence[Layer], text: str, shapes: Shapes
) -> list[Layer] | None:
    """The layers as they were before normalisations were folded into some; None if the text does not fit the graph.

    A normalisation stores 4 numbers a channel. Where it became the bias itself, the layer had none.
    """
    try:
        told = json.loads(text)
        as_bias, beside = (set(map(str, told[key])) for key in ("as_bias", "beside_bias"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    nodes = {_node_name(node, number): node for number, node in enumerate(graph.node)}
    counted = {layer.name for layer in layers if layer.macs}
    if as_bias & beside or not as_bias | beside <= counted or len(nodes) < len(graph.node):
        return None
    before = []
    for layer in layers:
        if layer.name in as_bias | beside:
            node = nodes[layer.name]
            if node.op_type not in ("Conv", "Gemm") or not _has_bias(node) or node.input[2] not in shapes:
                return None
            channels = prod(shapes[node.input[2]])
            changed = replace(layer, op=f"{layer.op}, normalised", parameters=layer.parameters + 4 * channels)
            if layer.name in as_bias:
                batch = prod(shapes[node.output[0]]) // prod(layer.output)
                flops = node_cost(node, shapes, bias=False)[1] // batch
                changed = replace(changed, parameters=changed.parameters - channels, flops=flops)
            layer = changed
        before.append(layer)
    return before


def few_bits(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    """Stored numbers that a Cast or the like makes into weights; quantised operations are named anyway."""
    constants = [a.t for node in graph.node if node.op_type == "Constant" for a in node.attribute]
    known = _FLOATING | _PLACES | {TensorProto.UNDEFINED}
    return [t for t in (*graph.initializer, *constants) if t.data_type not in known and prod(t.dims) > SMALL]


def biased_convolutions(graph: onnx.GraphProto, layers: Sequence[Layer]) -> list[onnx.NodeProto]:
    """The convolutions with a bias, of those that were counted."""
    counted = {layer.name for layer in layers if layer.macs}
    return [
        node
        for number, node in enumerate(graph.node)
        if node.op_type == "Conv" and _has_bias(node) and _node_name(node, number) in counted
    ]


def _has_bias(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _node_name(node: onnx.NodeProto, number: int) -> str:
    return printable(node.name or f"node {number}")
