"""PReLUs become convolutions where that is sure to be the same, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node

from vidface.backbones.onnx_prelu import prelu_as_convolutions

CHANNELS = 5
WEIGHT = np.random.default_rng(0).normal(0, 1, (CHANNELS, 3, 3, 3)).astype(np.float32)


def model(
    slope: np.ndarray, *, between: tuple[str, ...] = (), constant: bool = True, first: str = "Conv"
) -> bytes:
    """x [N, 3, 6, 6] -> a convolution (or another first node), the nodes between, PReLU."""
    weights = {"w": WEIGHT}
    nodes = [make_node("Conv", ["x", "w"], ["t0"]) if first == "Conv" else make_node(first, ["x"], ["t0"])]
    for number, op in enumerate(between):
        extra = []
        if op == "BatchNormalization":
            extra = ["scale", "shift", "mean", "var"]
            weights |= {name: np.linspace(0.5, 1.5, CHANNELS).astype(np.float32) for name in extra}
        nodes.append(make_node(op, [f"t{number}", *extra], [f"t{number + 1}"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])]
    if constant:
        weights["slope"] = slope
    else:
        inputs.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, slope.shape))
    nodes.append(make_node("PRelu", [f"t{len(between)}", "slope"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "g",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "C", "H", "W"])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


def run(content: bytes, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    out: np.ndarray = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )[0]
    return out


def ops(content: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(content).graph.node]


SLOPES = {
    "small": np.linspace(0, 0.5, CHANNELS),
    "up to 1": np.linspace(0.2, 1, CHANNELS),
    "negative": np.linspace(-2, 0.3, CHANNELS),
    "above 1": np.linspace(-1, 3, CHANNELS),
}


@pytest.mark.parametrize("slopes", SLOPES)
@pytest.mark.parametrize("between", [(), ("BatchNormalization",)])
@pytest.mark.parametrize("shape", [(CHANNELS, 1, 1), (1, CHANNELS, 1, 1)])
def test_the_rewritten_model_computes_a_prelu(
    slopes: str, between: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    slope = SLOPES[slopes].astype(np.float32)
    before = model(slope.reshape(shape), between=between)
    after = prelu_as_convolutions(before)
    assert "PRelu" not in ops(after)
    onnx.checker.check_model(onnx.load_model_from_string(after), full_check=True)
    x = np.random.default_rng(1).standard_normal((3, 3, 6, 6)).astype(np.float32)
    plain = onnx.load_model_from_string(before)
    del plain.graph.node[-1]
    plain.graph.output[0].name = plain.graph.node[-1].output[0]
    linear = run(plain.SerializeToString(), x).astype(np.float64)
    wanted = np.where(linear > 0, linear, linear * slope[:, None, None])
    np.testing.assert_allclose(run(after, x), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("slope", "how"),
    [
        (np.full((1,), 0.25, np.float32), {}),  # one for all channels
        (np.full((CHANNELS, 4, 4), 0.25, np.float32), {}),  # one for every pixel
        (np.full((1, 1, 4), 0.25, np.float32), {}),  # one for every column
        (np.full((CHANNELS, 1, 1), 0.25, np.float32), {"constant": False}),
        (np.full((CHANNELS, 1, 1), 0.25, np.float32), {"between": ("Abs",)}),
        (np.full((3, 1, 1), 0.25, np.float32), {"first": "Abs"}),  # the number of channels is not known
        (np.full((CHANNELS, 1, 1), 0.25, np.float64), {}),
    ],
)
def test_what_is_not_sure_stays(slope: np.ndarray, how: dict[str, object]) -> None:
    assert "PRelu" in ops(prelu_as_convolutions(model(slope, **how)))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"", b"PRelu", b"\x08PRelu\xff\xff"])
def test_what_cannot_be_read_comes_back(content: bytes) -> None:
    assert prelu_as_convolutions(content) == content


def test_damage_anywhere_raises_nothing() -> None:
    content = model(np.full((CHANNELS, 1, 1), 0.25, np.float32))
    for spot in range(len(content)):
        damaged = bytearray(content)
        damaged[spot] ^= 0x55
        assert isinstance(prelu_as_convolutions(bytes(damaged)), bytes)
