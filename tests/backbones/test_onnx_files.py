from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from small_models import save_external, tiny_onnx, write_card

from vidface.backbones import load_backbone
from vidface.backbones.onnx_files import external_files
from vidface.errors import ModelError


def crafted(folder: Path, location: str) -> Path:
    """A model in `folder` whose matrix lies at `location`; readable files of the right size lie about."""
    path = folder / "m.onnx"
    matrix = tiny_onnx(path, location=location)
    for place in (folder / "in.bin", folder.parent / "secret.bin"):
        place.write_bytes(matrix.tobytes())
    write_card(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    return folder


def test_data_in_the_own_folder_is_read(folder: Path) -> None:
    assert external_files(crafted(folder, "in.bin").read_bytes(), folder / "m.onnx") == [folder / "in.bin"]
    load_backbone(crafted(folder, "in.bin"))
    load_backbone(crafted(folder, "sub/../in.bin"))


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "sub/../../secret.bin", "ABSOLUTE", "link.bin", "out/secret.bin", "C:\\x", "\\x"],
)
def test_data_outside_is_refused(folder: Path, location: str) -> None:
    (folder / "link.bin").symlink_to("../secret.bin")
    (folder / "out").symlink_to("..")
    if location == "ABSOLUTE":
        location = str(folder.parent / "secret.bin")
    path = crafted(folder, location)
    with pytest.raises(ModelError, match="outside its own folder: refused") as caught:
        external_files(path.read_bytes(), path)
    assert str(path) in str(caught.value)
    with pytest.raises(ModelError, match="outside its own folder: refused"):
        load_backbone(path)


def test_an_absolute_path_to_the_own_folder_is_refused_too(folder: Path) -> None:
    path = crafted(folder, str(folder / "in.bin"))
    with pytest.raises(ModelError, match="refused"):
        load_backbone(path)


@pytest.mark.parametrize("location", ["none.bin", "sub", "", "*/_ORT_MEM_ADDR_/*", "a\0b"])
def test_data_that_is_not_there(folder: Path, location: str) -> None:
    with pytest.raises(ModelError, match="is not beside it"):
        load_backbone(crafted(folder, location))


def test_a_model_reached_by_a_link_reads_from_where_it_really_lies(folder: Path, tmp_path: Path) -> None:
    real = crafted(folder, "in.bin")
    link = tmp_path / "link.onnx"
    link.symlink_to(real)
    write_card(link)
    load_backbone(link)


def test_a_whole_model_needs_no_files(folder: Path) -> None:
    tiny_onnx(folder / "m.onnx")
    assert external_files((folder / "m.onnx").read_bytes(), folder / "m.onnx") == []


TENSOR = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
TENSOR.external_data.add(key="offset", value="0")
TENSOR.external_data.add(key="location", value="../secret.bin")
VALUES, INDICES = onnx.SparseTensorProto(values=TENSOR), onnx.SparseTensorProto(indices=TENSOR)
INNER = onnx.GraphProto(initializer=[TENSOR])


def node(**attribute: object) -> onnx.NodeProto:
    return onnx.NodeProto(op_type="X", attribute=[onnx.AttributeProto(name="a", **attribute)])


def model(graph: onnx.GraphProto | None = None, **parts: object) -> onnx.ModelProto:
    return onnx.ModelProto(graph=graph or onnx.GraphProto(name="g"), **parts)


# Every place where onnx.proto allows a tensor.
PLACES = {
    "initializer": model(INNER),
    "sparse values": model(onnx.GraphProto(sparse_initializer=[VALUES])),
    "sparse indices": model(onnx.GraphProto(sparse_initializer=[INDICES])),
    "attribute": model(onnx.GraphProto(node=[node(t=TENSOR)])),
    "attribute list": model(onnx.GraphProto(node=[node(tensors=[TENSOR])])),
    "sparse attribute": model(onnx.GraphProto(node=[node(sparse_tensor=VALUES)])),
    "sparse attribute list": model(onnx.GraphProto(node=[node(sparse_tensors=[VALUES])])),
    "subgraph": model(onnx.GraphProto(node=[node(g=INNER)])),
    "subgraph list": model(onnx.GraphProto(node=[node(graphs=[onnx.GraphProto(node=[node(g=INNER)])])])),
    "function": model(functions=[onnx.FunctionProto(node=[node(t=TENSOR)])]),
    "function attribute": model(functions=[onnx.FunctionProto(attribute_proto=node(t=TENSOR).attribute)]),
    "training": model(training_info=[onnx.TrainingInfoProto(algorithm=INNER)]),
    "training start": model(training_info=[onnx.TrainingInfoProto(initialization=INNER)]),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_location_is_found_wherever_a_tensor_may_be(folder: Path, place: str) -> None:
    content = PLACES[place].SerializeToString()
    assert b"secret.bin" in content
    with pytest.raises(ModelError, match=r"'\.\./secret\.bin', which is outside"):
        external_files(content, folder / "m.onnx")


def test_saved_by_the_onnx_package(folder: Path) -> None:
    path = folder / "m.onnx"
    tiny_onnx(path)
    data = save_external(path)
    assert external_files(path.read_bytes(), path) == [data]


@pytest.mark.parametrize(
    "content", [b"", b"\x08\x08", b"\x3a\x05abc", b"\x3a\xff", b"\x3b", b"\x38\x01", b"\x80" * 12]
)
def test_what_is_no_model_is_told_without_onnxruntime(folder: Path, content: bytes) -> None:
    """Nothing, no graph, a graph cut short, a length cut short, a group, a graph that is a number, endless."""
    with pytest.raises(ModelError, match="not an ONNX model, or a damaged one"):
        external_files(content, folder / "m.onnx")
