"""What is to be said of features stands in their file, and goes with it to whoever scores what is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import vidface, write_manifest

from vidface.errors import StoreError
from vidface.files import store
from vidface.files.store import attribute_of, warnings_of
from vidface.manifest.manifest import read_manifest

SAID = ["its pixels are \x1b[2J of another scale", "two of them are odd"]


def write_features(
    path: Path, manifest: Path, said: list[str], shard: str | None = None, rows: slice = slice(None)
):
    truth = read_manifest(manifest)
    random = np.random.default_rng(0)
    videos = [
        store.VideoRows(
            name, random.normal(size=(3, 8)).astype(np.float32), np.arange(3, dtype=np.float32), "ok", []
        )
        for name in truth.video_ids
    ][rows]
    store.write_shard(path.with_suffix(".part"), videos, 8, "float32")
    made: dict[str, Any] = {
        "manifest_sha256": truth.sha256,
        "model_name": "m",
        "model_sha256": "0" * 64,
        "flip": False,
    }
    made |= {"fps": "8", "decoder": "pyav", "program_version": "1"} | (
        {} if shard is None else {"shard": shard}
    )
    parts = [path.with_suffix(".part")]
    store.join_shards(parts, path, {**made, **attribute_of(said)}, keep_faults=shard is not None)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    table = [(f"v{i}", f"{i}", f"p{i // 2}", ("train", "val")[i % 2]) for i in range(8)]
    return write_manifest(tmp_path / "set.csv", table)


def test_they_are_carried_and_come_first(tmp_path: Path, manifest: Path) -> None:
    write_features(tmp_path / "f.h5", manifest, SAID)
    vidface("cluster", tmp_path / "f.h5", "-o", tmp_path / "e.h5", code=0)
    shown = ["its pixels are \\x1b[2J of another scale", SAID[1]]
    told = ("--manifest", manifest)
    for words in (
        ("score", tmp_path / "e.h5", *told),
        ("sweep", tmp_path / "f.h5", *told, "--thresholds", "0.3"),
        ("compare", tmp_path / "e.h5", tmp_path / "e.h5"),
        ("report", tmp_path / "e.h5", "-o", tmp_path / "report", "--no-pictures"),
    ):
        assert vidface(*words, "--json", code=0).json["warnings"][:2] == shown, words
        lines = vidface(*words, code=0).out.splitlines()
        assert [line for line in lines if line.startswith("warning: ")][:2] == [
            f"warning: {text}" for text in shown
        ]


def test_a_manifest_of_half_the_videos_is_warned_of(tmp_path: Path, manifest: Path) -> None:
    write_features(tmp_path / "f.h5", manifest, [])
    vidface("cluster", tmp_path / "f.h5", "-o", tmp_path / "e.h5", code=0)
    manifest.write_text("\n".join(manifest.read_text().splitlines()[:5]) + "\n")
    told = ("--manifest", manifest, "--json")
    for words, name in (
        (("score", tmp_path / "e.h5"), "e.h5"),
        (("compare", tmp_path / "e.h5", tmp_path / "e.h5"), "e.h5"),
        (("report", tmp_path / "e.h5", "-o", tmp_path / "report", "--no-pictures"), "e.h5"),
        (("sweep", tmp_path / "f.h5", "--thresholds", "0.3"), "f.h5"),
    ):
        said = vidface(*words, *told, code=0).json["warnings"][0]
        assert said == f"4 of the 8 videos of {name} are not in set.csv and play no part"


def test_without_any_there_is_no_attribute(tmp_path: Path, manifest: Path) -> None:
    write_features(tmp_path / "f.h5", manifest, [])
    vidface("cluster", tmp_path / "f.h5", "-o", tmp_path / "e.h5", code=0)
    for name in ("f.h5", "e.h5"):
        with h5py.File(tmp_path / name) as file:
            assert "warnings" not in file.attrs


def test_shards_bring_theirs_together(tmp_path: Path, manifest: Path) -> None:
    first = write_features(tmp_path / "1.h5", manifest, SAID, "1/2", slice(0, 4))
    second = write_features(tmp_path / "2.h5", manifest, [SAID[1], "a third"], "2/2", slice(4, 8))
    merged = ("merge", first, second, "-o", tmp_path / "f.h5")
    vidface(*merged, code=0)
    attributes = store.read_attributes(tmp_path / "f.h5", "features")
    assert [text.replace("\\x1b", "\x1b") for text in warnings_of(first, attributes)] == [*SAID, "a third"]
    assert vidface(*merged, "--json", code=0).json["already_done"]


@pytest.mark.parametrize("value", ["x", "3", '{"a": 1}', '[1, "a"]', "[" * 5000, 7, 2.5], ids=repr)
def test_an_attribute_that_is_no_list_of_texts(value: object, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="damaged"):
        warnings_of(tmp_path / "f.h5", {"warnings": value})
    assert warnings_of(tmp_path, {}) == [] and json.loads(attribute_of(SAID)["warnings"]) == SAID
