from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from small_models import TINY, stirred, tiny_torch, write_card

from vidface.backbones import load_backbone
from vidface.backbones.mobilefacenet import build
from vidface.backbones.spec import parse_spec
from vidface.backbones.weights import load_weights, save_weights
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
