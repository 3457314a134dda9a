"""Exported models against the network they come from: torch in eval(), with normalisations that are not trivial."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from small_models import TINY, faces, stirred, tiny_torch, write_card

from vidface.backbones import export as exporting
from vidface.backbones import onnx_graph, read_card
from vidface.backbones.export import export
from vidface.backbones.spec import STEPS, Spec, parse_spec
from vidface.backbones.weights import save_weights
from vidface.errors import ModelError, UsageError, VidfaceError

MEAN, STD = 127.5, 128.0  # the challenge's
SMALL = Spec(stem=8, blocks=((16, 8, 2, 1), (16, 16, 1, 2), (32, 16, 2, 2)), head=32, dimension=12)


def checkpoint(folder: Path, spec: Spec, architecture: object) -> tuple[Path, torch.nn.Module]:
    """Weights with their card for 112x112, and the network that they were taken from."""
    path = folder / "trained.safetensors"
    network = stirred(spec)
    save_weights(network, path)
    mean, std = [MEAN] * 3, [STD] * 3
    write_card(
        path, input_size=[112, 112], dimension=spec.dimension, architecture=architecture, mean=mean, std=std
    )
    return path, network


def normalised(images: np.ndarray) -> np.ndarray:
    x = (images.astype(np.float64) - MEAN) / STD
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)).astype(np.float32)


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest distance of two embeddings of one face, in units of the embedding's length."""
    assert found.shape == wanted.shape
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


@pytest.fixture(scope="module")
def real_faces(shared_data: Path) -> np.ndarray:
    """17 faces of 17 files, spread over the people of LFW."""
    with tarfile.open(shared_data / "lfw" / "aligned.tar") as tar:
        members = [member for _, member in zip(range(850), tar, strict=False) if member.isfile()][::45][:17]
        files = [tar.extractfile(member) for member in members]
        return np.stack(
            [np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")) for file in files if file]
        )


@pytest.mark.parametrize("name", ["small", "y1", "step5"])
def test_an_export_equals_torch_on_real_faces(tmp_path: Path, real_faces: np.ndarray, name: str) -> None:
    """To 1e-5 of the embedding's length, in batches of 1, 3, 8 and 17."""
    architecture = {"stem": 8, "blocks": [list(row) for row in SMALL.blocks], "head": 32, "dimension": 12}
    spec = SMALL if name == "small" else STEPS[name]
    path, network = checkpoint(tmp_path, spec, architecture if name == "small" else name)
    made = export(path, tmp_path / "out.onnx", real_faces[:2])
    assert made.faces == 5 + 2
    assert made.difference < 1e-5
    pixels = normalised(real_faces)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(pixels)).numpy()
    session = ort.InferenceSession(made.model, providers=["CPUExecutionProvider"])
    for batch in (1, 3, 8, 17):
        (found,) = session.run(["embeddings"], {"faces": pixels[:batch]})
        assert relative(found, wanted[:batch]) < 1e-5
    assert relative(wanted[1:], wanted[:-1]) > 1e-2  # the faces do differ


@pytest.fixture
def made(tmp_path: Path) -> exporting.Exported:
    return export(tiny_torch(tmp_path), tmp_path / "out.onnx")


def test_the_graph(made: exporting.Exported) -> None:
    model = onnx.load(made.model)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 17
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "PRelu", "GlobalAveragePool", "Sigmoid", "Mul", "Add", "Flatten", "Gemm"}
    (image,), (out,) = model.graph.input, model.graph.output
    sizes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (image, out)]
    assert (image.name, out.name, sizes) == ("faces", "embeddings", [["N", 3, 16, 32], ["N", 6]])


def test_where_it_came_from(made: exporting.Exported, tmp_path: Path) -> None:
    model = onnx.load(made.model)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert model.producer_name == "vidface"
    assert (
        told["vidface.checkpoint_sha256"]
        == hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    )
    assert parse_spec(json.loads(told["vidface.architecture"])) == parse_spec(TINY)


def test_the_same_checkpoint_gives_the_same_bytes(made: exporting.Exported, tmp_path: Path) -> None:
    again = export(tmp_path / "tiny.toml", tmp_path / "again.onnx")  # by its card
    for one, other in ((made.model, again.model), (made.card, again.card)):
        assert one.read_bytes() == other.read_bytes()


def test_a_card_finds_its_weights_also_in_a_pth_file(tmp_path: Path) -> None:
    table = {"stem": 8, "blocks": [list(row) for row in SMALL.blocks], "head": 32, "dimension": 12}
    path, network = checkpoint(tmp_path, SMALL, table)
    by_name = export(path, tmp_path / "by_name.onnx").model
    path.unlink()
    torch.save(network.state_dict(), path.with_suffix(".pth"))
    by_card = export(path.with_suffix(".toml"), tmp_path / "by_card.onnx").model
    nodes = [onnx.load(model).graph.SerializeToString(deterministic=True) for model in (by_name, by_card)]
    assert nodes[0] == nodes[1]


def test_the_card_keeps_all_but_the_architecture(tmp_path: Path) -> None:
    odd = {"std": [1e-7, 1.0, 1e17], "colour_order": "bgr"}
    texts = {"name": 'a "b"\\\t\x7f é\U0001f600', "source": "line\nline"}
    path = tiny_torch(tmp_path, **odd, name=None, source=None)
    card = path.with_suffix(".toml")
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}\n" for name, text in texts.items()]
    card.write_text("".join(lines).replace("\x7f", "\\u007f") + card.read_text())
    fields = tomllib.loads(card.read_text())
    assert fields.pop("architecture") == TINY and fields == {**fields, **texts, **odd}
    made = export(path, tmp_path / "out.onnx")
    assert tomllib.loads(made.card.read_text()) == fields
    assert read_card(made.model, {}) == read_card(path, {}).model_copy(update={"architecture": None})


def test_an_export_is_made_again_over_the_old_one(made: exporting.Exported, tmp_path: Path) -> None:
    before = made.model.read_bytes()
    made.model.write_bytes(b"old")
    export(tmp_path / "tiny.safetensors", made.model)
    assert made.model.read_bytes() == before


# ---- what is refused


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_embeddings_that_differ_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_torch(tmp_path)
    before = files(tmp_path)

    def badly(network: torch.nn.Module) -> torch.nn.Module:
        folded = fold(network)
        folded.get_submodule("fc").bias.data += 1e-2  # type: ignore[union-attr,operator]
        return folded

    fold = onnx_graph.fold
    monkeypatch.setattr(onnx_graph, "fold", badly)
    with pytest.raises(ModelError, match=r"not exported: onnxruntime's embeddings differ .* more than 1e-04"):
        export(path, tmp_path / "out.onnx")
    assert files(tmp_path) == before


def test_where_float32_itself_is_rough_the_limit_is_its_own_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embeddings that torch itself gives only to 3 digits may differ in the fourth, but not in the second."""
    path = tiny_torch(tmp_path)
    embed = exporting._embed

    def rough(network: torch.nn.Module, pixels: np.ndarray) -> np.ndarray:
        exact = next(network.parameters()).dtype == torch.float64
        return embed(network, pixels) * (1 + (0 if exact else error))

    monkeypatch.setattr(exporting, "_embed", rough)
    error = 3e-4
    assert export(path, tmp_path / "out.onnx").difference == pytest.approx(3e-4, rel=0.1)
    monkeypatch.setattr(exporting, "_embed", lambda network, pixels: embed(network, pixels) * (1 + error))
    with pytest.raises(ModelError, match="not exported"):
        export(path, tmp_path / "out2.onnx")


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tiny_torch(tmp_path)
    network = stirred(parse_spec(TINY), (16, 32))
    network.get_submodule("fc").weight.data[0, 0] = torch.nan  # type: ignore[union-attr,operator,index]
    save_weights(network, path)
    before = files(tmp_path)
    with pytest.raises(ModelError, match="numbers that are not finite"):
        export(path, tmp_path / "out.onnx")
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("given", "output", "message"),
    [
        ("tiny.safetensors", "out.pb", "the output's name must end in .onnx"),
        ("tiny.safetensors", "tiny.onnx", "tiny.toml: is there already and is no card of an ONNX model"),
        (
            "tiny.safetensors",
            "project.onnx",
            "project.toml: is there already and is no card of an ONNX model",
        ),
        ("tiny.safetensors", "folder.onnx", "folder.onnx: is not a file"),
        ("tiny.safetensors", "taken.onnx", "taken.toml: is not a file"),
        ("tiny.safetensors", "nowhere/out.onnx", "cannot be written: No such file"),
        ("none.safetensors", "out.onnx", "none.safetensors: model cannot be read: No such file"),
        ("none.toml", "out.onnx", "none.safetensors: model cannot be read: No such file"),
        ("old.pth", "out.onnx", "can run code when it is loaded: refused"),
        ("bare.safetensors", "out.onnx", "its card bare.toml must name an architecture"),
        ("plain.safetensors", "out.onnx", 'must name an architecture, for example architecture = "step5"'),
        ("wrong.safetensors", "out.onnx", "its card says dimension 7, its architecture 6"),
        ("cut.safetensors", "out.onnx", "not a safetensors file, or a damaged one"),
        ("model.onnx", "out.onnx", "no weights of a torch network: only those are exported"),
    ],
)
def test_refusals_leave_everything_as_it_was(tmp_path: Path, given: str, output: str, message: str) -> None:
    path = tiny_torch(tmp_path)
    for name in ("bare", "plain", "wrong"):
        (tmp_path / f"{name}.safetensors").write_bytes(path.read_bytes())
    write_card(tmp_path / "plain.x")
    write_card(tmp_path / "wrong.x", dimension=7, architecture=TINY)
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:1000])
    write_card(tmp_path / "cut.x", architecture=TINY)
    (tmp_path / "project.toml").write_text("[project]\n")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "taken.toml").mkdir()
    (tmp_path / "old.pth").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08")
    before = files(tmp_path)
    with pytest.raises(VidfaceError, match=message) as caught:
        export(tmp_path / given, tmp_path / output)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == before


def test_both_files_or_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails while the second file is synced."""
    path = tiny_torch(tmp_path)
    before = files(tmp_path)
    calls = []
    sync = os.fsync

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VidfaceError, match="no space left"):
        export(path, tmp_path / "out.onnx")
    assert files(tmp_path) == before


def test_faces_of_another_size(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"faces must be uint8 N x 16 x 32 x 3, not uint8 2 x 32 x 16 x 3"):
        export(tiny_torch(tmp_path), tmp_path / "out.onnx", faces(2, 32, 16))
    assert not (tmp_path / "out.onnx").exists()
