"""Videos that give no rows, or wrong ones, though they are whole: each keeps its row and status, all the way."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import frames_of, picture, pooling_model, vidface, write_folder, write_manifest
from fault_material import extracted


def test_whole_scenes_that_are_resized(tmp_path: Path, model: Path) -> None:
    """Squeezed into the input of a network they give numbers, so that it is said; faces stored larger are no scenes."""
    shapes = {
        "wide": (96, 160),
        "large": (500, 500),
        "tall": (224, 192),
        "face": (224, 224),
        "small": (40, 40),
    }
    for name, shape in shapes.items():
        write_folder(tmp_path / "set" / name, np.full((2, *shape, 3), 90, np.uint8))
    manifest = write_manifest(tmp_path / "set" / "m.csv", [(name, name) for name in shapes])
    command = (manifest, tmp_path / "f.h5", model, "--resize")
    for _ in range(2):  # also where all is there already
        left = extracted(*command, code=0)
        assert [*left.faults] == ["wide", "large", "tall"] and left.ran.json["faults"] == {"resized": 3}
        assert left.faults["wide"][0][1].endswith("resized whole: 2 of 160x96")
        (warning,) = left.ran.json["warnings"]
        assert warning.startswith("3 of 5 videos have frames")
        assert "--faces detect instead of --resize" in warning
    words = ("extract", manifest, "-o", tmp_path / "f.h5", "--model", model, "--resize")
    assert f"warning: {warning}" in vidface(*words).err


@pytest.mark.parametrize(("kind", "value", "root"), [("not-finite", 40, True), ("zero-features", 100, False)])
def test_nothing_usable_from_the_model(tmp_path: Path, kind: str, value: int, root: bool) -> None:
    """NaN for dark frames, or zeros: left out and counted; a video of only such frames fails."""
    model = pooling_model(tmp_path / "m.onnx", mean=100.0, root=root)
    light, bad = (picture(np.full((4, 4, 3), grey)) for grey in (164, value))
    frames = {"light": [light, light], "mixed": [light, bad, light], "bad": [bad, bad]}
    for name, pictures in frames.items():
        write_folder(tmp_path / name, pictures)
    manifest = write_manifest(tmp_path / "manifest.csv", [(name, name) for name in frames])
    left = extracted(manifest, tmp_path / "f.h5", model, code=1)
    assert left.status == {"light": "ok", "mixed": "partial", "bad": "failed"}
    assert [len(rows) for rows in left.rows.values()] == [2, 2, 0]
    assert np.allclose(left.rows["mixed"], 1.0)
    assert [[name, *(kind for kind, _ in of)] for name, of in left.faults.items()] == [
        ["mixed", kind],
        ["bad", kind],
    ]
    assert "1 of 3 frames" in left.faults["mixed"][0][1]


def test_one_bad_video_goes_on_to_the_submission(tmp_path: Path, model: Path) -> None:
    """It keeps its row and status in every file down to the submission, and the scores of the others stay."""
    rows = []
    for person, name in enumerate(("ann", "bob", "cat")):
        for seed, split in enumerate(["train", "val", "val"]):
            write_folder(tmp_path / f"{name}{seed}", frames_of(person, 3, seed=seed))
            rows.append((f"{name}{seed}", f"{name}{seed}", name, split))
    good = write_manifest(tmp_path / "good.csv", rows)
    rows.insert(4, ("bad", "bad.mp4", "bob", "val"))
    (tmp_path / "bad.mp4").write_bytes(b"not a video")
    both = write_manifest(tmp_path / "both.csv", rows)

    def embedded(folder: str, manifest: Path, code: int) -> dict[str, Any]:
        (tmp_path / folder).mkdir()
        left = extracted(manifest, tmp_path / folder / "f.h5", model, code=code)
        assert [*left.faults] == ["bad"] * code
        vidface("cluster", tmp_path / folder / "f.h5", "-o", tmp_path / folder / "e.h5", code=code)
        with h5py.File(tmp_path / folder / "e.h5") as file:
            return {name: file[name][:] for name in ("video_ids", "status", "embeddings", "frames", "kept")}

    clean, found = embedded("clean", good, 0), embedded("with-bad", both, 1)
    matrix = found["embeddings"]
    assert [text.decode() for text in found["video_ids"]] == [row[0] for row in rows]
    assert found["status"].tolist() == [b"failed" if row[0] == "bad" else b"ok" for row in rows]
    assert not matrix[4].any() and (found["frames"][4], found["kept"][4]) == (0, 0)
    assert np.array_equal(np.delete(matrix, 4, axis=0), clean["embeddings"])

    told = (tmp_path / "with-bad" / "e.h5", "--manifest", both)
    score = vidface("score", *told, "--json", "--targets", "0.1", code=1).json
    for form, name in (("lfrc", "s.bin"), ("iqiyi", "s.txt")):
        vidface("submit", *told, "--format", form, "-o", tmp_path / name, code=1)
    data = (tmp_path / "s.bin").read_bytes()
    assert struct.unpack("<4i", data[:16]) == (len(rows), 48, 48 * 4, 5)
    assert np.array_equal(np.frombuffer(data[16:], "<f4").reshape(len(rows), 48), matrix)
    assert "bad.mp4" not in (tmp_path / "s.txt").read_text()
    assert score["counts"]["status"] == {"ok": 9, "failed": 1}
    assert any("no usable frame" in warning for warning in score["warnings"])
    # bob has 3 gallery videos, one of them lost: it is missed, not forgotten.
    assert score["per_identity"]["bob"] == pytest.approx(2 / 3)
    assert "NaN" not in json.dumps(score)
