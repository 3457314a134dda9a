"""Features of other tools that are damaged, hostile or not what they should be: a line, or counted, never a crash."""

from __future__ import annotations

import os
import pickle
import shlex
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import MODULE, Ran, read_features, read_lines, vidface, write_manifest
from fault_material import Payload, listed_rows, names
from hypothesis import given, settings
from hypothesis import strategies as st
from python2_pickle import python2_pickle

from vidface.errors import StoreError
from vidface.features.foreign import read_iqiyi_features

IDS = ["a", "b", "c", "d"]
VECTORS = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float16)
Videos = dict[str, Any]


def good() -> Videos:
    """Two faces of every video."""
    return {
        name: [[str(k), [0.0, 0.0, 9.0, 9.0], 0.9, 50.0, VECTORS[2 * i + k].copy()] for k in range(2)]
        for i, name in enumerate(IDS)
    }


def pickled(vector: object) -> bytes:
    """A pickle of one face with that vector."""
    return pickle.dumps({"a": [[0, [0, 0, 1, 1], 1.0, 1.0, vector]]})


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rows = [(name, f"{name}.mp4", f"p{i // 2}", "val" if i % 2 else "train") for i, name in enumerate(IDS)]
    return write_manifest(tmp_path / "set.csv", rows)


def take(manifest: Path, content: bytes | Videos, code: int) -> Ran:
    path = manifest.with_name("f.pickle")
    path.write_bytes(content if isinstance(content, bytes) else python2_pickle(content))
    words = ("features", "from-iqiyi", path, "--manifest", manifest, "-o", manifest.with_name("f.h5"))
    ran = vidface(*words, code=code)
    assert not list(manifest.parent.glob(".*")), "something is left over"
    return ran


def refused(manifest: Path, content: bytes) -> str:
    """The one line; nothing was written."""
    error = take(manifest, content, 1).error
    assert names(manifest.parent) == ["f.pickle", "set.csv"]
    return error


def faults(manifest: Path) -> list[str]:
    return [f"{fault['video']} {fault['kind']}" for fault in read_lines(manifest.with_name("faults.jsonl"))]


# Pickles


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_malicious_feature_pickle(tmp_path: Path, manifest: Path, protocol: int) -> None:
    marker = tmp_path / "it-ran"
    content = pickle.dumps({**good(), "e": [[0, [0, 0, 1, 1], 1.0, 1.0, Payload(marker)]]}, protocol)
    assert "is a pickle that wants to call posix.mkdir: refused" in refused(manifest, content)
    assert not marker.exists()
    pickle.loads(content)  # noqa: S301 - shows that the payload was a live one
    assert marker.exists()


WHOLE = python2_pickle(good())
CLAIMS = WHOLE.replace(b"T" + struct.pack("<i", 12), b"T" + struct.pack("<i", 2**31 - 1), 1)
NO_PICKLES = {
    "empty": (b"", "byte 0"),
    "html": (b"<!DOCTYPE html><html></html>", "not a pickle of plain values"),
    "cut short": (WHOLE[:-200], "damaged"),
    "a list": (pickle.dumps([1, 2]), "holds a list"),
    "no videos": (pickle.dumps({}), "holds an empty dictionary"),
    "no vectors": (pickled([1.0, 2.0]), "no face in it has a vector"),
    "vectors of nothing": (pickled(np.zeros(0, "f2")), "no face in it"),
    "claims more than it holds": (CLAIMS, "it holds less than it announces"),
    "two names": (python2_pickle({**good(), "b.mp4": good()["b"]}), "' again"),
}


@pytest.mark.parametrize("name", NO_PICKLES)
def test_what_is_no_feature_pickle(manifest: Path, name: str) -> None:
    content, says = NO_PICKLES[name]
    assert says in refused(manifest, content)


@pytest.mark.parametrize("name", ["pipe is not a file", "folder is a folder", "gone no such file"])
def test_what_is_no_file_as_feature_pickle(tmp_path: Path, manifest: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    path, _, says = name.partition(" ")
    told = ("features", "from-iqiyi", tmp_path / path, "--manifest", manifest, "-o", tmp_path / "f.h5")
    assert says in vidface(*told, code=1).error


SPOILT: dict[str, tuple[Callable[[Videos], object], list[int], str]] = {  # change, rows left, faults
    "NaN": (
        lambda videos: [put(videos, "b0", np.nan), put(videos, "c0", np.inf), put(videos, "c1", -np.inf)],
        *([2, 1, 0, 2], "b not-finite, c not-finite"),
    ),
    "zeros": (
        lambda videos: [videos[name][k][4].fill(0) for name, k in (("b", 0), ("c", 0), ("c", 1))],
        *([2, 1, 0, 2], "b zero-features, c zero-features"),
    ),
    "another length": (lambda videos: put(videos, "b1", cut=5), [2, 1, 2, 2], "b malformed"),
    "no box": (
        lambda videos: [videos["a"][0][1].reverse(), videos["b"][0].__setitem__(1, [0.0, 9.0])],
        *([1, 1, 2, 2], "a malformed, b malformed"),
    ),
    "a box of NaN": (lambda videos: videos["c"][0][1].__setitem__(2, np.nan), [2, 2, 1, 2], "c malformed"),
    "other videos": (
        lambda videos: videos.update({"\x1b[31mevil\n": videos.pop("c")}),
        *([2, 2, 0, 2], "c missing, \\x1b[31mevil not-in-manifest"),
    ),
}


def put(videos: Videos, face: str, value: float = 0, cut: int = 6) -> None:
    """A number into the vector of a face such as b0, or a shorter vector."""
    one = videos[face[0]][int(face[1])]
    one[4][3] = value
    one[4] = one[4][:cut]


@pytest.mark.parametrize("case", SPOILT)
def test_rows_of_a_pickle_that_are_left_out(manifest: Path, case: str) -> None:
    """Each is counted; a video is partial or failed."""
    spoil, left, said = SPOILT[case]
    features = good()
    spoil(features)
    ran = take(manifest, features, 1)
    _, status, rows = read_features(manifest.with_name("f.h5"))
    assert [len(of_a_video) for of_a_video in rows] == left
    assert status == [["failed", "partial", "ok"][count] for count in left]
    assert ", ".join(faults(manifest)) == said and "\x1b" not in ran.out


@pytest.mark.parametrize("option", ["--min-score", "--min-quality"])
def test_a_limit_that_is_no_number(tmp_path: Path, manifest: Path, option: str) -> None:
    command = ("features", "from-iqiyi", tmp_path / "none.pickle", "--manifest", manifest)
    assert "must be numbers" in vidface(*command, "-o", tmp_path / "f.h5", option, "nan", code=2).err


def test_what_a_killed_import_left_is_not_used(tmp_path: Path, manifest: Path) -> None:
    """And an output of another source is not overwritten."""
    take(manifest, good(), 0)
    whole = (tmp_path / "f.h5").read_bytes()
    (tmp_path / "f.h5").unlink()
    left = tmp_path / ".f.h5.import"
    left.mkdir()
    for path in (left / "vectors", left / "shard-000000000.h5", tmp_path / ".f.h5.4711.partial"):
        path.write_bytes(b"junk")
    take(manifest, good(), 0)
    assert (tmp_path / "f.h5").read_bytes() == whole
    features = good()
    features["a"][0][4][0] += 1
    assert "source_sha256 was" in take(manifest, features, 2).error
    assert (tmp_path / "f.h5").read_bytes() == whole


@pytest.mark.parametrize("blocks", [1, 20, 50])
def test_no_room_for_the_features_of_a_pickle(tmp_path: Path, manifest: Path, blocks: int) -> None:
    """Files may have so many KB: too few for the vectors, or for a shard of them."""
    vectors = np.random.default_rng(0).normal(size=(4, 10, 512)).astype(np.float16)
    box = [0.0, 0.0, 1.0, 1.0]
    features = {
        name: [[str(k), box, 1.0, 1.0, one] for k, one in enumerate(vectors[i])] for i, name in enumerate(IDS)
    }
    path = tmp_path / "f.pickle"
    path.write_bytes(python2_pickle(features))
    words = [*MODULE, "features", "from-iqiyi", path, "--manifest", manifest, "-o", tmp_path / "f.h5"]
    limited = f"ulimit -f {blocks}; {shlex.join(map(str, words))}"
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no space left; make room and run again" in done.stderr
    assert done.stderr.count("\n") == 1 and str(tmp_path) in done.stderr
    assert {*names(tmp_path)} - {"faults.jsonl"} == {"f.pickle", "set.csv"}


@settings(max_examples=150)
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.floats(0.3, 1.5),
)
def test_bit_flips_in_a_feature_pickle(tmp_path: Path, changes: list[tuple[float, int]], cut: float) -> None:
    content = bytearray(WHOLE)
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


def test_malicious_npy(tmp_path: Path, manifest: Path) -> None:
    marker, objects = tmp_path / "it-ran", tmp_path / "f.npy"
    words = listed_rows(tmp_path, np.array([[Payload(marker)]] * 4, object), IDS, manifest)
    for told in (words, ("score", objects, "--manifest", manifest)):
        assert "Python objects, which are pickles and are never run" in vidface(*told, code=1).error
    assert not marker.exists() and not (tmp_path / "f.h5").exists()
    np.load(objects, allow_pickle=True)
    assert marker.exists()


def saved(matrix: np.ndarray, save: Callable[..., Any] = np.save) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            save(file, matrix)

    return write


def spelled(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        saved(np.eye(4, 6))(path)
        path.write_bytes(change(path.read_bytes()))

    return write


def a_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x", "y")


NO_MATRICES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nan": (saved(np.full((4, 6), np.nan)), "4 rows hold NaN or infinity"),
    "infinity": (saved(np.full((4, 6), np.inf)), "4 rows hold NaN or infinity"),
    "not normalised": (saved(np.full((4, 6), 2.0)), "4 rows are not of unit length"),
    "too few rows": (saved(np.eye(3, 6)), "3 rows for the 4 videos"),
    "too many rows": (saved(np.eye(5, 6)), "5 rows for the 4 videos"),
    "one axis": (saved(np.ones(4)), "shape [4]"),
    "whole numbers": (saved(np.eye(4, 6, dtype=int)), "holds int64"),
    "fields": (saved(np.zeros((4, 1), [("a", "f4")])), "holds [('a'"),
    "cut short": (spelled(lambda whole: whole[:-1]), "cut short"),
    "more behind": (spelled(lambda whole: whole + whole), "bytes follow the matrix"),
    "a head": (spelled(lambda whole: whole[:9]), "damaged"),
    "npz": (saved(np.eye(4, 6), np.savez), "a zip archive"),
    "zip": (a_zip, "a zip archive"),
}


@pytest.mark.parametrize("name", NO_MATRICES)
def test_npy_that_cannot_be_scored(tmp_path: Path, manifest: Path, name: str) -> None:
    write, says = NO_MATRICES[name]
    write(tmp_path / "e.npy")
    assert says in vidface("score", tmp_path / "e.npy", "--manifest", manifest, code=1).error


def test_rows_of_zeros_are_counted(tmp_path: Path, manifest: Path) -> None:
    np.save(tmp_path / "e.npy", np.eye(4, 6) * [[1], [0], [1], [1]])
    found = vidface("score", tmp_path / "e.npy", "--manifest", manifest, "--json", code=1).json
    assert found["counts"]["zero_embeddings"] == 1


NO_INDEXES = {  # ids, rows, what is said
    "another length": ("a b c", 4, "lists 3 frames, but"),
    "two names": ("a a.mp4", 2, "'a' and 'a.mp4' both mean the video 'a'"),
    "another set": ("videos/a videos/b", 2, "they are of 'videos/a' and so on, its ids look like 'a'"),
}


@pytest.mark.parametrize("case", NO_INDEXES)
def test_an_index_that_does_not_fit(tmp_path: Path, manifest: Path, case: str) -> None:
    """Not one id that is known: no features file of nothing but failed videos."""
    ids, rows, said = NO_INDEXES[case]
    error = vidface(*listed_rows(tmp_path, np.eye(rows, 6), ids.split(), manifest), code=1).error
    assert said in error, error
    if case == "another set":
        assert f"none of the 2 rows is of a video of {manifest}: " in error
        other = {f"videos/{name}": faces for name, faces in good().items()}
        assert "none of the 8 rows is of a video of" in take(manifest, other, code=1).error
    assert not (tmp_path / "f.h5").exists() and not (tmp_path / "faults.jsonl").exists()


def test_an_index_in_the_other_unicode_form_and_with_suffixes(tmp_path: Path) -> None:
    ids = ["caf\u00e9/1", "Zoe\u0308/1", "b.mp4"]
    manifest = write_manifest(tmp_path / "set.csv", [(name, f"{n}.mp4") for n, name in enumerate(ids)])
    features = np.eye(4, 6, dtype=np.float32)
    listed = ["Zo\u00eb/1.MOV", "cafe\u0301/1.MOV", "b", "cafe\u0301/1.MOV"]
    vidface(*listed_rows(tmp_path, features, listed, manifest), code=0)
    found_ids, status, found = read_features(tmp_path / "f.h5")
    assert (found_ids, status) == (ids, ["ok"] * 3)
    for rows, places in zip(found, ([1, 3], [0], [2]), strict=True):
        assert np.array_equal(rows, features[places])


def test_rows_of_an_array_that_are_left_out_are_counted(tmp_path: Path, manifest: Path) -> None:
    """NaN, infinity, of other videos; and zeros, also those that are zero once they are stored as float32."""
    matrix = np.eye(6)
    matrix[1, 1], matrix[4, 0] = np.nan, -np.inf
    made = vidface(*listed_rows(tmp_path, matrix, "aabccx", manifest), "--json", code=1).json
    assert made["status"] == {"partial": 2, "ok": 1, "failed": 1}
    assert made["source_rows"] == {"read": 6, "not_in_manifest": 1, "not_finite": 2}
    assert faults(manifest) == ["a not-finite", "c not-finite", "d missing", "x not-in-manifest"]
    (tmp_path / "f.h5").unlink()
    matrix = np.eye(6) * [[1], [0], [0], [1], [1e-60], [1]]
    made = vidface(*listed_rows(tmp_path, matrix, "aabccd", manifest), "--json", code=1).json
    assert (made["status"], made["rows"]) == ({"partial": 2, "failed": 1, "ok": 1}, 3)
    assert made["source_rows"] == {"read": 6, "not_in_manifest": 0, "not_finite": 0, "zero_features": 3}
    assert faults(manifest) == [f"{video} zero-features" for video in "abc"]
