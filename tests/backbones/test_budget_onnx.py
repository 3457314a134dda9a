from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from counting import organisers_count, stored_numbers, torch_flops
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node
from small_models import TINY, save_external, stirred, tiny_onnx, write_card
from torch import nn

from vidface.backbones import budget_onnx
from vidface.backbones.budget import read_budget, spec_budget
from vidface.backbones.budget_onnx import _COUNTED, _FREE, graph_budget
from vidface.backbones.costs import FOLDED, Budget
from vidface.backbones.mobilefacenet import build, fold
from vidface.backbones.onnx_graph import onnx_model
from vidface.backbones.spec import STEPS, parse_spec
from vidface.errors import ModelError

Array = np.ndarray[Any, Any]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    weights: dict[str, Array] | None = None,
    *,
    shape: Sequence[int | str] = ("N", 3, 8, 8),
    output: Sequence[int | str] = ("N", 4),
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def floats(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


# Whatever stands before it: any image to an embedding of its channels' means.
POOLED = (make_node("GlobalAveragePool", ["z"], ["p"]), make_node("Flatten", ["p"], ["y"]))


def counted(budget: Budget) -> tuple[int, int, int]:
    return budget.flops, budget.macs, budget.parameters


# ---- operations that are counted


@settings(max_examples=12)
@given(
    groups=st.integers(1, 4),
    cin=st.integers(1, 4),
    cout=st.integers(1, 4),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    bias=st.booleans(),
    transposed=st.booleans(),
)
def test_convolutions_cost_what_torch_counts(
    groups: int,
    cin: int,
    cout: int,
    kernel: tuple[int, int],
    stride: int,
    padding: int,
    bias: bool,
    transposed: bool,
) -> None:
    """After a plain 1x1 convolution that makes the channels; its cost is known."""
    channels, out = cin * groups, cout * groups
    conv: nn.Conv2d | nn.ConvTranspose2d
    if transposed:
        conv = nn.ConvTranspose2d(channels, out, kernel, stride, groups=groups, bias=bias)
        padding = 0
    else:
        conv = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=bias)
    weights = {name: tensor.detach().numpy() for name, tensor in conv.named_parameters()}
    nodes = [
        make_node("Conv", ["x", "first"], ["c"]),
        make_node(
            "ConvTranspose" if transposed else "Conv",
            ["c", *weights],
            ["z"],
            strides=[stride, stride],
            pads=[padding] * 4,
            group=groups,
        ),
    ]
    model = model_of([*nodes, *POOLED], {"first": floats(channels, 3, 1, 1), **weights}, output=["N", out])
    first = nn.Conv2d(3, channels, 1, bias=False)
    network = nn.Sequential(first, conv)
    image = torch.zeros(1, 3, 8, 8)
    budget = graph_budget(model, "m")
    assert 2 * budget.macs == torch_flops(network, image)
    assert budget.parameters == stored_numbers(network)
    if transposed:  # for which the organisers' counter has no rule
        assert budget.flops == organisers_count(first, (8, 8))[0] + 2 * (budget.macs - 64 * 3 * channels)
    else:
        assert budget.flops == organisers_count(network, (8, 8))[0]


@pytest.mark.parametrize(
    ("node", "weights", "cost"),
    [
        (("Gemm", ["f", "w", "b"], {}), {"w": (192, 4), "b": (4,)}, (2 * 192 * 4, 192 * 4, 193 * 4)),
        (("Gemm", ["f", "w"], {}), {"w": (192, 4)}, (383 * 4, 192 * 4, 192 * 4)),
        (("Gemm", ["f", "w", ""], {"transB": 1}), {"w": (4, 192)}, (383 * 4, 192 * 4, 192 * 4)),
        (("Gemm", ["f", "w", "b"], {"transB": 1}), {"w": (4, 192), "b": (4,)}, (1536, 768, 772)),
        (("MatMul", ["f", "w"], {}), {"w": (192, 4)}, (383 * 4, 192 * 4, 192 * 4)),
    ],
)
def test_fully_connected(
    node: tuple[str, list[str], dict[str, int]],
    weights: dict[str, tuple[int, ...]],
    cost: tuple[int, int, int],
) -> None:
    op, inputs, attributes = node
    nodes = [make_node("Flatten", ["x"], ["f"]), make_node(op, inputs, ["y"], **attributes)]
    model = model_of(nodes, {name: floats(*shape) for name, shape in weights.items()})
    assert counted(graph_budget(model, "m")) == cost


def test_a_product_of_two_activations() -> None:
    """[3, 8, 8] x [3, 8, 8]: 3 x 8 x 8 numbers of 8 terms; nothing is stored."""
    nodes = [make_node("MatMul", ["x", "x"], ["z"]), *POOLED]
    assert counted(graph_budget(model_of(nodes, output=["N", 3]), "m")) == (15 * 192, 8 * 192, 0)


@pytest.mark.parametrize("batch", ["N", 4])
def test_the_figures_are_for_one_image(batch: int | str) -> None:
    nodes = [
        make_node("Conv", ["x", "w", "b"], ["c"]),
        make_node("Flatten", ["c"], ["f"]),
        make_node("MatMul", ["f", "m"], ["y"]),
    ]
    weights = {"w": floats(2, 3, 3, 3), "b": floats(2), "m": floats(72, 4)}
    budget = graph_budget(model_of(nodes, weights, shape=[batch, 3, 8, 8], output=[batch, 4]), "m")
    assert counted(budget) == (2 * 27 * 72 + 143 * 4, 27 * 72 + 72 * 4, 54 + 2 + 288)
    assert [layer.output for layer in budget.layers] == [(2, 6, 6), (4,)]


# ---- parameters


def test_which_numbers_are_parameters() -> None:
    """Normalisations 4 a channel, slopes, shared weights once, constants; no shapes, scales, bounds or integers."""
    nodes = [
        make_node("Constant", [], ["k"], value=numpy_helper.from_array(floats(1, 3, 1, 1))),
        make_node("Constant", [], ["list"], value_floats=[1.0, 2.0, 3.0, 4.0, 5.0]),
        make_node("Constant", [], ["low"], value=numpy_helper.from_array(np.float32(0))),
        make_node("Sub", ["x", "k"], ["a"]),
        make_node("Conv", ["a", "w"], ["b"]),
        make_node("BatchNormalization", ["b", "g", "h", "mean", "var"], ["c"]),
        make_node("PRelu", ["c", "slope"], ["d"]),
        make_node("Conv", ["d", "w"], ["e"]),
        make_node("Clip", ["e", "low"], ["clipped"]),
        make_node("Resize", ["clipped", "", "scales"], ["z"]),
        make_node("GlobalAveragePool", ["z"], ["p"]),
        make_node("Reshape", ["p", "to"], ["y"]),
    ]
    weights = {
        "w": floats(3, 3, 1, 1),
        **{name: floats(3) for name in ("g", "h", "mean", "var")},
        "slope": floats(3, 1, 1),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "to": np.array([-1, 3]),
        "forgotten": floats(100),
        "integers": np.zeros(50, np.int32),
    }
    budget = graph_budget(model_of(nodes, weights, output=["N", 3]), "m")
    stored = {layer.name: layer.parameters for layer in budget.layers}
    nodes_store = {"node 3": 3, "node 4": 9, "node 5": 12, "node 6": 3, "node 7": 0}
    assert stored == {**nodes_store, "forgotten": 100, "list": 5}
    assert (budget.parameters, budget.macs, budget.not_counted) == (132, 2 * 9 * 64, ())


# ---- what is not counted


MULTIPLY = """
    AffineGrid Attention CausalConvWithState Col2Im ConvInteger DFT DeformConv DequantizeLinear Det Einsum GRU If LSTM
    LinearAttention Loop MatMulInteger QLinearConv QLinearMatMul RNN STFT Scan SequenceMap
"""


def test_no_operation_of_the_onnx_package_passes_for_free() -> None:
    names = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    assert names >= _FREE | _COUNTED
    assert not _FREE & _COUNTED
    multiply = set(MULTIPLY.split())
    assert multiply <= names
    assert not multiply & (_FREE | _COUNTED)


def einsum() -> list[onnx.NodeProto]:
    return [make_node("Einsum", ["x", "x"], ["z"], "product", equation="nchw,nchw->nchw"), *POOLED]


def branch() -> list[onnx.NodeProto]:
    body = helper.make_graph(
        [make_node("Conv", ["x", "inner"], ["r"])],
        "b",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(floats(3, 3, 1, 1), "inner")],
    )
    condition = make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    return [condition, make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body), *POOLED]


def quantised() -> list[onnx.NodeProto]:
    arrays = {"s": np.float32(1), "q": np.uint8(0), "k": np.zeros((3, 3, 1, 1), np.uint8)}
    nodes = [
        make_node("Constant", [], [n], value=numpy_helper.from_array(np.array(a))) for n, a in arrays.items()
    ]
    return [
        *nodes,
        make_node("QuantizeLinear", ["x", "s", "q"], ["u"], "in"),
        make_node("QLinearConv", ["u", "s", "q", "k", "s", "q", "s", "q"], ["v"], "conv"),
        make_node("DequantizeLinear", ["v", "s", "q"], ["z"], "out"),
        *POOLED,
    ]


def vendor() -> list[onnx.NodeProto]:
    fused = make_node("FusedConv", ["x"], ["z"], "fast", domain="com.vendor")
    conv = make_node("Conv", ["z", "w"], ["z2"], "after")
    return [fused, conv, make_node("Flatten", ["z2"], ["y"])]


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        (einsum(), ["product (Einsum)"]),
        (branch(), ["node 1 (If)"]),
        (quantised(), ["in (QuantizeLinear)", "conv (QLinearConv)", "out (DequantizeLinear)"]),
        (vendor(), ["fast (com.vendor.FusedConv)", "after (Conv: the shape of 'z' is not known)"]),
    ],
    ids=["einsum", "if", "quantised", "vendor"],
)
def test_what_is_not_understood_is_listed(nodes: list[onnx.NodeProto], wanted: list[str]) -> None:
    model = model_of(nodes, {"w": floats(3, 3, 1, 1)}, output=["N", 3], domains=["com.vendor"])
    assert list(graph_budget(model, "m").not_counted) == wanted


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (("Conv", ["x"], {}), "Conv: an input or its output is not there"),
        (("MatMul", ["x"], {}), "MatMul: an input or its output is not there"),
        (("Conv", ["x", "w"], {"group": 2}), "Conv: its channels and groups do not fit together"),
    ],
)
def test_a_node_that_cannot_be_is_listed(node: tuple[str, list[str], dict[str, int]], said: str) -> None:
    op, inputs, attributes = node
    nodes = [make_node(op, inputs, ["z"], "odd", **attributes), *POOLED]
    model = model_of(nodes, {"w": floats(4, 3, 1, 1)})
    assert f"odd ({said})" in graph_budget(model, "m").not_counted


def test_a_node_without_an_output_is_listed() -> None:
    nodes = [
        make_node("Sink", ["w"], [], "sink", domain="com.vendor"),
        make_node("Identity", ["x"], ["z"]),
        *POOLED,
    ]
    model = model_of(nodes, {"w": floats(5, 2)}, output=["N", 3], domains=["com.vendor"])
    budget = graph_budget(model, "m")
    assert (budget.not_counted, budget.parameters) == (("sink (com.vendor.Sink)",), 10)


@pytest.mark.parametrize("constant", [False, True])
def test_weights_in_few_bits_do_not_pass_for_nothing(constant: bool) -> None:
    stored = numpy_helper.from_array(np.ones((1024, 3, 1, 1), np.int8), "q")
    places = np.zeros(4096, np.int64)  # as attention keeps the places of its biases
    nodes = [
        make_node("Cast", ["q"], ["w"], to=TensorProto.FLOAT),
        make_node("Conv", ["x", "w"], ["z"], "conv"),
        *POOLED,
    ]
    if constant:
        nodes.insert(0, make_node("Constant", [], ["q"], value=stored))
    model = model_of(nodes, {"places": places}, output=["N", 1024])
    if not constant:
        model.graph.initializer.append(stored)
    assert graph_budget(model, "m").not_counted == ("q (3,072 weights in few bits)",)


def test_names_in_a_model_cannot_speak_to_the_terminal() -> None:
    word = "a\x1b[2Jb\nlimits light: within"
    nodes = [make_node(word, ["x"], ["z"], word, domain=word), *POOLED]
    model = model_of(nodes, {word: floats(5)}, domains=[word])
    budget = graph_budget(model, "m")
    (foreign,) = budget.not_counted
    shown = r"a\x1b[2Jb limits light: within"
    assert foreign == f"{shown} ({shown}.{shown})"
    assert [layer.name for layer in budget.layers] == [shown]
    del model.opset_import[1:]
    with pytest.raises(ModelError) as caught:
        graph_budget(model, "m")
    assert str(caught.value).isprintable()


# ---- the real model, and our own exports


def test_the_real_model_walked_with_plain_numbers(shared_data: Path) -> None:
    """Sizes followed by hand from 112: a kernel, its padding and its stride; the batch stays out of it."""
    path = shared_data / "models" / "mobilefacenet_128.onnx"
    graph = onnx.load(path).graph
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    side = {graph.input[0].name: 112}
    flops = macs = 0
    for node in graph.node:
        if node.op_type != "Conv":
            side[node.output[0]] = side.get(node.input[0], 0) if node.input else 0
            continue
        a = {x.name: helper.get_attribute_value(x) for x in node.attribute}
        cout, cin, kh, kw = weights[node.input[1]]
        before = side[node.input[0]]
        after = side[node.output[0]] = (before + 2 * a["pads"][0] - kh) // a["strides"][0] + 1
        macs += after * after * cout * cin * kh * kw
        flops += 2 * cin * a["group"] * kh * kw * after * after * cout // a["group"]  # all have a bias
    budget = read_budget(str(path))
    assert side["/conv3/Conv_output_0"] == 1
    assert counted(budget) == (flops, macs, sum(math.prod(dims) for dims in weights.values()))
    assert budget.dimension == 128
    assert "51 convolutions have a bias and are counted with it" in budget.notes[0]


@pytest.mark.parametrize("name", ["tiny", "y1", "step5"])
def test_an_export_costs_what_its_definition_costs(name: str) -> None:
    """From the graph: as the definition counts, and as the folded network really is."""
    spec, size = (parse_spec(TINY), (16, 32)) if name == "tiny" else (STEPS[name], (112, 112))
    network = build(spec, size).eval()
    definition = spec_budget(spec, size, name)
    budget = graph_budget(onnx_model(network, spec, size), name)  # type: ignore[arg-type]
    assert counted(budget) == counted(definition)
    assert budget.dimension == spec.dimension
    folded = fold(network)  # it is already
    assert budget.as_stored is not None
    assert sum(layer.parameters for layer in budget.as_stored) == stored_numbers(folded) < budget.parameters
    assert sum(layer.flops for layer in budget.as_stored) == organisers_count(folded, size)[0] > budget.flops


LIES = [
    *("", "[]", "[" * 100_000, '{"as_bias": 3, "beside_bias": []}', '{"as_bias": ["fc"]}'),
    '{"as_bias": ["none"], "beside_bias": []}',
    '{"as_bias": ["fc"], "beside_bias": ["fc"]}',
    '{"as_bias": ["blocks.0.expand.2"], "beside_bias": []}',
]


@pytest.mark.parametrize("lie", LIES)
def test_metadata_that_does_not_fit_the_graph_is_not_believed(lie: str) -> None:
    network = stirred(parse_spec(TINY), (16, 32))
    model = onnx_model(network, parse_spec(TINY), (16, 32))  # type: ignore[arg-type]
    (entry,) = (entry for entry in model.metadata_props if entry.key == FOLDED)
    assert json.loads(entry.value)["beside_bias"] == ["fc"]
    entry.value = lie
    budget = graph_budget(model, "m")
    assert budget.flops == organisers_count(fold(network), (16, 32))[0]
    assert budget.as_stored is None
    assert "not believed" in budget.notes[0]


# ---- files


def test_external_data_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    tiny_onnx(path)
    whole = read_budget(str(path))
    save_external(path)
    assert read_budget(str(path)) == whole


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_data_outside_its_folder_is_refused_before_onnx_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    path = tmp_path / "m.onnx"
    tiny_onnx(path, location=location)
    monkeypatch.setattr(budget_onnx, "load_external_data_for_tensor", None)
    with pytest.raises(ModelError, match="outside its own folder: refused"):
        read_budget(str(path))


@pytest.mark.parametrize(
    ("change", "card", "size", "message"),
    [
        (
            {"size": ("H", "W")},
            None,
            None,
            "leaves its input size free: pass for example --input-size 112x112",
        ),
        ({}, None, (32, 32), "its input is . x 3 x 16 x 32, not 32 x 32: leave the size out"),
        ({}, {"dimension": 7}, None, "gives embeddings of 6 numbers, its card says dimension 7"),
        ({}, {"input_size": [32, 32]}, None, "its input is . x 3 x 16 x 32, not 32 x 32"),
        ({"size": ("H", "W")}, None, (64, 64), "its shapes do not fit together"),
        ({"batch": 0}, None, None, "its input is 0 x 3 x 16 x 32; sizes must be positive"),
    ],
)
def test_graphs_that_cannot_be_counted(
    tmp_path: Path,
    change: dict[str, Any],
    card: dict[str, Any] | None,
    size: tuple[int, int] | None,
    message: str,
) -> None:
    path = tmp_path / "m.onnx"
    tiny_onnx(path, **change)
    if card:
        write_card(path, **card)
    with pytest.raises(ModelError, match=message) as caught:
        read_budget(str(path), size)
    assert "\n" not in str(caught.value)


def test_two_inputs_and_an_unknown_dimension() -> None:
    nodes = [make_node("Add", ["x", "other"], ["z"]), *POOLED]
    model = model_of(nodes, output=["N", 3])
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3, 8, 8]))
    with pytest.raises(ModelError, match="has 2 inputs; a face model has one"):
        graph_budget(model, "m")
    model = model_of(vendor(), {"w": floats(3, 3, 1, 1)}, output=["N", "D"], domains=["com.vendor"])
    with pytest.raises(ModelError, match="cannot be told from the graph: say it in a card"):
        graph_budget(model, "m")
    assert graph_budget(model, "m", None, 3).dimension == 3


def test_weights_that_are_listed_as_inputs_are_weights() -> None:
    model = model_of(
        [make_node("Conv", ["x", "w"], ["z"]), *POOLED], {"w": floats(3, 3, 1, 1)}, output=["N", 3]
    )
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3, 1, 1]))
    assert counted(graph_budget(model, "m")) == (5 * 192, 9 * 64, 9)


def test_damaged_files_end_in_one_line(tmp_path: Path) -> None:
    """Cut, and with bytes changed at random: counted, or refused, but never anything else."""
    path = tmp_path / "m.onnx"
    network = stirred(parse_spec(TINY), (16, 32))
    model = onnx_model(network, parse_spec(TINY), (16, 32))  # type: ignore[arg-type]
    for tensor in model.graph.initializer:  # so that most bytes are structure
        if len(tensor.raw_data) > 64:
            tensor.ClearField("raw_data")
    whole = model.SerializeToString()
    random = np.random.default_rng(0)
    refused = 0
    for trial in range(200):
        content = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            content[random.integers(len(content))] = random.integers(256)
        path.write_bytes(content[: random.integers(len(whole))] if trial % 10 == 0 else content)
        try:
            read_budget(str(path))
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 20 <= refused < 200
