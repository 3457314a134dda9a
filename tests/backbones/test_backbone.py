"""What both kinds of model promise alike, and the ONNX models one by one."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image
from small_models import CARD, TINY, faces, save_external, stirred, tiny_onnx, tiny_torch, write_card

from vidface.backbones import Backbone, load_backbone
from vidface.backbones.spec import parse_spec
from vidface.backbones.weights import save_weights
from vidface.errors import ModelError, UsageError


def tiny(folder: Path, kind: str, **card: object) -> Path:
    if kind == "torch":
        return tiny_torch(folder, **card)
    path = folder / "tiny.onnx"
    tiny_onnx(path, batch={"onnx": "N", "onnx of 1": 1, "onnx of 16": 16}[kind])
    write_card(path, **card)
    return path


KINDS = ["torch", "onnx", "onnx of 1", "onnx of 16"]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Backbone]:
    return {kind: load_backbone(tiny(tmp_path_factory.mktemp("tiny"), kind), threads=1) for kind in KINDS}


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest distance of two embeddings of the same face, in units of their length."""
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


# ---- both kinds


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_the_batch_does_not_matter(backbones: dict[str, Backbone], kind: str, cuts: list[int]) -> None:
    embed = backbones[kind].embed
    images = faces(40)
    ends = [0, *sorted(cuts), 40]
    parts = [embed(images[a:b]) for a, b in itertools.pairwise(ends)]
    assert np.concatenate(parts).tobytes() == embed(images).tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_neither_place_nor_threads_change_a_bit(tmp_path: Path, kind: str) -> None:
    path = tiny(tmp_path, kind)
    images = faces(40)
    order = np.random.default_rng(2).permutation(40)
    wanted = load_backbone(path, threads=1).embed(images)
    for threads in (1, 2, 5):
        embed = load_backbone(path, threads=threads).embed
        assert embed(images).tobytes() == wanted.tobytes()
        assert embed(images[order]).tobytes() == wanted[order].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_callers_at_the_same_time_get_their_own(backbones: dict[str, Backbone], kind: str) -> None:
    images = faces(40)
    wanted = backbones[kind].embed(images)
    with ThreadPoolExecutor(4) as pool:
        parts = list(
            pool.map(lambda start: backbones[kind].embed(images[start : start + 10]), range(0, 40, 10))
        )
    assert np.concatenate(parts).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_card_is_obeyed(tmp_path: Path, kind: str, order: str) -> None:
    """Colour order, mean and std, against the same network or matrix on pixels prepared by hand."""
    path = tiny(tmp_path, kind, colour_order=order)
    images = faces(5)
    pixels = images if order == "rgb" else images[..., ::-1]
    x = (pixels.astype(np.float64) - CARD["mean"]) / np.array(CARD["std"])
    x = np.transpose(x, (0, 3, 1, 2)).astype(np.float32)
    if kind == "torch":
        with torch.inference_mode():
            wanted = stirred(parse_spec(TINY), (16, 32))(torch.from_numpy(x)).numpy()
    else:
        wanted = x.reshape(5, -1) @ tiny_onnx(tmp_path / "again.onnx")
    assert relative(load_backbone(path).embed(images), wanted) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_images_that_are_views_are_read_right(backbones: dict[str, Backbone], kind: str) -> None:
    images = faces(6)
    mirrored = images[::-1, :, ::-1]
    embed = backbones[kind].embed
    assert relative(embed(mirrored), embed(mirrored.copy())) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 32, 16, 3), np.uint8),
        np.zeros((2, 16, 32, 3), np.float32),
        np.zeros((16, 32, 3), np.uint8),
    ],
    ids=["size", "dtype", "rank"],
)
def test_faces_of_another_shape_are_refused(
    backbones: dict[str, Backbone], kind: str, images: np.ndarray
) -> None:
    with pytest.raises(UsageError, match="faces must be uint8 N x 16 x 32 x 3, not"):
        backbones[kind].embed(images)


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_the_hash_follows_weights_and_card(tmp_path: Path, kind: str) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    path, other = tiny(tmp_path / "a", kind), tiny(tmp_path / "b", kind)
    before = load_backbone(path).sha256
    assert len(before) == 64
    assert load_backbone(other).sha256 == before, "the place does not matter"
    text = other.with_suffix(".toml").read_text()
    other.with_suffix(".toml").write_text("# a comment\n" + text)
    assert load_backbone(other).sha256 == before, "nor a comment in the card"
    other.with_suffix(".toml").write_text(text.replace("120.0", "121.0"))
    assert load_backbone(other).sha256 != before
    other.with_suffix(".toml").write_text(text)
    content = bytearray(other.read_bytes())
    spot = content.rindex(b"\x3f") if kind == "torch" else len(content) // 2
    content[spot] ^= 1
    other.write_bytes(content)
    assert load_backbone(other).sha256 != before


@pytest.mark.parametrize("kind", ["torch", "onnx"])
def test_devices(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny(tmp_path, kind)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    for device in ("auto", "cpu"):
        where = load_backbone(path, device=device).device
        assert where.startswith("cpu (")
        assert "CPUExecutionProvider" in where, "on a CPU onnxruntime runs both kinds"
        with pytest.raises(UsageError, match="half precision is for GPUs"):
            load_backbone(path, device=device, half=True)
    with pytest.raises(UsageError, match="no GPU for"):
        load_backbone(path, device="cuda")
    with pytest.raises(UsageError, match="'gpu' is unknown: say auto, cpu or cuda"):
        load_backbone(path, device="gpu")


def test_libraries_are_imported_only_where_they_are_used(tmp_path: Path) -> None:
    path = tiny(tmp_path, "onnx")
    code = (
        "import sys; from pathlib import Path; from vidface.backbones import load_backbone;"
        "assert not {'torch', 'onnxruntime'} & set(sys.modules);"
        f"load_backbone(Path({str(path)!r})); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


def test_nan_passes_through(tmp_path: Path) -> None:
    path = tmp_path / "nan.onnx"
    matrix = tiny_onnx(path)
    model = onnx.load(path)
    broken = matrix.copy()
    broken[:, 2] = np.nan
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("w", TensorProto.FLOAT, broken.shape, broken.tobytes(), True)
    )
    path.write_bytes(model.SerializeToString())
    write_card(path)
    out = load_backbone(path, probed=False).embed(faces(3))
    assert np.isnan(out[:, 2]).all()
    assert np.isfinite(np.delete(out, 2, axis=1)).all()


# ---- torch


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": None}, "its card tiny.toml must name an architecture"),
        ({"architecture": "step5", "dimension": 282, "input_size": [112, 112]}, "weights of another network"),
        ({"dimension": 7}, "says dimension 7, its architecture 6"),
        ({"output": "feature"}, "weights have one output: take `output` out of the card"),
        ({"input_size": [20, 32]}, "20x32: each side must be a multiple"),
        ({"architecture": {**TINY, "ratio": 4}}, "unknown ratio"),
    ],
)
def test_a_card_that_does_not_fit_the_weights(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_backbone(tiny_torch(tmp_path, **changes))


def test_the_order_of_a_cards_table_does_not_change_the_hash(tmp_path: Path) -> None:
    path = tiny_torch(tmp_path)
    before = load_backbone(path).sha256
    write_card(path, architecture=dict(reversed(TINY.items())))
    assert load_backbone(path).sha256 == before


def test_a_network_of_the_papers_widths_keeps_its_bits(tmp_path: Path) -> None:
    """Widths that fill no vector, all kinds of blocks, slopes of their own, on 40 images of noise."""
    blocks = [[56, 24, 1, 1], [116, 56, 1, 2], [248, 124, 1, 2]]
    table = {"stem": 24, "blocks": blocks, "head": 64, "dimension": 282}
    spec = parse_spec(table)
    network = stirred(spec, (32, 32))
    for module in network.modules():
        if isinstance(module, torch.nn.PReLU):
            torch.nn.init.uniform_(module.weight, -0.2, 1.2)
    path = tmp_path / "m.safetensors"
    save_weights(network, path, {})
    write_card(path, architecture=table, input_size=[32, 32], dimension=282)
    images = faces(40, 32, 32)
    one, many = (load_backbone(path, threads=threads).embed for threads in (1, 3))
    found = many(images)
    assert np.concatenate([one(images[i : i + 1]) for i in range(40)]).tobytes() == found.tobytes()
    x = (images.astype(np.float32) - np.float32(CARD["mean"])) / np.float32(CARD["std"])
    with torch.inference_mode():
        wanted = network(torch.from_numpy(np.ascontiguousarray(np.transpose(x, (0, 3, 1, 2))))).numpy()
    assert relative(found, wanted) < 1e-5


def test_loading_leaves_the_threads_of_torch_alone(tmp_path: Path) -> None:
    path = tiny_torch(tmp_path)
    before = torch.get_num_threads()
    load_backbone(path, threads=before + 1)
    assert torch.get_num_threads() == before


# ---- ONNX


@pytest.mark.parametrize(
    ("model", "card", "message"),
    [
        ({"dimension": 5}, {}, "gives embeddings of 5 numbers, its card says dimension 6"),
        ({}, {"input_size": [32, 16]}, "its input is N x 3 x 16 x 32, but its card says 32x16"),
        ({"size": ("H", "W")}, {"input_size": [16, 48]}, "onnxruntime failed on 2 faces"),
        ({"dtype": TensorProto.DOUBLE}, {}, r"its input is tensor\(double\)"),
        ({"batch": 2**20}, {}, "a fixed batch of 1048576 is too large"),
        ({}, {"architecture": "step5"}, "holds its own architecture"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(
    tmp_path: Path,
    model: dict[str, object],
    card: dict[str, object],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "m.onnx"
    tiny_onnx(path, **model)  # type: ignore[arg-type]
    write_card(path, **card)
    with pytest.raises(ModelError, match=message) as caught:
        load_backbone(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", ""), "onnxruntime's own log is not shown as well"


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    tiny_onnx(path)
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1]))
    path.write_bytes(model.SerializeToString())
    write_card(path)
    with pytest.raises(ModelError, match=r"has 2 inputs; a face model has one \('x', 'second'\)"):
        load_backbone(path)


def test_a_float16_model_is_fed_float16(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    matrix = tiny_onnx(path, dtype=TensorProto.FLOAT16)
    write_card(path)
    backbone = load_backbone(path, device="cpu")
    assert "float16" in backbone.device
    images = faces(3)
    x = (images.astype(np.float64) - CARD["mean"]) / np.array(CARD["std"])
    wanted = np.transpose(x, (0, 3, 1, 2)).reshape(3, -1) @ matrix.astype(np.float64)
    assert relative(backbone.embed(images), wanted) < 5e-3


@pytest.mark.parametrize("damage", ["empty", "text", "html", "half", "bits", "tail"])
def test_a_damaged_model_is_one_line(tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tiny(tmp_path, "onnx")
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "text": b"not a model at all",
            "html": b"<!DOCTYPE html><html><body>404</body></html>",
            "half": content[: len(content) // 2],
            "bits": bytes(b ^ 0x55 for b in content[:200]) + content[200:],
            "tail": content + b"\x3a\xff\xff\xff",
        }[damage]
    )
    with pytest.raises(
        ModelError, match=r"not an ONNX model, or a damaged one|onnxruntime cannot open it"
    ) as caught:
        load_backbone(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_a_model_error(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Bytes of the graph changed at random: it still loads, or it is refused; nothing else is raised."""
    path = tiny(tmp_path_factory.mktemp("damaged"), "onnx")
    content = bytearray(path.read_bytes())
    graph = [*range(60), *range(len(content) - 200, len(content))]
    for spot in data.draw(st.lists(st.sampled_from(graph), min_size=1, max_size=3)):
        content[spot] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        load_backbone(path, threads=1)
    except ModelError as error:
        assert "\n" not in str(error)


# ---- real faces


def lfw(shared_data: Path, people: int) -> tuple[np.ndarray, np.ndarray]:
    """Two faces each of the first people who have two: (uint8 RGB [2 * people, 112, 112, 3], person of each)."""
    found: dict[str, list[np.ndarray]] = {}
    with tarfile.open(shared_data / "lfw" / "aligned.tar") as tar:
        for member in tar:
            if not member.isfile():
                continue
            images = found.setdefault(Path(member.name).parent.name, [])
            if len(images) < 2:
                file = tar.extractfile(member)
                assert file is not None
                images.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
            if sum(len(images) == 2 for images in found.values()) == people:
                break
    pairs = [images for images in found.values() if len(images) == 2]
    return np.stack([image for pair in pairs for image in pair]), np.repeat(np.arange(people), 2)


def test_a_real_model_on_real_faces(shared_data: Path) -> None:
    path = shared_data / "models" / "mobilefacenet_128.onnx"
    images, person = lfw(shared_data, 16)
    backbone = load_backbone(path, threads=2)
    found = backbone.embed(images)

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    x = images.astype(np.float32) / 255
    x = (x - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    (wanted,) = session.run(None, {"input0": np.ascontiguousarray(np.transpose(x, (0, 3, 1, 2)))})
    assert relative(found, wanted) < 1e-5
    for threads in (1, 2):
        embed = load_backbone(path, threads=threads).embed
        for batch in (1, 3, 32):
            parts = [embed(images[i : i + batch]) for i in range(0, 32, batch)]
            assert np.concatenate(parts).tobytes() == found.tobytes(), (threads, batch)

    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = person[:, None] == person[None]
    np.fill_diagonal(same, False)
    other = person[:, None] != person[None]
    assert cosine[same].mean() > 0.5
    assert abs(cosine[other].mean()) < 0.1
    assert np.median(cosine[same]) > cosine[other].max()


def test_external_data_is_hashed(tmp_path: Path) -> None:
    path = tiny(tmp_path, "onnx")
    wanted = load_backbone(path).embed(faces(2))
    data = save_external(path)
    backbone = load_backbone(path)
    assert relative(backbone.embed(faces(2)), wanted) < 1e-6
    content = bytearray(data.read_bytes())
    content[1] ^= 1
    data.write_bytes(content)
    assert load_backbone(path).sha256 != backbone.sha256


def test_names_that_are_not_utf8(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tiny(tmp_path, "onnx")
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"Mat\xfful").replace(b"flat", b"fl\xfft"))
    with pytest.raises(ModelError, match="cannot open it: 'utf-8' codec"):
        load_backbone(path)
    assert capfd.readouterr() == ("", ""), "no second attempt that is told on stdout"
