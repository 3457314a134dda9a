"""Runs that are killed, doubled, changed, or out of disk."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import (
    MODULE,
    frames_of,
    pooling_model,
    read_lines,
    vidface,
    vidface_process,
    write_folder,
    write_manifest,
)
from fault_material import fill, names, small_disk

VIDEOS = 260  # five shards


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of many small folders, one of them without pictures."""
    root = tmp_path_factory.mktemp("many")
    rows = []
    for video in range(VIDEOS):
        write_folder(root / f"{video:04d}", frames_of(video, 0 if video == 10 else 4))
        rows.append((f"v{video:04d}", f"{video:04d}", f"p{video % 20}", "train" if video < 20 else "val"))
    return write_manifest(root / "manifest.csv", rows)


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pooling_model(tmp_path_factory.mktemp("slow") / "cells.onnx", cell=4)


def start(*arguments: object) -> subprocess.Popen[str]:
    words = [*MODULE, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait until the process has come so far; it must not end before."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"it ended too early: {process.communicate()}"
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.002)


def test_killed_run_goes_on_and_ends_in_the_same_bytes(tmp_path: Path, many: Path, slow_model: Path) -> None:
    """Killed three times, at last with nearly all shards there and a half-written file left behind."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = tmp_path / "whole" / "features.h5", tmp_path / "killed" / "features.h5"
    vidface("extract", many, "-o", whole, "--model", slow_model, "--workers", 2, code=1)

    parts = killed.with_name("features.h5.parts")
    for shards in (1, 3, 4):
        process = start("extract", many, "-o", killed, "--model", slow_model, "--workers", 1)
        wait_for(process, (parts / f"shard-{shards - 1:06d}.h5").exists)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL and not killed.exists()
    killed.with_name(".features.h5.99999.partial").write_bytes(whole.read_bytes()[:1000])
    # What is there now is of this model and these options only.
    refused = vidface("extract", many, "-o", killed, "--model", slow_model, "--flip", code=2)
    assert "flip was False, now True" in refused.error

    ran = vidface("extract", many, "-o", killed, "--model", slow_model, "--json", code=1)
    assert 4 * 64 <= ran.json["resumed_videos"] < VIDEOS
    assert names(killed.parent) == ["faults.jsonl", "features.h5"]
    for name in names(killed.parent):
        assert (killed.parent / name).read_bytes() == (whole.parent / name).read_bytes()
    assert [fault["video"] for fault in read_lines(killed.parent / "faults.jsonl")] == ["v0010"]

    # Run once more, it finds everything done and changes nothing.
    again = vidface("extract", many, "-o", killed, "--model", slow_model, "--json", code=1)
    assert again.json["already_done"] is True
    assert killed.read_bytes() == whole.read_bytes()


def test_two_runs_on_one_output(tmp_path: Path, many: Path, slow_model: Path) -> None:
    """While one run writes an output, a second is refused, and the first is not disturbed."""
    output = tmp_path / "features.h5"
    first = start("extract", many, "-o", output, "--model", slow_model, "--workers", 1)
    wait_for(first, (tmp_path / "features.h5.parts" / "shard-000000.h5").exists)
    first.send_signal(signal.SIGSTOP)
    try:
        assert first.poll() is None and not output.exists()
        second = vidface("extract", many, "-o", output, "--model", slow_model, code=2)
    finally:
        first.send_signal(signal.SIGCONT)
    assert "another run is writing it now" in second.error
    _, err = first.communicate(timeout=120)
    assert (first.returncode, err) == (1, "")
    assert names(tmp_path) == ["faults.jsonl", "features.h5"]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """The manifest, features and embeddings of four videos, and another model, manifest and features."""
    root = tmp_path_factory.mktemp("few")
    for video in range(4):
        write_folder(root / str(video), frames_of(video // 2, 3, seed=video))
    rows = [(f"v{n}", str(n), f"p{n // 2}", "train" if n % 2 else "val") for n in range(4)]
    manifest = write_manifest(root / "set.csv", rows)
    (root / "changed.csv").write_text(manifest.read_text().replace("v3", "v9"))
    pooling_model(root / "other.onnx", cell=14)
    for name in ("same", "card"):  # the same weights with another card are another model
        (root / f"{name}.onnx").write_bytes(model.read_bytes())
        card = model.with_suffix(".toml").read_text()
        (root / f"{name}.toml").write_text(card if name == "same" else card.replace("127.5", "120.0"))
    extract = ("extract", manifest, "--model", root / "same.onnx")
    vidface(*extract, "-o", root / "f.h5", code=0)
    vidface(*extract, "--flip", "-o", root / "flipped.h5", code=0)
    vidface("cluster", root / "f.h5", "--threshold", 0.4, "-o", root / "e.h5", code=0)
    return root


EXTRACT = "extract set.csv --model same.onnx -o f.h5"
CHANGED = {
    f"{EXTRACT} --flip": "flip was False, now True",
    f"{EXTRACT} --fps all": "fps was 8, now all",
    f"{EXTRACT} --decoder decord": "decoder was pyav, now decord",
    f"{EXTRACT} --dtype float16": "dtype was float32, now float16",
    "extract set.csv --model other.onnx -o f.h5": "model_sha256 was",
    "extract set.csv --model card.onnx -o f.h5": "model_sha256 was",
    "extract changed.csv --model same.onnx -o f.h5": "manifest_sha256 was",
    "cluster f.h5 --threshold 0.5 -o e.h5": "threshold was 0.4, now 0.5",
    "cluster flipped.h5 --threshold 0.4 -o e.h5": "features_sha256 was",
}


@pytest.mark.parametrize("words", CHANGED)
def test_what_was_made_otherwise_is_refused(few: Path, words: str) -> None:
    before = [(few / name).read_bytes() for name in ("f.h5", "e.h5")]
    assert CHANGED[words] in vidface(*words.split(), cwd=few, code=2).error
    # What changes nothing is no other run.
    same = f"{EXTRACT} --batch-size 1 --workers 1 --json"
    assert vidface(*same.split(), cwd=few, code=0).json["already_done"] is True
    assert [(few / name).read_bytes() for name in ("f.h5", "e.h5")] == before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as disk:
        yield disk


def test_full_disk_while_shards_are_written(disk: Path, many: Path, few: Path, slow_model: Path) -> None:
    (disk / "earlier.h5").write_bytes((few / "f.h5").read_bytes())
    ran = vidface("extract", many, "-o", disk / "features.h5", "--model", slow_model, code=1)
    assert "no space left" in ran.error and str(disk) in ran.error
    assert (disk / "earlier.h5").read_bytes() == (few / "f.h5").read_bytes()
    assert names(disk) == ["earlier.h5", "features.h5.parts"]
    assert names(disk / "features.h5.parts") == ["identity.json"]


def test_full_disk_while_shards_are_joined(disk: Path, many: Path, model: Path) -> None:
    """260 videos x 4 frames x 192 bytes: the shards fit, a second copy of their rows does not. Then there is room.

    Then it fills under sweep, whose temporary file lies beside the features.
    """
    output = disk / "features.h5"
    fill(disk, 400_000)
    assert "no space left" in vidface("extract", many, "-o", output, "--model", model, code=1).error
    assert not [name for name in names(disk) if name == "features.h5" or name.endswith(".partial")]
    assert "shard-000004.h5" in names(disk / "features.h5.parts")
    (disk / "filling").unlink()
    resumed = vidface("extract", many, "-o", output, "--model", model, "--json", code=1)
    assert resumed.json["resumed_videos"] == VIDEOS
    assert names(disk) == ["faults.jsonl", "features.h5"]
    fill(disk, 40_000)
    ran = vidface("sweep", output, "--manifest", many, "--thresholds", "none,0.1:0.9:0.1", code=1)
    assert "no space left" in ran.error.lower()
    assert names(disk) == ["faults.jsonl", "features.h5", "filling"]


def test_full_quota(tmp_path: Path, many: Path, slow_model: Path) -> None:
    """A limit on the size of files stands for a quota; it needs no mount."""
    output = tmp_path / "features.h5"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    ran = vidface_process("extract", many, "-o", output, "--model", slow_model, code=1, preexec_fn=limit)
    assert "no space left" in ran.error
    assert names(tmp_path) == ["features.h5.parts"]
    assert names(tmp_path / "features.h5.parts") == ["identity.json"]
