"""Small models that the tests of the backbones make for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import Spec, parse_spec
from vidface.backbones.weights import save_weights

TINY = {"stem": 8, "blocks": [[16, 8, 2, 1], [16, 8, 1, 2], [32, 16, 2, 2]], "head": 32, "dimension": 6}
CARD = {
    "name": "tiny",
    "input_size": [16, 32],
    "colour_order": "rgb",
    "mean": [120.0, 110.0, 100.0],
    "std": [60.0, 50.0, 40.0],
    "dimension": 6,
    "licence": "Apache-2.0",
    "source": "a test",
}


def write_card(path: Path, **changes: object) -> None:
    """A TOML card beside the model `path`; a field changed to None is left out."""
    fields = {name: value for name, value in {**CARD, **changes}.items() if value is not None}
    path.with_suffix(".toml").write_text(
        "".join(f"{name} = {toml(value)}\n" for name, value in fields.items())
    )


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(inner)}" for name, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def faces(count: int, height: int = 16, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def tiny_torch(folder: Path, **changes: object) -> Path:
    """Weights of a small custom network, with running statistics as training leaves them, and its card."""
    path = folder / "tiny.safetensors"
    save_weights(stirred(parse_spec(TINY), (16, 32)), path, {"made": "by a test"})
    write_card(path, **{"architecture": TINY, **changes})
    return path


def stirred(spec: Spec, size: tuple[int, int] = (112, 112)) -> torch.nn.Module:
    """A network whose batch normalisations have statistics and affine parameters that are not trivial."""
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(1)
    network = build(spec, size)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.weight.data.copy_(0.5 + torch.rand(module.weight.shape, generator=generator))
            module.bias.data.copy_(0.1 * torch.randn(module.bias.shape, generator=generator))
            module.momentum = 1.0
    with torch.no_grad():  # statistics as training leaves them: without, activations grow to 1e10
        network(torch.randn(16, 3, *size, generator=generator))
    return network.eval()


def tiny_onnx(
    path: Path,
    *,
    batch: int | str = "N",
    dtype: int = TensorProto.FLOAT,
    location: str | None = None,
    dimension: int = 6,
    size: tuple[int | str, int | str] = (16, 32),
) -> np.ndarray:
    """An ONNX model that flattens its input and multiplies it by a matrix, which is returned.

    With `location` the matrix is declared as external data there, and written nowhere.
    """
    matrix = np.random.default_rng(3).normal(0, 0.02, (3 * 16 * 32, dimension))
    matrix = matrix.astype(helper.tensor_dtype_to_np_dtype(dtype))
    weights = helper.make_tensor("w", dtype, matrix.shape, matrix.tobytes(), raw=True)
    if location is not None:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    x = helper.make_tensor_value_info("x", dtype, [batch, 3, *size])
    y = helper.make_tensor_value_info("y", dtype, [batch, dimension])
    graph = helper.make_graph(nodes, "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return matrix


def save_external(path: Path) -> Path:
    """Rewrite a model with its tensors in a file of its own folder, which is returned."""
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="data.bin", size_threshold=0)
    return path.with_name("data.bin")
