"""What an ONNX model costs, counted from its graph with the shapes that the onnx package infers; it is not run.

Counted are Conv, ConvTranspose, Gemm and MatMul. Operations that multiply no matrices cost nothing, as on the
challenge organisers' counter. Everything else, known or not (Einsum, LSTM, quantised operations, those of a vendor,
loops), is listed as not counted, and the figures are then lower bounds. The counter has no rule for ConvTranspose,
which gets 2 x MACs here, nor for MatMul, which is a fully connected layer without bias.

A graph whose normalisations were folded has a bias where its definition has none, and a bias costs one FLOP a number
more and stores less than a normalisation. `vidface.backbones.export` writes into the model which layers those are, so
that the definition can be counted from the graph; what the file itself holds is counted beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx import TensorProto, shape_inference
from onnx.external_data_helper import load_external_data_for_tensor

from vidface.backbones.card import ModelCard
from vidface.backbones.costs import FOLDED, Budget, Layer, conv_cost, conv_name, dense_cost
from vidface.backbones.onnx_files import external_files, messages_of
from vidface.backbones.opened import choose_output
from vidface.errors import ModelError, printable, shortened

Shapes = Mapping[str, tuple[int, ...]]
Rows = Sequence[tuple[Layer, onnx.NodeProto | None]]  # a layer with its node; None: stored, used by no node

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
_SMALL = 1024  # of external tensors only small ones can be shapes that the inference needs


def onnx_budget(
    path: Path, card: ModelCard | None, input_size: tuple[int, int] | None, output: str | None = None
) -> Budget:
    """Count an ONNX model; of its external data, in its own folder, only small tensors are read.

    The input size (height, width) and which output is the embedding are those of its card, which must agree with
    the graph; without one they are needed where the graph leaves them open.

    Raises:
        ModelError: the file is no ONNX model, is damaged, reads files outside its folder, is no face model,
            does not fit its card, or leaves its input size free and none was given.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: model cannot be read: {error.strerror}") from error
    external_files(content, path)  # their locations are checked
    model = onnx.load_model_from_string(content)
    try:
        for tensor in model.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL and prod(tensor.dims) <= _SMALL:
                load_external_data_for_tensor(tensor, str(path.resolve().parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
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
    """Count a graph with one input, N x 3 x H x W or N x H x W x 3, and an output N x D.

    ``name`` is what to call it, also in errors. What is None is taken from the graph: the input size (height,
    width), the dimension, and the output that is the embedding.

    Raises:
        ModelError: as for `onnx_budget`.
    """
    for message in messages_of(model):
        for field, value in message.ListFields():
            if field.type != field.TYPE_STRING or field.name == "doc_string":
                continue
            if not all(
                isinstance(text, str) for text in ([value] if isinstance(value, str | bytes) else value)
            ):
                raise ModelError(  # bytes, where they are no UTF-8
                    f"{name}: not an ONNX model, or a damaged one: it has names that are not text"
                )
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
    rows, not_counted = _rows(model.graph, shapes, batch)
    layers = tuple(layer for layer, _ in rows)
    biased = [
        node for layer, node in rows if layer.macs and node and node.op_type == "Conv" and _has_bias(node)
    ]
    notes = []
    definition = None
    if (metadata := {entry.key: entry.value for entry in model.metadata_props}).get(FOLDED) is not None:
        definition = _unfolded(metadata[FOLDED], rows, shapes, batch)
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
    elif biased:
        less = sum(
            (_cost(n, shapes, bias=True)[1] - _cost(n, shapes, bias=False)[1]) // batch for n in biased
        )
        notes.append(
            f"{len(biased)} convolutions have a bias and are counted with it; if all are folded normalisations, "
            f"the definition costs {less / 1e6:.2f}M FLOPs less on the organisers' counter"
        )
    # Stored numbers that a Cast or the like makes into weights; quantised operations are named anyway.
    constants = [a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute]
    known = _FLOATING | _PLACES | {TensorProto.UNDEFINED}
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type not in known and prod(tensor.dims) > _SMALL:
            not_counted.append(f"{printable(tensor.name)} ({prod(tensor.dims):,} weights in few bits)")
    if model.graph.sparse_initializer:
        not_counted.append(f"{len(model.graph.sparse_initializer)} sparse weights")
    return Budget(
        name,
        size,
        found or dimension or 0,
        definition or layers,
        as_stored=layers if definition else None,
        not_counted=tuple(not_counted),
        notes=tuple(notes),
    )


def _rows(graph: onnx.GraphProto, shapes: Shapes, batch: int) -> tuple[Rows, list[str]]:
    """(layers that store numbers or are counted, figures for one image; what could not be counted, a line each)."""
    weights = {t.name: prod(t.dims) for t in graph.initializer if t.data_type in _FLOATING and t.dims}
    settings: set[str] = set()
    rows: list[tuple[Layer, onnx.NodeProto | None]] = []
    not_counted = []
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
        name = printable(node.name or f"node {number}")
        op, flops, macs = printable(node.op_type), 0, 0
        if node.domain not in ("", "ai.onnx") or node.op_type not in _FREE | _COUNTED:
            domain = f"{printable(node.domain)}." if node.domain else ""
            not_counted.append(f"{name} ({domain}{op})")
        elif node.op_type in _COUNTED:
            try:
                op, flops, macs = _cost(node, shapes, bias=_has_bias(node))
            except KeyError as error:
                not_counted.append(f"{name} ({node.op_type}: the shape of {error} is not known)")
            except ValueError as error:
                not_counted.append(f"{name} ({node.op_type}: {error})")
            except IndexError:
                not_counted.append(f"{name} ({node.op_type}: an input or its output is not there)")
        if parameters or macs:
            output = shapes.get(node.output[0], ())[1:] if node.output else ()
            rows.append((Layer(name, op, output, parameters, flops // batch, macs // batch), node))
    for name, size in weights.items():
        if name not in settings:
            rows.append((Layer(printable(name), "stored, used by no layer", (), size, 0, 0), None))
    return rows, not_counted


def _cost(node: onnx.NodeProto, shapes: Shapes, *, bias: bool) -> tuple[str, int, int]:
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


def _has_bias(node: onnx.NodeProto) -> bool:
    return len(node.input) > 2 and bool(node.input[2])


def _unfolded(text: str, rows: Rows, shapes: Shapes, batch: int) -> tuple[Layer, ...] | None:
    """The layers as they were before normalisations were folded into some; None if the text does not fit the graph.

    A normalisation stores 4 numbers a channel. Where it became the bias itself, the layer had none.
    """
    try:
        told = json.loads(text)
        as_bias, beside = (set(map(str, told[key])) for key in ("as_bias", "beside_bias"))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    names = [layer.name for layer, node in rows if node is not None]
    counted = {layer.name for layer, _ in rows if layer.macs}
    if as_bias & beside or not as_bias | beside <= counted or len(set(names)) < len(names):
        return None
    before = []
    for layer, node in rows:
        if node is not None and layer.name in as_bias | beside:
            if node.op_type not in ("Conv", "Gemm") or not _has_bias(node) or node.input[2] not in shapes:
                return None
            channels = prod(shapes[node.input[2]])
            parameters, flops = layer.parameters + 4 * channels, layer.flops
            if layer.name in as_bias:
                parameters, flops = parameters - channels, _cost(node, shapes, bias=False)[1] // batch
            layer = replace(layer, op=f"{layer.op}, normalised", parameters=parameters, flops=flops)
        before.append(layer)
    return tuple(before)


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
    failures = (shape_inference.InferenceError, onnx.checker.ValidationError, DecodeError, EncodeError)
    try:
        inferred = shape_inference.infer_shapes(plain, strict_mode=True, data_prop=True).graph
    except (*failures, ValueError, RuntimeError) as error:
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


def _shown(dims: Sequence[int | None]) -> str:
    return " x ".join("?" if side is None else str(side) for side in dims) or "not an array"
