"""The paper's networks as ONNX graphs, written node by node from our own definition.

torch's exporter was weighed and left: its current one needs onnxscript, an interpreter of its own for some hundred
lines of graph, and the older one is deprecated and warns. This way the names are the definition's, and the same
checkpoint gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import onnx
from onnx import TensorProto, helper
from torch import nn

import vidface
from vidface.backbones.costs import FOLDED
from vidface.backbones.mobilefacenet import Block, MobileFaceNet, SqueezeExcite, fold
from vidface.backbones.spec import Spec

_OPSET, _IR = 17, 8


def onnx_model(
    network: MobileFaceNet, spec: Spec, input_size: tuple[int, int], metadata: dict[str, str] | None = None
) -> onnx.ModelProto:
    """The ONNX model of a network: `faces` float32 [N, 3, H, W], normalised, to `embeddings` float32 [N, D].

    N is free, H and W are fixed. Nodes have the names of the network's modules. The network, in float32 on the CPU,
    is used up, since its normalisations are folded. ``metadata`` are further entries for the model's metadata.
    """
    fold(network)
    graph = _Graph()
    x = graph.conv_bn("stem", network.stem, "faces")
    if isinstance(network.depthwise_stem, nn.Sequential):
        x = graph.conv_bn("depthwise_stem", network.depthwise_stem, x)
    for number, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        x = graph.block(f"blocks.{number}", block, x)
    x = graph.conv_bn("gdc", network.gdc, graph.conv_bn("head", network.head, x))
    x = graph.add("Flatten", "flatten", [x])
    weights = graph.store("fc", network.fc)
    graph.add("Gemm", "fc", [x, *weights], output="embeddings", transB=1)
    proto = helper.make_graph(
        graph.nodes,
        "vidface",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["N", 3, *input_size])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["N", spec.dimension])],
        graph.weights,
    )
    model = helper.make_model(
        proto,
        producer_name="vidface",
        producer_version=vidface.__version__,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    folded = {"as_bias": graph.folded, "beside_bias": ["fc"]}
    entries = {
        "vidface.architecture": json.dumps(asdict(spec)),
        FOLDED: json.dumps(folded),
        **{f"vidface.{name}": value for name, value in (metadata or {}).items()},
    }
    helper.set_model_props(model, entries)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and weights while a graph is written; every method gives the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.folded: list[str] = []  # nodes whose bias is a folded normalisation

    def add(
        self, op: str, name: str, inputs: Sequence[str], output: str | None = None, **attributes: Any
    ) -> str:
        result = output or f"{name}.out"
        self.nodes.append(helper.make_node(op, inputs, [result], name, **attributes))
        return result

    def store(self, name: str, module: nn.Module, shape: Sequence[int] = ()) -> list[str]:
        """A module's own numbers, weight before bias; `shape` replaces that of the weight."""
        names = []
        for inner, tensor in module.named_parameters(recurse=False):
            values = tensor.detach().reshape(*(shape or tensor.shape)).numpy().astype("<f4")
            names.append(f"{name}.{inner}")
            self.weights.append(
                helper.make_tensor(names[-1], TensorProto.FLOAT, values.shape, values.tobytes(), raw=True)
            )
        return names

    def conv(self, name: str, conv: nn.Module, x: str) -> str:
        assert isinstance(conv, nn.Conv2d) and not isinstance(conv.padding, str)
        return self.add(
            "Conv",
            name,
            [x, *self.store(name, conv)],
            kernel_shape=conv.kernel_size,
            strides=conv.stride,
            pads=[*conv.padding, *conv.padding],
            group=conv.groups,
        )

    def prelu(self, name: str, prelu: nn.Module, x: str) -> str:
        return self.add(
            "PRelu", name, [x, *self.store(name, prelu, (-1, 1, 1))]
        )  # a slope a channel, not a column

    def conv_bn(self, name: str, layers: nn.Sequential, x: str) -> str:
        x = self.conv(f"{name}.0", layers[0], x)
        self.folded.append(f"{name}.0")
        return self.prelu(f"{name}.2", layers[2], x) if len(layers) > 2 else x

    def block(self, name: str, block: Block, x: str) -> str:
        y = x
        for part in ("expand", "depthwise", "project"):
            y = self.conv_bn(f"{name}.{part}", getattr(block, part), y)
        if isinstance(block.se, SqueezeExcite):
            gate = f"{name}.se.gate"
            z = self.add("GlobalAveragePool", f"{gate}.0", [y])
            z = self.conv(f"{gate}.1", block.se.gate[1], z)
            z = self.prelu(f"{gate}.2", block.se.gate[2], z)
            z = self.conv(f"{gate}.3", block.se.gate[3], z)
            z = self.add("Sigmoid", f"{gate}.4", [z])
            y = self.add("Mul", f"{name}.se", [y, z])
        return self.add("Add", f"{name}.shortcut", [x, y]) if block.shortcut else y
