from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small_models import TINY, faces, stirred, tiny_torch, write_card

from vidface.backbones import load_backbone
from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import parse_spec
from vidface.backbones.weights import load_weights, read_torch_archive, save_weights
from vidface.errors import ModelError, StoreError

SPEC = parse_spec(TINY)


class Bomb:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return os.system, (f"touch {self.target}",)


def test_round_trip(tmp_path: Path) -> None:
    network = stirred(SPEC, (16, 32)).to(memory_format=torch.channels_last)
    path = tmp_path / "w.safetensors"
    save_weights(network, path, {"epochs": "3"})
    other = build(SPEC, (16, 32))
    load_weights(other, path)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"epochs": "3"}
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="not written: no space left"):
        save_weights(build(SPEC, (16, 32)), path, {})
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_differing_names_and_shapes_are_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    network = build(SPEC, (16, 32))
    network.fc = torch.nn.Linear(32, 5)
    network.extra = torch.nn.Linear(2, 2)
    del network.bn
    path = tmp_path / "w.safetensors"
    save_weights(network, path, {})
    other = build(SPEC, (16, 32))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        load_weights(other, path)
    text = str(caught.value)
    assert "5 missing: bn.weight, bn.bias, bn.running_mean and 2 more" in text
    assert "2 unexpected: extra.bias, extra.weight" in text
    assert "2 of another shape: fc.weight (5x32, the network has 6x32)" in text
    assert "\n" not in text
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())


def test_names_of_weights_cannot_speak_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"a\x1b[2J\nerror: none": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match=r"1 unexpected: a\\x1b\[2J error: none") as caught:
        load_weights(build(SPEC, (16, 32)), path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "w.onnx", "w.bin"])
def test_a_pickle_is_refused_and_never_runs(tmp_path: Path, name: str) -> None:
    target, path = tmp_path / "ran", tmp_path / name
    write_card(path, architecture=TINY)
    archive, legacy = io.BytesIO(), io.BytesIO()
    torch.save({"x": Bomb(target)}, archive)
    torch.save({"x": Bomb(target)}, legacy, _use_new_zipfile_serialization=False)
    bombs = {
        archive.getvalue(): "wants to call posix.system: refused",
        legacy.getvalue(): r"torch\.save\(torch\.load\(FILE, weights_only=True\)",
    }
    for protocol in range(6):
        # Protocols 0 and 1 have no mark of their own: there the file is merely not what it should be.
        marked = protocol > 1 or name in ("w.pth", "w.pt")
        said = "safetensors.torch.save_file" if marked else "refused|not a|not an"
        bombs[pickle.dumps(Bomb(target), protocol=protocol)] = said
    for content, message in bombs.items():
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            load_weights(build(SPEC, (16, 32)), path)
        with pytest.raises(ModelError):
            load_backbone(path)
    assert not target.exists()
    pickle.loads(content)  # noqa: S301
    assert target.exists(), "the bomb is a dud: the test proves nothing"


@pytest.mark.parametrize("damage", ["half", "empty", "text", "header"])
def test_damaged_weights_are_one_line(tmp_path: Path, damage: str) -> None:
    path = tiny_torch(tmp_path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "half": content[: len(content) // 2],
            "empty": b"",
            "text": b"<html>",
            "header": b"\xff" * 8 + content[8:],
        }[damage]
    )
    with pytest.raises(ModelError, match="not a safetensors file, or a damaged one") as caught:
        load_backbone(path)
    assert "\n" not in str(caught.value)


def test_a_safetensors_header_that_begins_like_a_pickle_is_read(tmp_path: Path) -> None:
    """A header of 0x0280 bytes starts the file with 80 02, the mark of pickle protocol 2."""
    network = torch.nn.Linear(2, 2)
    path = tmp_path / "w.safetensors"
    for size in range(400, 700):
        save_weights(network, path, {"pad": "x" * size})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    load_weights(torch.nn.Linear(2, 2), path)


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_torch_archive(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and text.isprintable()
    return text


def equal(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(ours) == list(expected) and all(
        ours[name].dtype == expected[name].dtype and torch.equal(ours[name], expected[name].detach())
        for name in expected
    )


@pytest.mark.parametrize("name", ["step5", "y1"])
def test_a_saved_network_comes_back(tmp_path: Path, name: str) -> None:
    network = build(parse_spec(name), (112, 112))
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    assert equal(read_torch_archive(path), network.state_dict())
    assert equal(read_torch_archive(path), torch.load(path, weights_only=True))


DTYPES = "float64 float16 bfloat16 int32 int16 int8"


def test_every_number_type_and_view(tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    values = {
        "transposed": base.transpose(0, 2),
        "slice": base[1:, ::2, 1:3],
        "shared": base,
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(5),
        **{name: torch.ones(3, dtype=getattr(torch, name)) for name in DTYPES.split()},
        "uint8": torch.tensor([1, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }
    path = tmp_path / "w.pt"
    torch.save(values, path)
    ours = read_torch_archive(path)
    assert equal(ours, values)
    ours["shared"][1, 0, 1] = -1
    assert ours["slice"][0, 0, 0] == -1


def test_weights_are_looked_for_where_training_scripts_keep_them(tmp_path: Path) -> None:
    weights = {"a.weight": torch.ones(2), "b.bias": torch.zeros(1)}
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    extra = {"epoch": 3, "best": np.float64(0.5), "lr": [0.1, 0.01], "name": "x", "size": torch.Size([1, 2])}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    path = tmp_path / "w.pth"
    for content in (
        weights,
        OrderedDict(weights),
        parallel,
        {"state_dict": weights, **extra},
        {"state_dict": OrderedDict(parallel), "optimizer": optimizer.state_dict()},
        {"model": parallel, **extra},
    ):
        torch.save(content, path)
        assert equal(read_torch_archive(path), weights)
    # A prefix that not all share is part of the names.
    torch.save({**weights, "module.c": torch.ones(1)}, path)
    assert list(read_torch_archive(path)) == ["a.weight", "b.bias", "module.c"]


@pytest.mark.parametrize(
    "content", [{"epoch": 1}, {}, [torch.ones(1)], {"state_dict": {}}, {1: torch.ones(1)}, 5]
)
def test_no_weights_is_said(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "w.pth"
    torch.save(content, path)
    assert "holds" in refusal(path)


def test_a_pth_with_a_card_embeds_like_its_safetensors(tmp_path: Path) -> None:
    expected = load_backbone(tiny_torch(tmp_path)).embed(faces(3))
    path = tmp_path / "other.pth"
    write_card(path, architecture=TINY)
    state = stirred(SPEC, (16, 32)).state_dict()
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 1}, path)
    assert np.array_equal(load_backbone(path).embed(faces(3)), expected)
    write_card(path)
    with pytest.raises(ModelError, match=r"its card other\.toml must name an architecture"):
        load_backbone(path)


@pytest.mark.parametrize("where", ["alone", "beside", "inside", "nested"])
def test_a_hostile_archive_is_refused_and_never_runs(tmp_path: Path, where: str) -> None:
    target, path = tmp_path / "ran", tmp_path / "w.pth"
    state: dict[str, Any] = dict(stirred(SPEC, (16, 32)).state_dict())
    content = {
        "alone": Bomb(target),
        "beside": {"state_dict": state, "args": Bomb(target)},
        "inside": {**state, "fc.weight": Bomb(target)},
        "nested": {"state_dict": {**state, "x": [{"y": (Bomb(target),)}]}},
    }[where]
    torch.save(content, path)
    write_card(path, architecture=TINY)
    assert "wants to call posix.system: refused" in refusal(path)
    with pytest.raises(ModelError, match=r"posix\.system: refused"):
        load_backbone(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "the bomb is a dud: the test proves nothing"


def test_a_class_of_the_training_script_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(torch.nn.Linear(2, 2), path)
    text = refusal(path)
    assert "torch.nn.modules.linear.Linear" in text and "save the weights alone" in text
    assert "export the network to ONNX: see docs/models.md" in text


def test_weights_of_an_unknown_network_say_what_they_are_and_how_to_export(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"conv.weight": torch.zeros(4, 3, 1, 1), "fc.bias": torch.zeros(8)}}, path)
    with pytest.raises(ModelError) as caught:
        load_backbone(path)
    text = str(caught.value)
    assert "holds 2 tensors (conv.weight (4x3x1x1), fc.bias (8))" in text
    assert "its card w.toml must name an architecture" in text and "step5" in text
    assert "torch.onnx.export" in text and "pip install onnx onnxscript" in text and "docs/models.md" in text


@pytest.mark.parametrize("kind", ["TorchScript", "torch.export"])
def test_an_archive_that_is_a_program_is_refused_by_its_kind(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.pt"
    if kind == "torch.export":
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(3, 2),)), path)
    else:
        with zipfile.ZipFile(path, "w") as archive:  # as torch.jit.save names its parts
            for name in ("w/data.pkl", "w/code/__torch__/w.py", "w/constants.pkl", "w/version"):
                archive.writestr(name, b"")
    assert f"{kind}" in refusal(path) and "export it to ONNX" in refusal(path)


# Archives made by hand


def pickled_tensor(
    kind: bytes = b"torch\nFloatStorage",
    name: bytes = b"0",
    count: int = 4,
    offset: int = 0,
    size: tuple[int, ...] = (2, 2),
    stride: tuple[int, ...] = (2, 1),
) -> bytes:
    """The pickle of {"w": a tensor}, in protocol 0 and 2 mixed."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"

    storage = b"(S'storage'\nc" + kind + b"\nS'" + name + b"'\nS'cpu'\nI%d\ntQ" % count
    arguments = storage + b"I%d\n" % offset + numbers(size) + numbers(stride) + b"I00\n}"
    return b"\x80\x02}S'w'\nctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tRs."


def archive(
    path: Path, content: bytes, members: dict[str, bytes], compress: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(path, "w", compress) as out:
        out.writestr("x/data.pkl", content)
        for name, data in members.items():
            out.writestr(name, data)
    return path


FOUR = np.arange(4, dtype="<f4").tobytes()


def test_the_archive_made_by_hand_is_one(tmp_path: Path) -> None:
    """The oracle of the refusals below: without their one change it reads, here and in torch."""
    path = archive(
        tmp_path / "w.pth",
        pickled_tensor(),
        {"x/data/0": FOUR, "x/version": b"3\n", "x/byteorder": b"little"},
    )
    assert read_torch_archive(path)["w"].tolist() == [[0, 1], [2, 3]]
    assert torch.load(path, weights_only=False)["w"].tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"offset": 1}, "leaves its storage"),
        ({"offset": -1}, "whole numbers"),
        ({"stride": (3, 1)}, "leaves its storage"),
        ({"stride": (-2, 1)}, "whole numbers"),
        ({"stride": (2**62, 2**62)}, "leaves its storage"),
        ({"stride": (1,)}, "without a shape"),
        ({"size": (2**40, 2**40), "stride": (0, 0)}, "leaves its storage"),
        ({"size": (5,), "stride": (1,)}, "leaves its storage"),
        ({"size": (0, 2**63), "stride": (1, 1)}, "whole numbers"),
        ({"count": 5}, "not of 5 numbers"),
        ({"count": 3}, "not of 3 numbers"),
        ({"count": -4}, "not of -4 numbers"),
        ({"kind": b"torch\nDoubleStorage"}, "not of 4 numbers"),
        ({"name": b"1"}, "storage 1 is not there"),
        ({"name": b"../data/0"}, "kind or name"),
        ({"name": b"/etc/passwd"}, "kind or name"),
        ({"kind": b"collections\nOrderedDict"}, "kind or name"),
        ({"kind": b"torch\nload"}, "wants to call torch.load"),
    ],
)
def test_a_tensor_that_is_not_within_its_numbers(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = archive(tmp_path / "w.pth", pickled_tensor(**change), {"x/data/0": FOUR, "../data/0": FOUR})
    assert said in refusal(path)


def test_one_storage_of_two_kinds(tmp_path: Path) -> None:
    first, second = pickled_tensor()[:-1], pickled_tensor(kind=b"torch\nIntStorage")[2:]
    both = first + b"0" + second
    assert "of two kinds" in refusal(archive(tmp_path / "w.pth", both, {"x/data/0": FOUR}))


def test_archives_that_torch_does_not_write(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    big = {"x/data/0": bytes(10**7)}
    assert "compressed" in refusal(archive(path, pickled_tensor(count=10**7 // 4), big, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 10**5
    small = archive(path, pickled_tensor(), {"x/data/0": FOUR}, zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(small)  # also where it does not grow
    assert "big-endian" in refusal(archive(path, pickled_tensor(), {"x/data/0": FOUR, "x/byteorder": b"big"}))
    assert "one data.pkl" in refusal(archive(path, pickled_tensor(), {"y/data.pkl": b"N."}))
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(path, pickled_tensor(), {"x/data.pkl": b"N."})
    assert "one data.pkl" in refusal(path)
    with zipfile.ZipFile(path, "w") as empty:
        empty.writestr("notes.txt", "x")
    assert "one data.pkl" in refusal(path)


def test_a_size_that_the_file_cannot_hold(tmp_path: Path) -> None:
    path = archive(tmp_path / "w.pth", pickled_tensor(count=10**9), {"x/data/0": FOUR})
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<II", content, entry + 20, 4 * 10**9, 4 * 10**9)  # sizes in the central directory
    path.write_bytes(content)
    assert "larger than the file" in refusal(path)


def test_damage_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(stirred(SPEC, (16, 32)).state_dict(), path)
    content = path.read_bytes()
    random = np.random.default_rng(0)
    for end in (4, 30, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        refusal(path)
    start = content.index(b"data.pkl")
    for _ in range(200):
        changed = bytearray(content)
        changed[int(random.integers(start, start + 3000))] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        try:
            read_torch_archive(path)  # what changed may be a gap between the parts
        except ModelError as error:
            assert str(error).isprintable()
    path.unlink()
    refusal(path)
