"""Matrices of other tools: what is read is what numpy wrote, and rows of another length are refused or told of."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from command_line import vidface
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import StoreError, UsageError
from vidface.manifest.manifest import read_manifest
from vidface.scores import matrices
from vidface.scores.matrices import read_matrix
from vidface.scores.scored import read_scored
from vidface.submission import read_lfrc, sniff

ROWS = 10


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrices, "BLOCK", 3)


def unit(seed: int = 0, rows: int = ROWS) -> np.ndarray:
    matrix = np.random.default_rng(seed).normal(size=(rows, 6))
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def write_bin(path: Path, matrix: np.ndarray) -> Path:
    rows, columns = matrix.shape
    path.write_bytes(struct.pack("<4i", rows, columns, columns * 4, 5) + matrix.astype("<f4").tobytes())
    return path


def write_npy(path: Path, matrix: np.ndarray) -> Path:
    np.save(path, matrix)
    return path


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_unit_rows_come_as_they_are(tmp_path: Path, dtype: str, order: str) -> None:
    matrix = np.array(unit(), dtype, order=order)
    matrix[4] = 0  # a video without a usable frame
    path = write_npy(tmp_path / "a.npy", matrix)
    assert sniff(path) == "npy"
    found = read_matrix(path, ROWS, "videos")
    assert found.warnings == []
    assert found.embeddings.dtype == np.float32
    assert found.embeddings.tobytes() == matrix.astype(np.float32).tobytes()


@pytest.mark.parametrize("form", ["npy", "bin"])
def test_rows_of_other_lengths(tmp_path: Path, form: str) -> None:
    matrix = unit()
    matrix[2] *= 17.5
    matrix[7] *= 0.25
    matrix[3] = 0
    path = (write_npy if form == "npy" else write_bin)(tmp_path / f"a.{form}", matrix)
    with pytest.raises(
        StoreError, match=r"2 rows are not of unit length, the first is row 2 \(17\.5\); .*--normalise"
    ):
        read_matrix(path, ROWS, "videos")
    found = read_matrix(path, ROWS, "videos", normalise=True)
    assert found.warnings == ["2 of 10 rows were not of unit length (0.25 to 17.5) and were normalised"]
    wanted = unit()
    wanted[3] = 0
    assert np.allclose(found.embeddings, wanted, atol=1e-7)


@settings(max_examples=60)
@given(scale=st.floats(1e-300, 1e300), seed=st.integers(0, 99))
def test_directions_do_not_depend_on_lengths(tmp_path: Path, scale: float, seed: int) -> None:
    path = write_npy(tmp_path / "a.npy", unit(seed) * scale)
    found = read_matrix(path, ROWS, "videos", normalise=True)
    assert np.allclose(found.embeddings, unit(seed), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("normalise", [False, True])
def test_what_is_no_number_is_refused(tmp_path: Path, value: float, normalise: bool) -> None:
    matrix = unit()
    matrix[8, 1] = value
    for path in (write_npy(tmp_path / "a.npy", matrix), write_bin(tmp_path / "a.bin", matrix)):
        with pytest.raises(StoreError, match="1 rows hold NaN or infinity, the first is row 8"):
            read_matrix(path, ROWS, "videos", normalise=normalise)


def test_another_number_of_rows(tmp_path: Path) -> None:
    path = write_npy(tmp_path / "a.npy", unit())
    with pytest.raises(StoreError, match=r"10 rows for the 11 videos of set\.csv"):
        read_matrix(path, ROWS + 1, "videos of set.csv")


# By way of the commands


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = [f"v{i},v{i}.mp4,p{i // 4},{'train' if i % 4 < 2 else 'val'}\n" for i in range(ROWS)]
    path = tmp_path / "set.csv"
    path.write_text("video_id,path,identity,split\n" + "".join(lines))
    return path


def test_score_npy_and_bin_alike(tmp_path: Path, manifest: Path) -> None:
    told = ("--manifest", manifest, "--targets", "0.5,0.1", "--json")
    scaled = unit() * np.arange(1, ROWS + 1)[:, None]
    both = [write_npy(tmp_path / "a.npy", unit().astype("f4")), write_bin(tmp_path / "a.bin", unit())]
    wanted = [vidface("score", path, *told, code=0).json for path in both]
    assert wanted[0]["inputs"]["kind"] == "npy" and wanted[0]["inputs"]["normalised"] is False
    raw = vidface("score", write_npy(tmp_path / "raw.npy", scaled), *told, "--normalise", code=0).json
    assert raw["warnings"][0] == "9 of 10 rows were not of unit length (2 to 10) and were normalised"
    for name in ("mAP@100", "hit@1", "tpr@fpr", "per_identity", "ci95"):
        assert wanted[0][name] == wanted[1][name] == raw[name]
    assert raw["warnings"][1:] == wanted[0]["warnings"]


def test_submit_writes_the_challenge_file_from_npy(tmp_path: Path, manifest: Path) -> None:
    path = write_npy(tmp_path / "raw.npy", unit() * 3)
    told = ("submit", path, "--manifest", manifest, "--format", "lfrc", "-o", tmp_path / "out.bin")
    assert "--normalise" in vidface(*told, code=1).error
    vidface(*told, "--normalise", code=0)
    assert np.allclose(read_lfrc(tmp_path / "out.bin"), unit(), atol=1e-7)
    checked = vidface("submit", "--check", path, "--manifest", manifest, code=2)
    assert "a .npy file is not a submission" in checked.error


def test_compare_takes_npy_and_report_refuses_it(tmp_path: Path, manifest: Path) -> None:
    a = write_npy(tmp_path / "a.npy", unit())
    b = write_npy(tmp_path / "b.npy", unit(1))
    found = vidface("compare", a, b, "--manifest", manifest, "-o", tmp_path / "page", "--json", code=0)
    assert json.loads(found.out)
    refused = vidface("report", a, "--manifest", manifest, "-o", tmp_path / "report", code=1)
    assert "a.npy: not a readable HDF5 file" in refused.error


def test_a_ranking_has_no_rows_to_normalise(tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "ranking.txt").write_text("p0 v2.mp4\n")
    with pytest.raises(UsageError, match="leave out --normalise"):
        read_scored(tmp_path / "ranking.txt", read_manifest(manifest), normalise=True)
