"""What ONNX face models take and give: every form that is taken, against the same matrix in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import write_graph
from onnx import TensorProto, helper
from onnx.helper import make_node
from small_models import CARD, faces, write_card

from vidface.backbones import load_backbone
from vidface.backbones.budget import read_budget
from vidface.backbones.card_file import read_card
from vidface.backbones.onnx_model import reason
from vidface.errors import ModelError

HEIGHT, WIDTH, DIMENSION = 16, 32, 6
MATRIX = np.random.default_rng(3).normal(0, 0.02, (3 * HEIGHT * WIDTH, DIMENSION)).astype(np.float32)
FREE = ["N", 3, HEIGHT, WIDTH]
RAW = {"mean": [0.0] * 3, "std": [1.0] * 3}


def write_model(
    path: Path,
    before: list[Any] | None = None,
    after: list[Any] | None = None,
    *,
    shape: list[Any] | None = FREE,
    dtype: int = TensorProto.FLOAT,
    outputs: tuple[tuple[str, list[Any]], ...] = (("y", ["N", DIMENSION]),),
    constants: tuple[Any, ...] = (),
    opset: int = 17,
) -> Path:
    """A product with `MATRIX`: what is `before` makes "p" of "x" (N x 3 x H x W), `after` makes the outputs of "m"."""
    nodes = [
        *(before if before is not None else [make_node("Identity", ["x"], ["p"])]),
        make_node("Flatten", ["p"], ["f"]),
        make_node("MatMul", ["f", "w"], ["m"]),
        *(after if after is not None else [make_node("Identity", ["m"], ["y"])]),
    ]
    stored = [
        helper.make_tensor("w", TensorProto.FLOAT, MATRIX.shape, MATRIX.tobytes(), raw=True),
        *constants,
    ]
    return write_graph(path, nodes, stored, given=("x", dtype, shape), outputs=outputs, opset=opset)


def whole(name: str, values: list[int]) -> Any:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def wanted(images: np.ndarray, mean: Any = CARD["mean"], std: Any = CARD["std"]) -> np.ndarray:
    x = (images.astype(np.float64) - mean) / np.array(std)
    return np.transpose(x, (0, 3, 1, 2)).reshape(len(images), -1) @ MATRIX.astype(np.float64)


TO_FIRST = [make_node("Transpose", ["x"], ["p"], perm=[0, 3, 1, 2])]
CAST = [make_node("Cast", ["x"], ["p"], to=TensorProto.FLOAT)]
LAST = [HEIGHT, WIDTH, 3]


def ends_in(op: str, numbers: list[int], *shape: Any) -> dict[str, Any]:
    """The model with one more operation, whose axes or sizes are given, and the shape its output is said to have."""
    after = [make_node(op, ["m", "a"], ["y"])]
    outputs = (("y", list(shape or ("N", 6))),)
    return {"after": after, "constants": (whole("a", numbers),), "outputs": outputs}


NORM_AND_FEATURE = {
    "after": [make_node("ReduceL2", ["m"], ["norm"], axes=[1]), make_node("Identity", ["m"], ["feature"])],
    "outputs": (("norm", ["N", 1]), ("feature", ["N", 6])),
}
TAKEN: dict[str, tuple[dict[str, Any], dict[str, Any], str, int | None]] = {
    # name: (model, changes of its card, layout, batch)
    "N x D x 1 x 1": (ends_in("Unsqueeze", [2, 3], "N", 6, 1, 1), {}, "NCHW", None),
    "N x 1 x D": (ends_in("Unsqueeze", [1], "N", 1, 6), {}, "NCHW", None),
    "D of one face": ({**ends_in("Squeeze", [0], 6), "shape": [1, *FREE[1:]]}, {}, "NCHW", 1),
    "a batch of 1": ({"shape": [1, *FREE[1:]], "outputs": (("y", [1, 6]),)}, {}, "NCHW", 1),
    "a batch of 1 frozen inside": (ends_in("Reshape", [1, -1]), {}, "NCHW", 1),
    "a mean over the batch": ({"after": [make_node("ReduceMean", ["m"], ["y"], axes=[0])]}, {}, "NCHW", 1),
    "channels last": ({"before": TO_FIRST, "shape": ["N", *LAST]}, {}, "NHWC", None),
    "channels last, a batch of 2": ({"before": TO_FIRST, "shape": [2, *LAST]}, {}, "NHWC", 2),
    "all sides free": ({"shape": ["batch", "channels", "h w", "?"]}, {}, "NCHW", None),
    "no shape": ({"shape": None}, {}, "NCHW", None),
    "sides of -1": ({"shape": [-1, 3, -1, -1], "outputs": (("y", [-1, 6]),)}, {}, "NCHW", None),
    "uint8": ({"before": CAST, "dtype": TensorProto.UINT8}, RAW, "NCHW", None),
    "uint8, channels last": (
        {
            "before": [
                make_node("Transpose", ["x"], ["q"], perm=[0, 3, 1, 2]),
                make_node("Cast", ["q"], ["p"], to=TensorProto.FLOAT),
            ],
            "dtype": TensorProto.UINT8,
            "shape": ["N", *LAST],
        },
        RAW,
        "NHWC",
        None,
    ),
    "two outputs, one named": (NORM_AND_FEATURE, {"output": "feature"}, "NCHW", None),
}


@pytest.mark.parametrize("name", TAKEN)
def test_every_form_gives_the_product(tmp_path: Path, name: str) -> None:
    model, card, layout, batch = TAKEN[name]
    path = write_model(tmp_path / "m.onnx", **model)
    write_card(path, **card)
    images = faces(7)
    backbone = load_backbone(path, device="cpu", threads=2)
    expected = wanted(images, card.get("mean", CARD["mean"]), card.get("std", CARD["std"]))
    np.testing.assert_allclose(backbone.embed(images), expected, rtol=1e-4, atol=1e-3)
    assert backbone.findings is not None
    form = backbone.findings.form
    assert (form.layout, form.batch, form.dimension) == (layout, batch, DIMENSION)
    assert backbone.embed(images[:0]).shape == (0, DIMENSION)


def test_one_of_several_outputs(tmp_path: Path) -> None:
    """The card or the option names it, it is a part of the model's hash, and no other is taken for it."""
    path = write_model(tmp_path / "m.onnx", **NORM_AND_FEATURE)
    write_card(path)
    with pytest.raises(
        ModelError, match=r"2 outputs: norm \(N x 1\), feature \(N x 6\): name the one .* --model-output"
    ):
        load_backbone(path)
    by_option = load_backbone(path, overrides={"output": "feature"})
    write_card(path, output="feature")
    by_card = load_backbone(path)
    images = faces(3)
    assert by_option.sha256 == by_card.sha256
    assert by_option.embed(images).tobytes() == by_card.embed(images).tobytes()
    with pytest.raises(ModelError, match="output is feature, but the option says norm"):
        load_backbone(path, overrides={"output": "norm"})
    for name, message in (
        ("norm", "one number per face: not an embedding"),
        ("fc", "no output 'fc': it has norm"),
    ):
        write_card(path, output=name)
        with pytest.raises(ModelError, match=message):
            load_backbone(path)
    path.with_suffix(".toml").unlink()
    told = {"input_size": "16x32", "colour_order": "rgb", "mean": "120,110,100", "std": "60,50,40"}
    assert read_card(path, {**told, "output": "feature"}).dimension == DIMENSION


def test_an_output_that_is_not_given_leaves_the_hash_as_it_was(tmp_path: Path) -> None:
    """Features that were made before cards had the field are of the same model still."""
    import hashlib
    import json

    path = write_model(tmp_path / "m.onnx")
    write_card(path)
    digest = hashlib.sha256(hashlib.sha256(path.read_bytes()).digest())
    digest.update(json.dumps({**CARD, "architecture": None}, sort_keys=True).encode())
    assert load_backbone(path).sha256 == digest.hexdigest()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"dtype": TensorProto.UINT8, "before": CAST},
            r"uint8, .* write mean = \[0, 0, 0\] and std = \[1, 1, 1\]",
        ),
        (
            {
                "shape": ["N", 1, HEIGHT, WIDTH],
                "before": [make_node("Concat", ["x", "x", "x"], ["p"], axis=1)],
            },
            "its input is N x 1 x 16 x 32; a face model takes N x 3 x H x W",
        ),
        (
            ends_in("Reshape", [-1, 2, 3], "N", 2, 3),
            "2 faces give an output of 2 x 2 x 3; .* a feature map: export it with its pooling",
        ),
        (
            {"after": [make_node("ReduceL2", ["m"], ["y"], axes=[1])], "outputs": (("y", ["N", 1]),)},
            "2 x 1, one number per face: not an embedding",
        ),
        ({"after": [make_node("Cast", ["m"], ["y"], to=TensorProto.INT32)]}, "cannot open it: .*type"),
    ],
    ids=["uint8", "grey", "map", "norm", "whole numbers"],
)
def test_a_form_that_is_not_taken_says_how_to_convert(
    tmp_path: Path, model: dict[str, Any], message: str
) -> None:
    path = write_model(tmp_path / "m.onnx", **model)
    write_card(path)
    with pytest.raises(ModelError, match=message) as caught:
        load_backbone(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["N x D x 1 x 1", "channels last", "two outputs, one named", "a batch of 1"])
def test_budget_counts_every_form(tmp_path: Path, name: str) -> None:
    model, card, _, _ = TAKEN[name]
    path = write_model(tmp_path / "m.onnx", **model)
    write_card(path, **card)
    found = read_budget(str(path))
    assert (found.dimension, found.input_size) == (DIMENSION, (HEIGHT, WIDTH))
    assert sum(layer.macs for layer in found.layers) == 3 * HEIGHT * WIDTH * DIMENSION
    path.with_suffix(".toml").unlink()
    assert read_budget(str(path), output=card.get("output")).layers == found.layers


def test_the_version_of_the_file_is_in_the_reason(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    write_card(path)
    for field, value, said in (
        ("ir_version", 99, r"IR version: 99, max supported IR version: \d+"),
        ("", 99, r"Opset 99"),
    ):
        made = onnx.load(path)
        if field:
            made.ir_version = value
        else:
            made.ir_version, made.opset_import[0].version = 8, value
        path.write_bytes(made.SerializeToString())
        with pytest.raises(ModelError, match=said) as caught:
            load_backbone(path)
        assert "::" not in str(caught.value) and ".cc:" not in str(caught.value)
        assert "a lower opset_version" in str(caught.value)


def test_the_shapes_are_in_the_reason(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", **ends_in("Reshape", [5, -1]))
    write_card(path)
    with pytest.raises(ModelError) as caught:
        load_backbone(path)
    said = str(caught.value)
    assert "(float32 2 x 3 x 16 x 32)" in said
    assert "Input shape:{2,6}, requested shape:{5,-1}" in said and "Reshape node" in said
    assert "TensorShape&" not in said


def test_prototypes_are_taken_out_and_nothing_else() -> None:
    error = RuntimeError(
        "[ONNXRuntimeError] : 1 : FAIL : /a/b.cc:1 bool x::Y::operator()(const std::vector<int (*)(char)>&, z) const "
        "[with T = float] first (kept) /c.h:22 no parameters"
    )
    assert reason(error) == "first (kept) no parameters"
