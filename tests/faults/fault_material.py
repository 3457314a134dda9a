"""What tests of faults make in the same way: files of features, hostile pickles, full disks, folders to compare."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from command_line import Ran, read_features, read_lines, vidface

from vidface.files import store

MADE_WITH = {"manifest_sha256": "m", "model_name": "n", "model_sha256": "s", "flip": False, "fps": "8"} | {
    "decoder": "pyav"
}


class Payload:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


class Extracted(NamedTuple):
    """What a run of extract left, by video: status, rows, and (kind, detail) of its faults."""

    ran: Ran
    status: dict[str, str]
    rows: dict[str, np.ndarray]
    faults: dict[str, list[tuple[str, str]]]


def extracted(manifest: Path, output: Path, model: Path, *options: object, code: int) -> Extracted:
    """Run extract; every fault has its video, stage, kind and a detail of one line, and all are counted."""
    words = ("extract", manifest, "-o", output, "--model", model, *options, "--json")
    return left_by(vidface(*words, code=code), output)


def left_by(ran: Ran, output: Path) -> Extracted:
    ids, status, rows = read_features(output)
    faults: dict[str, list[tuple[str, str]]] = {}
    for fault in read_lines(output.with_name("faults.jsonl")):
        assert fault["stage"] == "extract" and fault["detail"] and "\n" not in fault["detail"]
        faults.setdefault(fault["video"], []).append((fault["kind"], fault["detail"]))
    assert sum(ran.json["status"].values()) == len(ids)
    assert sum(ran.json["faults"].values()) == sum(map(len, faults.values()))
    return Extracted(ran, dict(zip(ids, status, strict=True)), dict(zip(ids, rows, strict=True)), faults)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def features_file(path: Path, videos: dict[str, np.ndarray], *, joined: Any = None, **made: object) -> Path:
    """Features of these videos at 8 frames a second; ``made`` are more attributes."""
    rows = [
        store.VideoRows(name, one.astype(np.float32), np.arange(len(one), dtype=np.float32) / 8, "ok", [])
        for name, one in videos.items()
    ]
    shard = path.with_name("shard.h5")
    store.write_shard(shard, rows, next(iter(videos.values())).shape[1], "float32")
    store.join_shards([shard], path, MADE_WITH | made, **(joined or {}))
    shard.unlink()
    return path


def embeddings_file(path: Path, ids: list[str], vectors: np.ndarray, **made: object) -> Path:
    count = len(ids)
    source = store.FeaturesInfo(
        path, ids, np.arange(count + 1), ["ok"] * count, {"dimension": vectors.shape[1]}
    )
    run = store.EmbeddingRows(vectors.astype(np.float32), np.ones(count, np.int64), np.zeros(count, np.int32))
    store.write_embeddings(path, source, [run], made)
    return path


def listed_rows(folder: Path, rows: np.ndarray, ids: Sequence[str], manifest: Path) -> tuple[object, ...]:
    """The words that import a matrix with its index as ``folder/f.h5``."""
    np.save(folder / "f.npy", rows)
    (folder / "index.csv").write_text("\n".join(["video_id", *ids]) + "\n", "utf-8")
    words = ("features", "from-arrays", folder / "f.npy", "--index", folder / "index.csv")
    return (*words, "--manifest", manifest, "-o", folder / "f.h5")


@contextmanager
def small_disk(disk: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leave: int = 0) -> None:
    """Fill a disk until about ``leave`` bytes are free."""
    state = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - leave)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
