"""Pointers of Git LFS in the place of files, as a clone without it leaves them: every reader says what to run.

Clips and frames that are pointers stand in test_media_files.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bad_clips import POINTER
from command_line import frames_of, pooling_model, vidface, write_folder, write_manifest
from onnx.external_data_helper import convert_model_to_external_data

from vidface.training.datasets.open import open_images
from vidface.training.datasets.rec import write_rec

ADVICE = "a pointer of Git LFS, not the file itself: run `git lfs pull`"
READERS = """
set.csv: extract set.csv --model model.onnx -o out
set.csv: manifest check set.csv
set.jsonl: extract set.jsonl --model model.onnx -o out
set.parquet: extract set.parquet --model model.onnx -o out
model.onnx: extract set.csv --model model.onnx -o out
model.toml: extract set.csv --model model.onnx -o out
model.onnx: budget model.onnx
model.onnx: verify pairs.csv --images people --model model.onnx
m.safetensors: extract set.csv --model m.safetensors -o out
m.pth: extract set.csv --model m.pth -o out
yunet.onnx: extract set.csv --model model.onnx -o out --faces detect --detector-weights yunet.onnx
f.h5: cluster f.h5 -o out
f.h5: inspect f.h5 p0
e.h5: score e.h5 --manifest set.csv --targets 1e-1
rows.npy: score rows.npy --manifest set.csv --targets 1e-1
s.bin: score s.bin --manifest set.csv --targets 1e-1
s.txt: score s.txt --manifest set.csv --targets 1e-1
e.h5: report e.h5 --manifest set.csv -o out
rows.npy: features from-arrays rows.npy --index index.csv --manifest set.csv -o out
index.csv: features from-arrays rows.npy --index index.csv --manifest set.csv -o out
f.pickle: features from-iqiyi f.pickle --manifest set.csv -o out
pairs.csv: verify pairs.csv --images people --model model.onnx
pairs.csv: score e.h5 --manifest set.csv --targets 1e-1 --protocol pairs --pairs pairs.csv
pairs.bin: verify pairs.bin --model model.onnx
people.tar: dataset check people.tar
people.rec: dataset check people.rec
people.idx: dataset check people.rec
recipe.toml: run recipe.toml
recipe.toml: train recipe.toml
list.txt: manifest from-lfrc list.txt -o new.csv
train.txt: manifest from-iqiyi --train-list train.txt --val-list list.txt -o new.csv
face.jpg: find face.jpg f.h5 --model model.onnx --aligned
""".strip().splitlines()


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for person in range(3):
        write_folder(tmp_path / "people" / f"p{person}", frames_of(person, 2))
    write_manifest(tmp_path / "set.csv", [(f"p{p}", f"people/p{p}", f"p{p}", "val") for p in range(3)])
    pooling_model(tmp_path / "model.onnx")
    np.save(tmp_path / "rows.npy", np.eye(3, 6, dtype=np.float32))
    (tmp_path / "index.csv").write_text("video_id\np0\np1\np2\n")
    (tmp_path / "pairs.csv").write_text("first,second,same\np0/0,p0/1,1\np0/0,p1/0,0\n")
    vidface("extract", "set.csv", "--model", "model.onnx", "-o", "f.h5", "--workers", 0, code=0)
    vidface("cluster", "f.h5", "-o", "e.h5", code=0)
    vidface("dataset", "pack", "people", "-o", "people.tar", "--to", "tar", code=0)
    write_rec(tmp_path / "people.rec", open_images(tmp_path / "people"), lambda _: None)
    return tmp_path


def test_every_other_file_that_is_a_pointer(whole: Path) -> None:
    """One line that says which file it is and what to run; nothing is made."""
    for reader in READERS:
        name, _, words = reader.partition(": ")
        path = whole / name
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(POINTER)
        ran = vidface(*words.split())
        told = ran.out + ran.err
        assert ran.code in (1, 2) and ADVICE in told and name in told and told.count("\n") <= 2, reader
        assert not (whole / "out").exists() and not (whole / "new.csv").exists()
        path.unlink() if before is None else path.write_bytes(before)


def test_images_of_a_set_that_are_pointers(whole: Path) -> None:
    (whole / "people" / "p0" / "0.png").write_bytes(POINTER)
    told = vidface("dataset", "check", "people", "--workers", 1, "--json", code=1).json
    assert [fault["name"] for fault in told["unreadable"]] == ["p0/0.png"]
    assert ADVICE in told["unreadable"][0]["detail"]
    pack = ("dataset", "pack", "people", "-o", "new.bin", "--to", "bin", "--pairs", "pairs.csv")
    assert ADVICE in vidface(*pack, code=1).error


def test_external_data_of_a_model_that_is_a_pointer(whole: Path) -> None:
    model = onnx.load("model.onnx")
    weight = onnx.numpy_helper.from_array(np.ones((1, 3, 112, 112), np.float32), "w")
    model.graph.initializer.append(weight)
    convert_model_to_external_data(model, location="model.data", size_threshold=0)
    onnx.save(model, "model.onnx")
    (whole / "model.data").write_bytes(POINTER)
    assert ADVICE in vidface("extract", "set.csv", "--model", "model.onnx", "-o", "out", code=1).error


def test_a_manifest_of_the_same_text_is_none(tmp_path: Path) -> None:
    """Only the first line of a file counts: a row may say the same."""
    rows = [("version https://git-lfs.github.com/spec/v1", "x.mp4")]
    manifest = write_manifest(tmp_path / "set.csv", rows)
    told = vidface("manifest", "check", manifest, "--json", code=1).json
    assert [problem["kind"] for problem in told["problems"]] == ["missing-file"]
