"""Models that would give wrong numbers without a word: they are tried once, and refused or warned of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import card_beside, frames_of, vidface, write_folder, write_graph, write_manifest
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_node as node

from vidface.backbones import Backbone, load_backbone
from vidface.backbones.probe import probe_images
from vidface.errors import ModelError

SIDE, D = 16, 8
RANDOM = np.random.default_rng(5)
KERNEL = RANDOM.normal(0, 0.3, (4, 3, 4, 4)).astype(np.float32)
MATRIX = RANDOM.normal(0, 0.1, (4 * (SIDE // 4) ** 2, D)).astype(np.float32)
CARD = {"mean": [127.5] * 3, "std": [128.0] * 3, "colour_order": "rgb"}


def write_model(
    path: Path,
    *,
    first: list[Any] | None = None,
    middle: list[Any] | None = None,
    last: list[Any] | None = None,
    constants: dict[str, np.ndarray] | None = None,
    batch: int | str = "N",
    dimension: int = D,
    **card: Any,
) -> Path:
    """A convolution and a product: ``first`` makes p of x, ``middle`` makes b of c, ``last`` makes y of m."""
    nodes = [
        *(first or [node("Identity", ["x"], ["p"])]),
        node("Conv", ["p", "k"], ["c"], strides=[4, 4]),
        *(middle or [node("Relu", ["c"], ["b"])]),
        node("Flatten", ["b"], ["f"]),
        node("MatMul", ["f", "w"], ["m"]),
        *(last or [node("Identity", ["m"], ["y"])]),
    ]
    stored = {"k": KERNEL, "w": MATRIX, **(constants or {})}
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    given = ("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
    card_beside(path, input_size=[SIDE, SIDE], dimension=dimension, **(CARD | card))
    return write_graph(path, nodes, tensors, given=given, outputs=[("y", [batch, dimension])])


def loaded(path: Path) -> Backbone:
    return load_backbone(path, device="cpu", threads=1)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        loaded(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and "\n" not in said
    return said


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def batch_norm(**flags: int) -> dict[str, Any]:
    outputs = ["b", "rm", "rv"] if flags else ["b"]
    return {
        "middle": [node("BatchNormalization", ["c", "s", "o", "mu", "v"], outputs, name="/bn1", **flags)],
        "constants": {"s": ones(4), "o": 0 * ones(4), "mu": 0 * ones(4), "v": ones(4)},
    }


def test_a_good_model_is_taken_without_a_word(tmp_path: Path) -> None:
    backbone = loaded(write_model(tmp_path / "m.onnx", **batch_norm()))
    assert backbone.warnings == [] and backbone.findings is not None
    found = backbone.findings
    assert (found.repeats, found.alone) == (0, 0), "to the bit"
    assert found.pixels == pytest.approx((-127.5 / 128, 127.5 / 128)) and found.inside is None
    images = (np.transpose(probe_images((SIDE, SIDE)), (0, 3, 1, 2)).astype(np.float64) - 127.5) / 128
    with torch.no_grad():
        maps = torch.nn.functional.conv2d(
            torch.from_numpy(images), torch.from_numpy(KERNEL).double(), stride=4
        )
    rows = (maps.flatten(1) / np.sqrt(1 + 1e-5)).numpy() @ MATRIX
    norms = np.linalg.norm(rows, axis=1)
    assert found.norms == pytest.approx((norms.min(), norms.max()), rel=1e-4)


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_batch_statistics_are_refused(tmp_path: Path, batch: int | str) -> None:
    said = refusal(write_model(tmp_path / "m.onnx", batch=batch, **batch_norm(training_mode=1)))
    assert "exported in training mode" in said and "/bn1 (BatchNormalization)" in said
    assert "network.eval()" in said and "TrainingMode.EVAL" in said


@pytest.mark.parametrize("batch", ["N", 4])
def test_batch_statistics_written_out_are_refused(tmp_path: Path, batch: int | str) -> None:
    """As an exporter may write them: a mean over the batch, without a layer of that name."""
    mean = node("ReduceMean", ["c"], ["mu"], axes=[0, 2, 3], keepdims=1)
    middle = [mean, node("Sub", ["c", "mu"], ["b"])]
    said = refusal(write_model(tmp_path / "m.onnx", batch=batch, middle=middle))
    assert "the embedding of a face depends on the others in its batch" in said


def test_dropout_that_is_alive_is_refused(tmp_path: Path) -> None:
    middle = [
        node("RandomUniformLike", ["c"], ["u"], name="/drop"),
        node("Greater", ["u", "half"], ["kept"]),
        node("Cast", ["kept"], ["mask"], to=TensorProto.FLOAT),
        node("Mul", ["c", "mask"], ["b"]),
    ]
    constants = {"half": np.float32(0.5)}
    said = refusal(write_model(tmp_path / "m.onnx", middle=middle, constants=constants))
    assert "gives a different embedding each time it runs" in said and "/drop (RandomUniformLike)" in said


def test_a_model_that_looks_at_the_place_in_the_batch_is_refused(tmp_path: Path) -> None:
    """Half of the first face of a batch is taken off all of them."""
    head = node("Slice", ["m", "from", "to", "axis"], ["head"])
    last = [head, node("Mul", ["head", "half"], ["part"]), node("Sub", ["m", "part"], ["y"])]
    ends = {name: np.array([value]) for name, value in (("from", 0), ("to", 1), ("axis", 0))}
    path = write_model(tmp_path / "m.onnx", last=last, constants={**ends, "half": ones(D) / 2})
    assert "depends on the others in its batch" in refusal(path)


def test_a_dynamically_quantised_model_runs_face_by_face(tmp_path: Path) -> None:
    """It scales by the largest value of the batch: alone a face has the same bits whatever stands beside it."""
    quantised = node("DynamicQuantizeLinear", ["m"], ["q", "scale", "zero"])
    last = [quantised, node("DequantizeLinear", ["q", "scale", "zero"], ["y"])]
    path = write_model(tmp_path / "m.onnx", last=last)
    backbone = loaded(path)
    assert backbone.findings is not None and backbone.findings.form.batch == 1
    images = np.random.default_rng(1).integers(0, 256, (9, SIDE, SIDE, 3), dtype=np.uint8)
    images[4] = 255  # which has the others use few of the 256 steps
    found = backbone.embed(images)
    assert found.tobytes() == np.concatenate([backbone.embed(images[i : i + 1]) for i in range(9)]).tobytes()
    exact = loaded(write_model(tmp_path / "exact.onnx")).embed(images)
    steps = np.maximum(exact.max(axis=1), 0) - np.minimum(exact.min(axis=1), 0)
    assert (np.abs(found - exact).max(axis=1) <= steps / 255 * 0.51).all()


@pytest.mark.parametrize(
    ("factor", "bias", "said"),
    [
        (np.nan, 0, "gives NaN or infinite numbers for every image"),
        (0, 0, "gives zeros for every image"),
        (0, 1, "gives the same embedding for noise and for two different faces"),
    ],
)
def test_a_model_that_says_nothing_is_refused(tmp_path: Path, factor: float, bias: float, said: str) -> None:
    last = [node("Mul", ["m", "by"], ["t"]), node("Add", ["t", "plus"], ["y"])]
    constants = {"by": np.float32(factor) * ones(D), "plus": np.float32(bias) * ones(D)}
    assert said in refusal(write_model(tmp_path / "m.onnx", last=last, constants=constants))


IMAGENET, SPREAD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
OF_255, SPREAD_255 = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
BLUE = "the mean of its blue channel is above that of its red"
SCALES: list[tuple[Any, Any, str, str]] = [  # mean, std, order of colours, what is said
    (
        IMAGENET,
        SPREAD,
        "rgb",
        f"-2.118 to 1136: mean and std on its card: values for pixels 0..1, it seems; for pixels "
        f"0..255 write mean = {OF_255}, std = {SPREAD_255}",
    ),
    (0.5, 0.5, "rgb", "-1 to 509: mean and std on its card: values for pixels 0..1"),
    (0.5, 0.50196, "rgb", "mean = [127.5, 127.5, 127.5], std = [128, 128, 128]"),
    (127.5, 0.0078125, "rgb", "if these are factors, write std = [128, 128, 128]"),
    (0.0, 0.00392157, "rgb", "if these are factors, write std = [255, 255, 255]"),
    (127.5, 0.5, "rgb", "0..1, it seems; for pixels 0..255 write std = [127.5, 127.5, 127.5]"),
    (0.5, 127.5, "rgb", "mean on its card: values for pixels 0..1, it seems"),
    (-127.5, 128.0, "rgb", "0.9961 to 2.988, neither around 0"),
    (0.0, 65025.0, "rgb", "nor about 1 wide"),
    (IMAGENET[::-1], SPREAD[::-1], "rgb", BLUE),
    (OF_255[::-1], SPREAD_255[::-1], "rgb", BLUE),
    (OF_255, SPREAD_255, "bgr", BLUE),
]
RIGHT: list[tuple[Any, Any, str]] = [
    *(
        (127.5, 128.0, "rgb"),
        (0.0, 255.0, "rgb"),
        (0.0, 1.0, "rgb"),
        (127.5, 1.0, "rgb"),
        (127.5, 255.0, "rgb"),
    ),
    *((OF_255, SPREAD_255, "rgb"), ([91.4953, 103.8827, 131.0912], 1.0, "bgr")),
]


def warned(path: Path, mean: Any, std: Any, order: str) -> list[str]:
    card = {name: [x] * 3 if isinstance(x, float) else x for name, x in (("mean", mean), ("std", std))}
    return loaded(write_model(path, **card, colour_order=order)).warnings


@pytest.mark.parametrize(("mean", "std", "order", "said"), SCALES)
def test_mean_and_std_of_another_scale_or_order(
    tmp_path: Path, mean: Any, std: Any, order: str, said: str
) -> None:
    warnings = warned(tmp_path / "m.onnx", mean, std, order)
    assert any(said in warning for warning in warnings), warnings
    assert order == "rgb" or any('for colour_order = "bgr"' in warning for warning in warnings), warnings


@pytest.mark.parametrize(("mean", "std", "order"), RIGHT)
def test_the_scales_that_networks_take_are_no_warning(
    tmp_path: Path, mean: Any, std: Any, order: str
) -> None:
    assert warned(tmp_path / "m.onnx", mean, std, order) == []


def test_pixels_that_are_normalised_twice(tmp_path: Path) -> None:
    """The graph does (x - 127.5) / 128 itself, and the card says it again; one that says 0 and 1 is right."""
    model = {
        "first": [node("Sub", ["x", "half"], ["z"]), node("Mul", ["z", "by"], ["p"])],
        "constants": {"half": np.float32(127.5), "by": np.float32(1 / 128)},
    }
    twice = loaded(write_model(tmp_path / "twice.onnx", **model))
    ends = [(edge / 128 - 127.5) / 128 for edge in (-127.5, 127.5)]
    assert twice.findings is not None and twice.findings.inside == pytest.approx(ends)
    assert (
        "it normalises them itself as well: write mean = [0, 0, 0], std = [1, 1, 1] on its card"
        in twice.warnings[0]
    )
    once = loaded(write_model(tmp_path / "once.onnx", **model, mean=[0.0] * 3, std=[1.0] * 3))
    assert once.warnings == [] and once.findings is not None
    assert once.findings.inside == pytest.approx((-127.5 / 128, 127.5 / 128))


def test_an_output_that_looks_like_classes(tmp_path: Path) -> None:
    last = [node("Softmax", ["m"], ["y"], axis=1)]
    (warning,) = loaded(write_model(tmp_path / "soft.onnx", last=last)).warnings
    assert "its output adds up to 1" in warning and "the layer before the classifier" in warning
    many = {
        "last": [node("MatMul", ["m", "classes"], ["y"])],
        "constants": {"classes": RANDOM.normal(0, 1, (D, 10_572)).astype(np.float32)},
        "dimension": 10_572,
    }
    (warning,) = loaded(write_model(tmp_path / "logits.onnx", **many)).warnings
    assert "its output has 10,572 numbers, as many as a classifier has classes" in warning


def test_extract_says_what_the_probe_found(tmp_path: Path) -> None:
    """On stderr, and in --json; a model that is refused is refused before any video is read."""
    path = write_model(tmp_path / "m.onnx", mean=IMAGENET, std=SPREAD)
    write_folder(tmp_path / "set" / "a", list(frames_of(0, 2)[:, :SIDE, :SIDE]))
    manifest = write_manifest(tmp_path / "set" / "m.csv", [("a", "a")])
    ran = vidface("extract", manifest, "-o", tmp_path / "f.h5", "--model", path, "--json")
    assert len(ran.json["warnings"]) == 1 and "pixels 0..1" in ran.json["warnings"][0]
    ran = vidface("extract", manifest, "-o", tmp_path / "g.h5", "--model", path)
    assert "warning: " in ran.err and "pixels 0..1" in ran.err
    vidface("cluster", tmp_path / "g.h5", "-o", tmp_path / "e.h5", code=0)
    scored = vidface(
        "score", tmp_path / "e.h5", "--manifest", manifest, "--protocol", "lfrc", "--json", code=0
    )
    assert "pixels 0..1" in scored.json["warnings"][0], "whoever scores reads it, too"
    write_model(path, **batch_norm(training_mode=1))
    ran = vidface("extract", manifest, "-o", tmp_path / "h.h5", "--model", path, code=1)
    assert "exported in training mode" in ran.error and not (tmp_path / "h.h5").exists()


def test_an_output_that_is_a_list(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[-1].CopyFrom(node("SequenceConstruct", ["m"], ["y"]))
    model.graph.output[0].CopyFrom(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    path.write_bytes(model.SerializeToString())
    assert "its output 'y' is a list, not an array" in refusal(path)
