"""`vidface export`, from a checkpoint to a model that the other commands take."""

from __future__ import annotations

import shutil
from pathlib import Path

from command_line import frames_of, vidface, write_folder

import vidface as package

WEIGHTS = Path(package.__file__).parent / "demo" / "weights"


def test_a_trained_network_leaves_as_onnx_and_costs_the_same(tmp_path: Path) -> None:
    """The demo's own weights, with faces to compare on."""
    faces = write_folder(tmp_path / "faces", frames_of(3, 4))
    output = tmp_path / "drawn.onnx"
    ran = vidface("export", WEIGHTS / "drawn.safetensors", "-o", output, "--faces", faces, "--json", code=0)
    made = ran.json
    assert (made["output"], made["card"]) == (str(output), str(tmp_path / "drawn.toml"))
    assert made["faces"] == 5 + len(list(faces.iterdir()))
    assert made["difference"] < 1e-5
    assert made["faults"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.onnx", "drawn.toml", "faces"]
    ours = vidface("budget", output, "--json", code=0).json
    theirs = vidface("budget", WEIGHTS / "drawn.toml", "--json", code=0).json
    same = ("flops_organisers", "macs", "two_macs", "parameters", "bytes_float32", "dimension", "input_size")
    assert [ours[name] for name in same] == [theirs[name] for name in same]
    assert ours["as_stored"]["parameters"] < ours["parameters"]


def test_a_picture_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    faces = write_folder(tmp_path / "faces", frames_of(3, 2))
    (faces / "zz.png").write_bytes(b"no picture")
    ran = vidface("export", WEIGHTS / "drawn.toml", "-o", tmp_path / "m.onnx", "--faces", faces, code=1)
    assert "left out: " in ran.out and "zz.png" in ran.out
    assert (tmp_path / "m.onnx").exists()


def test_refusals(tmp_path: Path) -> None:
    for name in ("drawn.safetensors", "drawn.toml"):
        shutil.copy(WEIGHTS / name, tmp_path / name)
    error = vidface("export", tmp_path / "drawn.safetensors", "-o", tmp_path / "drawn.onnx", code=2).error
    assert "drawn.toml: is there already and is no card of an ONNX model" in error
    (tmp_path / "old.pth").write_bytes(b"\x80\x02}q\x00.")
    assert "refused" in vidface("export", tmp_path / "old.pth", "-o", tmp_path / "m.onnx", code=1).error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drawn.safetensors", "drawn.toml", "old.pth"]
