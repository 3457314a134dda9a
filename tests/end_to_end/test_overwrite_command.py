"""--overwrite: what was made otherwise is replaced, what is the same is left, and no input is ever lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import read_lines, vidface


@pytest.fixture
def copy(small: Any, tmp_path: Path) -> Any:
    names = {name: tmp_path / Path(getattr(small, name)).name for name in ("features", "embeddings")}
    for name, path in names.items():
        shutil.copy(getattr(small, name), path)
    return small._replace(**names)


def test_cluster(copy: Any, tmp_path: Path) -> None:
    words = ("cluster", copy.features, "-o", copy.embeddings)
    before = copy.embeddings.read_bytes()
    refused = vidface(*words, "--threshold", 0.5, code=2).error
    assert refused.endswith(
        "(threshold was 0.3, now 0.5): choose another output, or pass --overwrite to replace it"
    )
    same = vidface(*words, "--threshold", 0.3, "--overwrite", "--json", code=1).json
    assert same["already_done"] and copy.embeddings.read_bytes() == before
    other = vidface(*words, "--threshold", 0.5, "--overwrite", "--json", code=1).json
    assert not other["already_done"] and other["threshold"] == 0.5
    vidface("cluster", copy.features, "-o", tmp_path / "new.h5", "--threshold", 0.5, code=1)
    assert copy.embeddings.read_bytes() == (tmp_path / "new.h5").read_bytes() != before
    error = vidface("cluster", copy.features, "-o", copy.features, "--overwrite", code=2).error
    assert "is an input" in error


def test_extract_and_features_of_another_tool(copy: Any, tmp_path: Path) -> None:
    """Each replaces a file of the other, and its faults."""
    np.save(tmp_path / "rows.npy", np.eye(2, 5, dtype=np.float32))
    (tmp_path / "index.csv").write_text("video_id\nv00-0\nv00-1\n")
    arrays = ("features", "from-arrays", tmp_path / "rows.npy", "--index", tmp_path / "index.csv")
    arrays = (*arrays, "--manifest", copy.manifest, "-o", copy.features)
    extract = ("extract", copy.manifest, "-o", copy.features, "--model", copy.model)
    before = copy.features.read_bytes()
    assert "source was none, now arrays" in vidface(*arrays, code=2).error
    assert vidface(*arrays, "--overwrite", "--json", code=1).json["rows"] == 2
    faults = len(read_lines(tmp_path / "faults.jsonl"))
    assert faults == vidface(*arrays, "--json", code=1).json["faults"]["missing"] > 60
    assert "or pass --overwrite" in vidface(*extract, code=2).error
    again = vidface(*extract, "--overwrite", "--json", code=1).json
    assert sum(again["faults"].values()) == len(read_lines(tmp_path / "faults.jsonl")) == 1
    assert copy.features.read_bytes() == before


def test_no_input_is_overwritten(copy: Any, tmp_path: Path) -> None:
    manifest, model = tmp_path / "m.csv", tmp_path / "cells.onnx"
    shutil.copy(copy.manifest, manifest)
    shutil.copy(copy.model, model)
    shutil.copy(copy.model.with_suffix(".toml"), model.with_suffix(".toml"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for output in (manifest, model, model.with_suffix(".toml")):
        for words in ((), ("--overwrite",)):
            error = vidface("extract", manifest, "-o", output, "--model", model, *words, code=2).error
            assert error == f"error: {output}: is an input of this command; name another output"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_such_file_is_not_replaced(copy: Any, tmp_path: Path) -> None:
    diary = tmp_path / "diary.h5"
    diary.write_text("Dear diary")
    vidface("cluster", copy.features, "-o", diary, "--overwrite", code=1)
    other = shutil.copy(copy.features, tmp_path / "f2.h5")
    error = vidface("cluster", copy.features, "-o", other, "--overwrite").error
    assert "expected a vidface embeddings file, found features" in error
    assert diary.read_text() == "Dear diary"
