"""An array of frame features and its index: rows of a video are put together, wherever they stand."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np
import pytest
from command_line import read_features, read_lines, write_manifest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidface.errors import ChangedError, StoreError
from vidface.features.foreign import read_arrays
from vidface.features.foreign import write as foreign_features
from vidface.features.foreign.write import from_arrays
from vidface.manifest.manifest import Manifest, read_manifest

IDS = ["a", "b", "0144", "c"]


def manifest(folder: Path) -> Manifest:
    rows = [(name, f"{name}.mp4", "1", "val") for name in IDS]
    return read_manifest(write_manifest(folder / "set.csv", rows))


def write(folder: Path, matrix: np.ndarray, index: str) -> tuple[Path, Path]:
    np.save(folder / "f.npy", matrix)
    (folder / "index.csv").write_text(index)
    return folder / "f.npy", folder / "index.csv"


@settings(max_examples=60)
@given(
    listed=st.lists(st.tuples(st.sampled_from([*IDS, "x", "y"]), st.integers(0, 3)), min_size=1, max_size=30),
    timed=st.booleans(),
)
def test_every_row_arrives_once_in_the_order_of_time(
    tmp_path: Path, listed: list[tuple[str, int]], timed: bool
) -> None:
    matrix = np.random.default_rng(0).normal(size=(len(listed), 3)).astype(np.float32)
    header = "video_id,time" if timed else "video_id"
    lines = [f"{name},{time / 4}" if timed else name for name, time in listed]
    files = write(tmp_path, matrix, "\n".join([header, *lines]) + "\n")
    found = read_arrays(*files, IDS)
    groups = defaultdict(list)  # id -> (time, row), in the order of the file
    for row, (name, time) in enumerate(listed):
        groups[name].append((time / 4 if timed else len(groups[name]) / 8, row))
    for place, name in enumerate(IDS):
        wanted = sorted(groups[name], key=lambda entry: entry[0])
        rows = found.order[found.offsets[place] : found.offsets[place + 1]]
        assert rows.tolist() == [row for _, row in wanted]
        assert found.times[rows].tolist() == [time for time, _ in wanted]
    assert found.unlisted == {name: len(groups[name]) for name in ("x", "y") if groups[name]}
    assert found.counts == {"read": len(listed), "not_in_manifest": len(groups["x"]) + len(groups["y"])}


@pytest.mark.parametrize(("dtype", "stored"), [("f2", "f2"), ("f4", "f4"), (">f4", "f4"), ("f8", "f4")])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_features_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, stored: str, order: str
) -> None:
    monkeypatch.setattr(foreign_features, "SHARD_ROWS", 2)
    matrix = np.array(np.random.default_rng(1).normal(size=(7, 5)), dtype, order=order)
    matrix[3, 1] = np.nan
    files = write(tmp_path, matrix, "video_id\nc\n0144\nc\n0144\n\nb\nz\nc\n")
    result = from_arrays(*files, manifest(tmp_path), tmp_path / "f.h5")
    ids, status, features = read_features(tmp_path / "f.h5")
    assert (ids, status) == (IDS, ["failed", "ok", "partial", "ok"])
    for rows, wanted in zip(features, [[], [4], [1], [0, 2, 6]], strict=True):
        assert rows.dtype == np.dtype(stored)
        assert np.array_equal(rows, matrix[wanted].astype(stored))
    assert result.counts == {"read": 7, "not_in_manifest": 1, "not_finite": 1}
    faults = [(fault["video"], fault["kind"]) for fault in read_lines(tmp_path / "faults.jsonl")]
    assert faults == [("a", "missing"), ("0144", "not-finite"), ("z", "not-in-manifest")]
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["timestamps"][:].tolist() == [0, 0, 0, 1 / 8, 2 / 8]
        assert file.attrs["model_name"] == "not known, of f.npy, index.csv"
    (tmp_path / "index.csv").write_text("video_id\n" + "c\n" * 7)
    with pytest.raises(ChangedError, match="source_sha256"):
        from_arrays(*files, manifest(tmp_path), tmp_path / "f.h5")


def test_beyond_float32_is_infinite_and_left_out(tmp_path: Path) -> None:
    files = write(tmp_path, np.array([[1e300, 0], [1, 2]]), "video_id\na\na\n")
    result = from_arrays(*files, manifest(tmp_path), tmp_path / "f.h5")
    assert (result.counts["not_finite"], result.rows) == (1, 1)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("", "lists no frame"),
        ("video_id\n", "lists no frame"),
        ("a\nb\n", r"index\.csv:1: the header is 'a'; it must be video_id or video_id,time"),
        ("video_id,time,x\na,1,2\n", "the header is 'video_id,time,x'"),
        ("video_id\na\n", "lists 1 frames, but .*f.npy has 2 rows"),
        ("video_id\na\nb\nc\n", "lists 3 frames"),
        ("video_id\na\nb,1\n", r"index\.csv:3: 2 fields, where the header has 1"),
        ("video_id,time\na,1\n,1\n", r"index\.csv:3: no video_id"),
        ("video_id,time\na,1\nb,soon\n", r"index\.csv:3: time 'soon' is not a number of seconds"),
        ("video_id,time\na,nan\nb,1\n", r"index\.csv:2: time 'nan'"),
        ("video_id,time\na,-1\nb,1\n", r"index\.csv:2: time '-1'"),
        ("video_id,time\na,inf\nb,1\n", r"index\.csv:2: time 'inf'"),
        ('video_id\na\n"b\n', r"index\.csv:3: not CSV"),
    ],
)
def test_what_is_wrong_in_an_index(tmp_path: Path, index: str, says: str) -> None:
    files = write(tmp_path, np.ones((2, 3)), index)
    with pytest.raises(StoreError, match=says) as caught:
        read_arrays(*files, IDS)
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf_8_and_odd_text_that_is(tmp_path: Path) -> None:
    files = write(tmp_path, np.ones((2, 3)), "")
    files[1].write_bytes(b"video_id\na\n\xff\n")
    with pytest.raises(StoreError, match="not UTF-8"):
        read_arrays(*files, IDS)
    files[1].write_bytes(b"\xef\xbb\xbfvideo_id\r\na\r\nb\r\n")  # as a spreadsheet saves it
    assert np.diff(read_arrays(*files, IDS).offsets).tolist() == [1, 1, 0, 0]
    files[1].write_bytes(b"video_id\na\nb\0\n")  # a name like any other: no video of a manifest can have it
    assert read_arrays(*files, IDS).unlisted == {"b\0": 1}
