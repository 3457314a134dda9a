"""Features of other tools that are damaged, hostile or not what they should be: a line, or counted, never a crash."""

from __future__ import annotations

import os
import pickle
import shlex
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ran, read_features, read_lines, vidface, write_manifest
from hypothesis import given, settings
from hypothesis import strategies as st
from python2_pickle import python2_pickle

from vidface.errors import StoreError
from vidface.features.foreign import read_iqiyi_features

IDS = ["a", "b", "c", "d"]
VECTORS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float16)


class Payload:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def good() -> dict[str, Any]:
    """Two faces of every video."""
    return {
        name: [[str(k), [0.0, 0.0, 9.0, 9.0], 0.9, 50.0, VECTORS[2 * i + k].copy()] for k in range(2)]
        for i, name in enumerate(IDS)
    }


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [(name, f"{name}.mp4", f"p{i // 2}", "val" if i % 2 else "train") for i, name in enumerate(IDS)]
    return write_manifest(tmp_path / "set.csv", rows)


def take(manifest: Path, content: bytes | dict[str, Any], code: int) -> Ran:
    path = manifest.with_name("f.pickle")
    path.write_bytes(content if isinstance(content, bytes) else python2_pickle(content))
    output = manifest.with_name("f.h5")
    ran = vidface("features", "from-iqiyi", path, "--manifest", manifest, "-o", output, code=code)
    assert not list(manifest.parent.glob(".*")), "something is left over"
    return ran


def refused(manifest: Path, content: bytes) -> str:
    """The one line; nothing was written."""
    error = take(manifest, content, 1).error
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["f.pickle", "set.csv"]
    return error


def faults(manifest: Path) -> list[tuple[str, str]]:
    return [(fault["video"], fault["kind"]) for fault in read_lines(manifest.with_name("faults.jsonl"))]


# Pickles


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_feature_pickle(tmp_path: Path, manifest: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    content = pickle.dumps({**good(), "e": [[0, [0, 0, 1, 1], 1.0, 1.0, Payload(marker)]]}, protocol)
    assert "is a pickle that wants to call posix.mkdir: refused" in refused(manifest, content)
    assert not marker.exists()
    pickle.loads(content)  # noqa: S301 - shows that the payload was a live one
    assert marker.exists()


NO_PICKLES = {
    "empty": (b"", "byte 0"),
    "html": (b"<!DOCTYPE html><html></html>", "not a pickle of plain values"),
    "cut short": (python2_pickle(good())[:-200], "damaged"),
    "a list": (pickle.dumps([1, 2]), "holds a list"),
    "no videos": (pickle.dumps({}), "holds an empty dictionary"),
    "no vectors": (
        pickle.dumps({"a": [[0, [0, 0, 1, 1], 1.0, 1.0, [1.0, 2.0]]]}),
        "no face in it has a vector",
    ),
    "vectors of nothing": (
        pickle.dumps({"a": [[0, [0, 0, 1, 1], 1.0, 1.0, np.zeros(0, "f2")]]}),
        "no face in it",
    ),
}


@pytest.mark.parametrize(
    "name", ["empty", "html", "cut short", "a list", "no videos", "no vectors", "vectors of nothing"]
)
def test_what_is_no_feature_pickle(manifest: Path, name: str) -> None:
    content, says = NO_PICKLES[name]
    assert says in refused(manifest, content)


def test_a_pickle_that_claims_more_than_it_holds(manifest: Path) -> None:
    content = python2_pickle(good())
    claim = content.replace(b"T" + struct.pack("<i", 12), b"T" + struct.pack("<i", 2**31 - 1), 1)
    assert claim != content
    assert "it holds less than it announces" in refused(manifest, claim)


def test_nan_in_a_feature_pickle(manifest: Path) -> None:
    features = good()
    features["b"][0][4][3] = np.nan
    features["c"][0][4][0] = features["c"][1][4][1] = np.inf
    take(manifest, features, 1)
    _, status, rows = read_features(manifest.with_name("f.h5"))
    assert (status, [len(r) for r in rows]) == (["ok", "partial", "failed", "ok"], [2, 1, 0, 2])
    assert faults(manifest) == [("b", "not-finite"), ("c", "not-finite")]


def test_a_vector_of_another_length(manifest: Path) -> None:
    features = good()
    features["b"][1][4] = VECTORS[0][:5]
    take(manifest, features, 1)
    _, status, rows = read_features(manifest.with_name("f.h5"))
    assert (status, [len(r) for r in rows]) == (["ok", "partial", "ok", "ok"], [2, 1, 2, 2])
    assert faults(manifest) == [("b", "malformed")]


def test_a_box_that_is_none(manifest: Path) -> None:
    features = good()
    features["a"][0][1] = [9.0, 0.0, 1.0, 9.0]
    features["b"][0][1] = [0.0, 0.0, float("nan"), 9.0]
    features["c"][0][1] = [0.0, 9.0]
    take(manifest, features, 1)
    assert faults(manifest) == [("a", "malformed"), ("b", "malformed"), ("c", "malformed")]


def test_videos_that_a_pickle_lacks_or_has_beyond_the_manifest(manifest: Path) -> None:
    features = good()
    features["\x1b[31mevil\n"] = features.pop("c")
    ran = take(manifest, features, 1)
    assert faults(manifest) == [("c", "missing"), ("\\x1b[31mevil", "not-in-manifest")]
    assert "\x1b" not in ran.out and "\\x1b[31mevil" in ran.out


def test_one_video_under_two_names(manifest: Path) -> None:
    features = good()
    features["b.mp4"] = features["b"]
    assert "'b' again" in (error := refused(manifest, python2_pickle(features))) or "'b.mp4' again" in error


def test_a_folder_and_a_pipe_as_feature_pickle(tmp_path: Path, manifest: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, says in (("pipe", "is not a file"), ("folder", "is a folder"), ("gone", "no such file")):
        told = ("features", "from-iqiyi", tmp_path / name, "--manifest", manifest, "-o", tmp_path / "f.h5")
        assert says in vidface(*told, code=1).error


def test_what_a_killed_import_left_is_not_used(tmp_path: Path, manifest: Path) -> None:
    take(manifest, good(), 0)
    whole = (tmp_path / "f.h5").read_bytes()
    (tmp_path / "f.h5").unlink()
    left = tmp_path / ".f.h5.import"
    left.mkdir()
    (left / "vectors").write_bytes(b"junk" * 99)
    (left / "shard-000000000.h5").write_bytes(b"junk")
    (tmp_path / ".f.h5.4711.partial").write_bytes(b"junk")
    take(manifest, good(), 0)
    assert (tmp_path / "f.h5").read_bytes() == whole


def test_an_output_of_another_source_is_not_overwritten(tmp_path: Path, manifest: Path) -> None:
    take(manifest, good(), 0)
    whole = (tmp_path / "f.h5").read_bytes()
    features = good()
    features["a"][0][4][0] += 1
    assert "source_sha256 was" in take(manifest, features, 2).error
    assert (tmp_path / "f.h5").read_bytes() == whole


@pytest.mark.parametrize("blocks", [1, 20, 50])
def test_no_room_for_the_features_of_a_pickle(tmp_path: Path, manifest: Path, blocks: int) -> None:
    """Files may have so many KB: too few for the vectors, or for a shard of them."""
    vectors = np.random.default_rng(0).normal(size=(4, 10, 512)).astype(np.float16)
    features = {
        name: [[str(k), [0.0, 0.0, 1.0, 1.0], 1.0, 1.0, vector] for k, vector in enumerate(vectors[i])]
        for i, name in enumerate(IDS)
    }
    path = tmp_path / "f.pickle"
    path.write_bytes(python2_pickle(features))
    command = [sys.executable, "-m", "vidface", "features", "from-iqiyi", path, "--manifest", manifest]
    limited = f"ulimit -f {blocks}; {shlex.join(map(str, command))} -o {shlex.quote(str(tmp_path / 'f.h5'))}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no space left; make room and run again" in done.stderr
    assert done.stderr.count("\n") == 1 and str(tmp_path) in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl") == [
        "f.pickle",
        "set.csv",
    ]


@settings(max_examples=150)
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.floats(0.3, 1.5),
)
def test_bit_flips_in_a_feature_pickle(tmp_path: Path, changes: list[tuple[float, int]], cut: float) -> None:
    content = bytearray(python2_pickle(good()))
    for place, value in changes:
        content[int(place * len(content))] = value
    path = tmp_path / "flipped.pickle"
    path.write_bytes(content[: int(cut * len(content))])
    try:
        found = read_iqiyi_features([path], IDS, tmp_path)
    except StoreError as error:
        assert "\n" not in str(error)
        return
    lost = {name: n for name, n in found.counts.items() if name != "read"}
    assert found.counts["read"] == len(found.order) + sum(lost.values())  # nothing is lost without a word
    assert np.isfinite(found.features[found.order].astype(float)).all()
    assert np.isfinite(found.times).all()


# Arrays


@pytest.mark.parametrize("command", ["score", "features"])
def test_malicious_npy(tmp_path: Path, manifest: Path, command: str) -> None:
    marker, path = tmp_path / "it-ran", tmp_path / "f.npy"
    np.save(path, np.array([[Payload(marker)]] * 4, object), allow_pickle=True)
    (tmp_path / "index.csv").write_text("video_id\n" + "\n".join(IDS) + "\n")
    told = ("score", path, "--manifest", manifest)
    if command == "features":
        told = ("features", "from-arrays", path, "--index", tmp_path / "index.csv", "--manifest", manifest)
        told = (*told, "-o", tmp_path / "f.h5")
    assert "Python objects, which are pickles and are never run" in vidface(*told, code=1).error
    assert not marker.exists() and not (tmp_path / "f.h5").exists()
    np.load(path, allow_pickle=True)
    assert marker.exists()


NO_MATRICES: dict[str, tuple[Any, str]] = {
    "nan": (np.full((4, 6), np.nan), "4 rows hold NaN or infinity"),
    "infinity": (np.full((4, 6), np.inf), "4 rows hold NaN or infinity"),
    "not normalised": (np.full((4, 6), 2.0), "4 rows are not of unit length"),
    "too few rows": (np.eye(3, 6), "3 rows for the 4 videos"),
    "too many rows": (np.eye(5, 6), "5 rows for the 4 videos"),
    "one axis": (np.ones(4), "shape [4]"),
    "whole numbers": (np.eye(4, 6, dtype=int), "holds int64"),
    "fields": (np.zeros((4, 1), [("a", "f4")]), "holds [('a'"),
}


@pytest.mark.parametrize("name", NO_MATRICES)
def test_npy_that_cannot_be_scored(tmp_path: Path, manifest: Path, name: str) -> None:
    matrix, says = NO_MATRICES[name]
    np.save(tmp_path / "e.npy", matrix)
    assert says in vidface("score", tmp_path / "e.npy", "--manifest", manifest, code=1).error


def test_npy_cut_short_and_followed_by_more(tmp_path: Path, manifest: Path) -> None:
    path = tmp_path / "e.npy"
    np.save(path, np.eye(4, 6))
    whole = path.read_bytes()
    for content, says in (
        (whole[:-1], "cut short"),
        (whole + whole, "bytes follow the matrix"),
        (whole[:9], "damaged"),
    ):
        path.write_bytes(content)
        assert says in vidface("score", path, "--manifest", manifest, code=1).error


def test_npz_and_other_archives(tmp_path: Path, manifest: Path) -> None:
    np.savez(tmp_path / "e.npz", a=np.eye(4, 6))
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("x", "y")
    for name in ("e.npz", "other.zip"):
        assert "a zip archive" in vidface("score", tmp_path / name, "--manifest", manifest, code=1).error


def test_rows_of_zeros_are_counted(tmp_path: Path, manifest: Path) -> None:
    matrix = np.eye(4, 6)
    matrix[1] = 0
    np.save(tmp_path / "e.npy", matrix)
    found = vidface("score", tmp_path / "e.npy", "--manifest", manifest, "--json", code=1).json
    assert found["counts"]["zero_embeddings"] == 1


def test_an_index_of_another_length(tmp_path: Path, manifest: Path) -> None:
    np.save(tmp_path / "f.npy", np.eye(4, 6))
    (tmp_path / "index.csv").write_text("video_id\na\nb\nc\n")
    told = ("features", "from-arrays", tmp_path / "f.npy", "--index", tmp_path / "index.csv")
    error = vidface(*told, "--manifest", manifest, "-o", tmp_path / "f.h5", code=1).error
    assert "lists 3 frames, but" in error and not (tmp_path / "f.h5").exists()


def test_an_index_in_the_other_unicode_form_and_with_suffixes(tmp_path: Path) -> None:
    ids = ["caf\u00e9/1", "Zoe\u0308/1", "b.mp4"]
    rows = write_manifest(tmp_path / "set.csv", [(name, f"{place}.mp4") for place, name in enumerate(ids)])
    features = np.eye(4, 6, dtype=np.float32)
    np.save(tmp_path / "f.npy", features)
    (tmp_path / "i.csv").write_text(
        "video_id\nZo\u00eb/1.MOV\ncafe\u0301/1.MOV\nb\ncafe\u0301/1.MOV\n", "utf-8"
    )
    words = ("features", "from-arrays", tmp_path / "f.npy", "--index", tmp_path / "i.csv")
    vidface(*words, "--manifest", rows, "-o", tmp_path / "f.h5", code=0)
    found_ids, status, found = read_features(tmp_path / "f.h5")
    assert (found_ids, status) == (ids, ["ok"] * 3)
    assert np.array_equal(found[0], features[[1, 3]])
    assert np.array_equal(found[1], features[[0]]) and np.array_equal(found[2], features[[2]])


def test_two_names_of_one_video_in_an_index(tmp_path: Path, manifest: Path) -> None:
    np.save(tmp_path / "f.npy", np.eye(2, 6, dtype=np.float32))
    (tmp_path / "i.csv").write_text("video_id\na\na.mp4\n")
    words = ("features", "from-arrays", tmp_path / "f.npy", "--index", tmp_path / "i.csv")
    error = vidface(*words, "--manifest", manifest, "-o", tmp_path / "f.h5", code=1).error
    assert "'a' and 'a.mp4' both mean the video 'a'" in error and not (tmp_path / "f.h5").exists()


def test_nan_rows_of_an_array_are_left_out_and_counted(tmp_path: Path, manifest: Path) -> None:
    matrix = np.eye(6)
    matrix[1, 1], matrix[4, 0] = np.nan, -np.inf
    np.save(tmp_path / "f.npy", matrix)
    (tmp_path / "index.csv").write_text("video_id\na\na\nb\nc\nc\nx\n")
    told = ("features", "from-arrays", tmp_path / "f.npy", "--index", tmp_path / "index.csv")
    made = vidface(*told, "--manifest", manifest, "-o", tmp_path / "f.h5", "--json", code=1).json
    assert made["status"] == {"partial": 2, "ok": 1, "failed": 1}
    assert made["source_rows"] == {"read": 6, "not_in_manifest": 1, "not_finite": 2}
    assert faults(manifest) == [
        *(("a", "not-finite"), ("c", "not-finite")),
        *(("d", "missing"), ("x", "not-in-manifest")),
    ]


def test_zero_rows_of_an_array_are_left_out_and_counted(tmp_path: Path, manifest: Path) -> None:
    matrix = np.eye(6)
    matrix[1] = matrix[2] = 0
    matrix[4] = 1e-60  # zero where it is stored, as float32
    np.save(tmp_path / "f.npy", matrix)
    (tmp_path / "index.csv").write_text("video_id\na\na\nb\nc\nc\nd\n")
    told = ("features", "from-arrays", tmp_path / "f.npy", "--index", tmp_path / "index.csv")
    made = vidface(*told, "--manifest", manifest, "-o", tmp_path / "f.h5", "--json", code=1).json
    assert (made["status"], made["rows"]) == ({"partial": 2, "failed": 1, "ok": 1}, 3)
    assert made["source_rows"] == {"read": 6, "not_in_manifest": 0, "not_finite": 0, "zero_features": 3}
    assert faults(manifest) == [(video, "zero-features") for video in "abc"]


def test_zero_vectors_in_a_feature_pickle(manifest: Path) -> None:
    features = good()
    for video, k in (("b", 0), ("c", 0), ("c", 1)):
        features[video][k][4][:] = 0
    take(manifest, features, 1)
    _, status, rows = read_features(manifest.with_name("f.h5"))
    assert (status, [len(r) for r in rows]) == (["ok", "partial", "failed", "ok"], [2, 1, 0, 2])
    assert faults(manifest) == [("b", "zero-features"), ("c", "zero-features")]


def test_features_of_another_set_are_refused(tmp_path: Path, manifest: Path) -> None:
    """Not one id that is known: no features file of nothing but failed videos."""
    np.save(tmp_path / "f.npy", np.eye(2, 6))
    (tmp_path / "index.csv").write_text("video_id\nvideos/a\nvideos/b\n")
    told = ("features", "from-arrays", tmp_path / "f.npy", "--index", tmp_path / "index.csv")
    error = vidface(*told, "--manifest", manifest, "-o", tmp_path / "f.h5", code=1).error
    assert f"none of the 2 rows is of a video of {manifest}: they are of 'videos/a' and so on" in error
    assert "its ids look like 'a'" in error
    other = {f"videos/{name}": faces for name, faces in good().items()}
    assert "none of the 8 rows is of a video of" in take(manifest, other, code=1).error
    assert not (tmp_path / "f.h5").exists() and not (tmp_path / "faults.jsonl").exists()
