"""The official pickles: every row where it belongs, and all that is left out counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import frames_of, read_features, read_lines, vidface, write_manifest, write_video
from python2_pickle import python2_pickle

from vidface.errors import ChangedError, StoreError
from vidface.features.foreign import write as foreign_features
from vidface.features.foreign.write import from_iqiyi
from vidface.manifest.manifest import read_manifest

DIMENSION = 8
Faces = list[list[Any]]


def face(
    frame: str | int, seed: int, score: float = 0.9, quality: float = 50.0, size: int = DIMENSION
) -> list[Any]:
    vector = np.random.default_rng(seed).normal(size=size).astype(np.float16)
    return [frame, [1.0, 2.0, 30.0, 40.0], score, quality, vector]


def write(path: Path, features: dict[str, Any]) -> Path:
    path.write_bytes(python2_pickle(features))
    return path


def manifest_of(folder: Path, *ids: str) -> Any:
    return read_manifest(
        write_manifest(folder / "set.csv", [(name, f"{name}.mp4", "1", "val") for name in ids])
    )


def stacked(faces: Faces) -> np.ndarray:
    return np.stack([entry[4] for entry in faces])


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_rows_stand_in_the_order_of_the_manifest_and_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(foreign_features, "SHARD_ROWS", rows)
    videos = {
        "c.mp4": [face("8", 1), face("8", 2), face("16", 3)],  # two faces in one frame
        "a": [face(9, 4), face(0, 5)],  # numbers as numbers, and not in order
        "b": [face("0", 6)],
        "d": [face("1", 7), face("2", 8)],
    }
    names = list(videos)
    pickles = [
        write(tmp_path / "1.pickle", {name: videos[name] for name in names[:2]}),
        write(tmp_path / "2.pickle", {name: videos[name] for name in names[2:]}),
    ]
    manifest = manifest_of(tmp_path, "a", "b.mp4", "c", "d")
    result = from_iqiyi(pickles, manifest, tmp_path / "f.h5")
    ids, status, features = read_features(tmp_path / "f.h5")
    assert (ids, status) == (["a", "b.mp4", "c", "d"], ["ok"] * 4)
    wanted = [videos["a"][::-1], videos["b"], videos["c.mp4"], videos["d"]]
    for found, faces in zip(features, wanted, strict=True):
        assert found.dtype == np.float16
        assert np.array_equal(found, stacked(faces))
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["timestamps"][:].tolist() == [0, 9 / 8, 0, 1, 1, 2, 1 / 8, 2 / 8]
        assert file.attrs["times"] == "frame number / 8"
    assert (result.rows, result.status, result.unlisted) == (8, {"ok": 4}, [])
    assert result.counts == {"read": 8, "not_in_manifest": 0, "malformed": 0, "not_finite": 0}
    from_iqiyi(pickles, manifest, tmp_path / "g.h5")  # the order of work leaves no trace
    assert (tmp_path / "g.h5").read_bytes() == (tmp_path / "f.h5").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    bad_box, nan, short = face("3", 1), face("4", 2), face("5", 3, size=DIMENSION - 1)
    bad_box[1] = [5.0, 5.0, 1.0, 9.0]
    nan[4][2] = np.nan
    no_number, four, negative = face("six", 4), face("7", 5)[:4], face(-1, 6)
    nan_score, words = face("8", 7, score=float("nan")), face("9", 8)
    words[1] = ["1", "2", "3", "4"]
    mixed = [face("0", 9), bad_box, nan, short, no_number, four, negative, nan_score, words, face("9", 10)]
    path = write(
        tmp_path / "f.pickle",
        {"mixed": mixed, "wrecked": [bad_box], "empty": [], "stranger": [face("0", 11)] * 3, "text": "none"},
    )
    manifest = manifest_of(tmp_path, "mixed", "gone", "wrecked", "empty", "text")
    result = from_iqiyi([path], manifest, tmp_path / "f.h5")
    _, status, features = read_features(tmp_path / "f.h5")
    assert status == ["partial", "failed", "failed", "failed", "failed"]
    assert [len(rows) for rows in features] == [2, 0, 0, 0, 0]
    assert np.array_equal(features[0], stacked([mixed[0], mixed[-1]]))
    assert result.counts == {"read": 14, "not_in_manifest": 3, "malformed": 8, "not_finite": 1}
    assert result.unlisted == ["stranger"]
    assert result.counts["read"] == result.rows + sum(n for k, n in result.counts.items() if k != "read")
    faults = [(fault["video"], fault["kind"]) for fault in read_lines(tmp_path / "faults.jsonl")]
    assert faults == [
        ("mixed", "malformed"),
        ("mixed", "not-finite"),
        ("gone", "missing"),
        ("wrecked", "malformed"),
        ("empty", "no-faces"),
        ("text", "malformed"),
        ("stranger", "not-in-manifest"),
    ]
    detail = read_lines(tmp_path / "faults.jsonl")[0]["detail"]
    assert detail == (
        "7 of 10 faces left out: 1 a box that ends before it begins, 1 a box that is not four numbers, "
        "1 a score that is no number, 1 a vector that is not 8 floats, 1 not five fields, 2 no frame number"
    )


def test_filters_by_score_and_quality(tmp_path: Path) -> None:
    faces = [face(i, i, score=i / 10, quality=10.0 * (9 - i)) for i in range(10)]
    path = write(tmp_path / "f.pickle", {"a": faces, "b": faces[:2]})
    manifest = manifest_of(tmp_path, "a", "b")
    result = from_iqiyi([path], manifest, tmp_path / "f.h5", min_score=0.3, min_quality=20.0)
    _, status, features = read_features(tmp_path / "f.h5")
    kept = [entry for entry in faces if entry[2] >= 0.3 and entry[3] >= 20]
    assert len(kept) == 5 and np.array_equal(features[0], stacked(kept))
    assert status == ["ok", "failed"]  # a filter is no fault of a video that keeps faces
    assert (result.counts["below_min_score"], result.counts["below_min_quality"]) == (3 + 2, 2)
    kinds = Counter(fault["kind"] for fault in read_lines(tmp_path / "faults.jsonl"))
    assert kinds == {"filtered": 1, "no-faces": 1}
    with pytest.raises(ChangedError, match=r"min_score was 0\.3, now none"):
        from_iqiyi([path], manifest, tmp_path / "f.h5", min_quality=20.0)


def test_a_second_run_finds_the_file_and_another_pickle_is_refused(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, "a", "b")
    path = write(tmp_path / "f.pickle", {"a": [face(0, 1)], "x": [face(0, 2)]})
    told = ("features", "from-iqiyi", path, "--manifest", tmp_path / "set.csv", "-o", tmp_path / "f.h5")
    first = vidface(*told, "--json", code=1).json
    assert (first["rows"], first["status"], first["already_done"]) == (1, {"ok": 1, "failed": 1}, False)
    assert vidface(*told, "--json", code=1).json == {**first, "already_done": True}
    lines = vidface(*told, code=1).out.splitlines()
    assert lines[1:] == [
        "rows in the source: 2; left out: 1 not in manifest",
        "left out: 1 videos that are not in the manifest: x",
        f"videos: 1 failed, 1 ok; faults: 1 missing, 1 not-in-manifest, in {tmp_path / 'faults.jsonl'}",
    ]
    write(path, {"a": [face(0, 2)]})
    assert "source_sha256 was" in vidface(*told, code=2).error
    assert manifest.video_ids == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("a.mp4", DIMENSION, r"2\.pickle: video 'a\.mp4' again: it is in .*1\.pickle already"),
        ("b", 16, "holds float16 vectors of 16 numbers, the file before it float16 vectors of 8 numbers"),
    ],
    ids=["a video that is there twice", "files of two lengths"],
)
def test_two_files_that_do_not_go_together(tmp_path: Path, name: str, size: int, says: str) -> None:
    manifest = manifest_of(tmp_path, "a", "b")
    one = write(tmp_path / "1.pickle", {"a": [face(0, 1)]})
    two = write(tmp_path / "2.pickle", {name: [face(0, 2, size=size)]})
    with pytest.raises(StoreError, match=says):
        from_iqiyi([one, two], manifest, tmp_path / "f.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.pickle", "2.pickle", "set.csv"]


def test_wider_vectors_keep_their_digits(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, DIMENSION))
    faces = [
        [i, [0, 0, 1, 1], 1, 1, vector.astype(dtype)]
        for i, (vector, dtype) in enumerate(zip(vectors, ["f2", "f4", "f8"], strict=True))
    ]
    path = write(tmp_path / "f.pickle", {"a": faces})
    from_iqiyi([path], manifest_of(tmp_path, "a"), tmp_path / "f.h5")
    (found,) = read_features(tmp_path / "f.h5")[2]
    assert found.dtype == np.float32
    assert np.array_equal(found, np.stack([entry[4].astype(np.float32) for entry in faces]))


def test_pictures_of_such_rows_are_not_guessed(tmp_path: Path) -> None:
    """Also where the media are there: a frame number of another tool is not the time of a frame of ours."""
    path = write(tmp_path / "f.pickle", {"a": [face(0, 1), face(1, 2)]})
    manifest = manifest_of(tmp_path, "a")
    write_video(tmp_path / "a.mp4", frames_of(1, 3))
    from_iqiyi([path], manifest, tmp_path / "f.h5")
    told = ("inspect", tmp_path / "f.h5", "a", "--manifest", tmp_path / "set.csv")
    ran = vidface(*told, "--sheet", tmp_path / "a.png", code=0)
    said = "pictures are missing: another tool made its features: which frame a row is of"
    assert said in ran.out + ran.err
