"""Work that is split over machines by ``--shard I/N`` and merged: real commands, the bytes of the whole run."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import MODULE, frames_of, pooling_model, read_lines, vidface, write_folder, write_manifest

VIDEOS = 150  # three runs of up to 64 videos
BROKEN = ("v010", "v140")


class Whole(NamedTuple):
    """A run without shards, and what it ran on."""

    manifest: Path
    model: Path
    features: Path
    embeddings: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    root = tmp_path_factory.mktemp("whole")
    rows = []
    for video in range(VIDEOS):
        name = f"v{video:03d}"
        write_folder(root / name, frames_of(video, 0 if name in BROKEN else 1 + video % 3))
        rows.append((name, name, f"p{video % 20}", "train" if video < 20 else "val"))
    manifest = write_manifest(root / "manifest.csv", rows)
    model = pooling_model(root / "cells.onnx")
    features, embeddings = root / "features.h5", root / "embeddings.h5"
    vidface("extract", manifest, "-o", features, "--model", model, code=1)
    vidface("cluster", features, "-o", embeddings, "--threshold", 0.3, code=1)
    return Whole(manifest, model, features, embeddings)


@pytest.fixture(scope="module")
def shards(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Both halves, extracted at the same time in one folder."""
    folder = tmp_path_factory.mktemp("shards")
    files = [folder / "features.1.h5", folder / "features.2.h5"]
    runs = []
    for part, file in enumerate(files, 1):
        told = ["--model", str(whole.model), "--shard", f"{part}/2", "--workers", "1"]
        words = [*MODULE, "extract", str(whole.manifest), "-o", str(file), *told]
        runs.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert (run.returncode, err) == (1, ""), out
    return files


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def faults_of(output: Path) -> list[dict[str, str]]:
    return [line for line in read_lines(output.with_name("faults.jsonl")) if line["output"] == output.name]


def test_the_whole_way_in_shards(whole: Whole, shards: list[Path], tmp_path: Path) -> None:
    assert [[fault["video"] for fault in faults_of(file)] for file in shards] == [["v010"], ["v140"]]
    merged = tmp_path / "features.h5"
    ran = vidface("merge", *reversed(shards), "-o", merged, "--json", code=1)
    assert ran.err == ""
    assert ran.json == {
        "output": str(merged),
        "kind": "features",
        "shards": 2,
        "videos": VIDEOS,
        "frames": sum(1 + video % 3 for video in range(VIDEOS)) - (1 + 10 % 3) - (1 + 140 % 3),
        "status": {"ok": VIDEOS - 2, "failed": 2},
        "faults": {"no-frames": 2},
        "already_done": False,
    }
    assert sha256(merged) == sha256(whole.features)
    assert faults_of(merged) == faults_of(whole.features)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faults.jsonl", "features.h5"]

    files = [tmp_path / f"embeddings.{part}.h5" for part in (1, 2, 3)]
    for part, file in enumerate(files, 1):
        has_broken = part != 2
        told = ("--threshold", 0.3, "--shard", f"{part}/3")
        ran = vidface("cluster", merged, "-o", file, *told, "--json", code=int(has_broken))
        assert (ran.json["videos"], ran.json["failed_videos"]) == (50, int(has_broken))
    embeddings = tmp_path / "embeddings.h5"
    ran = vidface("merge", *files, "-o", embeddings, "--json", code=1)
    assert (ran.json["kind"], ran.json["shards"], ran.json["faults"]) == ("embeddings", 3, {})
    assert sha256(embeddings) == sha256(whole.embeddings)
    ran = vidface("merge", *files, "-o", embeddings, "--json", code=1)
    assert ran.json["already_done"] is True


def test_text_for_people(whole: Whole, shards: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "features.h5"
    ran = vidface("merge", *shards, "-o", output, code=1)
    assert ran.out.splitlines() == [
        f"{output}: written: features of 2 shards: {VIDEOS} videos, 295 frames",
        f"videos: 2 failed, 148 ok; faults: 2 no-frames, in {tmp_path / 'faults.jsonl'}",
    ]
    ran = vidface("merge", *shards, "-o", output, code=1)
    assert ran.out.startswith(f"{output}: already there: features of 2 shards") and ran.err == ""
    # The run without shards finds its work done.
    told = ("-o", output, "--model", whole.model, "--json")
    assert vidface("extract", whole.manifest, *told, code=1).json["already_done"] is True
