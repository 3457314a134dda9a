"""Runs that are killed, doubled, changed, out of disk, or offered a program as weights."""

from __future__ import annotations

import fcntl
import os
import pickle
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
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = tmp_path / "whole" / "features.h5", tmp_path / "killed" / "features.h5"
    vidface("extract", many, "-o", whole, "--model", slow_model, "--workers", 2, code=1)

    parts = killed.with_name("features.h5.parts")
    for shards in (1, 3):  # killed twice
        process = start("extract", many, "-o", killed, "--model", slow_model, "--workers", 1)
        wait_for(process, lambda n=shards: (parts / f"shard-{n - 1:06d}.h5").exists())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not killed.exists()
    # What is there now is of this model and these options only.
    refused = vidface("extract", many, "-o", killed, "--model", slow_model, "--flip", code=2)
    assert "flip was False, now True" in refused.error

    ran = vidface("extract", many, "-o", killed, "--model", slow_model, "--json", code=1)
    assert 3 * 64 <= ran.json["resumed_videos"] < VIDEOS
    assert sorted(path.name for path in killed.parent.iterdir()) == ["faults.jsonl", "features.h5"]
    assert killed.read_bytes() == whole.read_bytes()
    assert (killed.parent / "faults.jsonl").read_bytes() == (whole.parent / "faults.jsonl").read_bytes()
    assert [fault["video"] for fault in read_lines(killed.parent / "faults.jsonl")] == ["v0010"]

    # Run once more, it finds everything done and changes nothing.
    again = vidface("extract", many, "-o", killed, "--model", slow_model, "--json", code=1)
    assert again.json["already_done"] is True
    assert killed.read_bytes() == whole.read_bytes()


def test_run_killed_before_its_last_step(tmp_path: Path, many: Path, slow_model: Path) -> None:
    """Killed with all shards there but no output, and with a half-written file left behind."""
    output = tmp_path / "features.h5"
    vidface("extract", many, "-o", output, "--model", slow_model, code=1)
    wanted = output.read_bytes()
    output.unlink()
    process = start("extract", many, "-o", output, "--model", slow_model, "--workers", 1)
    wait_for(process, (tmp_path / "features.h5.parts" / "shard-000003.h5").exists)
    process.kill()
    process.communicate()
    (tmp_path / ".features.h5.99999.partial").write_bytes(wanted[:1000])
    vidface("extract", many, "-o", output, "--model", slow_model, code=1)
    assert output.read_bytes() == wanted
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faults.jsonl", "features.h5"]


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
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faults.jsonl", "features.h5"]


def test_two_runs_of_cluster(tmp_path: Path, few: Path) -> None:
    output = tmp_path / "embeddings.h5"
    with (tmp_path / ".embeddings.h5.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is writing it now" in vidface("cluster", few, "-o", output, code=2).error
        assert not output.exists()
    vidface("cluster", few, "-o", output, code=0)  # the lock of a run that is gone stops nobody


@pytest.fixture(scope="module")
def few_manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    for video in range(4):
        write_folder(root / str(video), frames_of(video // 2, 3, seed=video))
    rows = [
        (f"v{video}", str(video), f"p{video // 2}", "train" if video % 2 else "val") for video in range(4)
    ]
    return write_manifest(root / "manifest.csv", rows)


@pytest.fixture
def few(tmp_path: Path, few_manifest: Path, model: Path) -> Path:
    """The features of four videos."""
    output = tmp_path / "few.h5"
    vidface("extract", few_manifest, "-o", output, "--model", model, code=0)
    return output


def test_changed_option_is_refused(few: Path, few_manifest: Path, model: Path) -> None:
    before = few.read_bytes()
    for options, reason in [
        (["--flip"], "flip was False, now True"),
        (["--fps", "all"], "fps was 8, now all"),
        (["--decoder", "decord"], "decoder was pyav, now decord"),
        (["--dtype", "float16"], "dtype was float32, now float16"),
    ]:
        ran = vidface("extract", few_manifest, "-o", few, "--model", model, *options, code=2)
        assert reason in ran.error
    same = ["--batch-size", 1, "--workers", 1, "--json"]  # these change nothing, so they are no other run
    again = vidface("extract", few_manifest, "-o", few, "--model", model, *same, code=0)
    assert again.json["already_done"] is True
    assert few.read_bytes() == before


def test_changed_model_is_refused(tmp_path: Path, few: Path, few_manifest: Path, model: Path) -> None:
    before = few.read_bytes()
    other = pooling_model(tmp_path / "cells.onnx", cell=14)
    assert "model_sha256 was" in vidface("extract", few_manifest, "-o", few, "--model", other, code=2).error
    # The same weights with another card are another model.
    other.write_bytes(model.read_bytes())
    card = model.with_suffix(".toml").read_text()
    other.with_suffix(".toml").write_text(card.replace("127.5", "120.0"))
    assert "model_sha256 was" in vidface("extract", few_manifest, "-o", few, "--model", other, code=2).error
    assert few.read_bytes() == before


def test_changed_manifest_is_refused(tmp_path: Path, few: Path, few_manifest: Path, model: Path) -> None:
    before = few.read_bytes()
    changed = few_manifest.with_name("changed.csv")
    changed.write_text(few_manifest.read_text().replace("v3", "v9"))
    assert "manifest_sha256 was" in vidface("extract", changed, "-o", few, "--model", model, code=2).error
    assert few.read_bytes() == before


def test_changed_features_or_threshold_are_refused_by_cluster(
    tmp_path: Path, few: Path, few_manifest: Path, model: Path
) -> None:
    output, other = tmp_path / "embeddings.h5", tmp_path / "other.h5"
    vidface("cluster", few, "-o", output, "--threshold", 0.4, code=0)
    before = output.read_bytes()
    refused = vidface("cluster", few, "-o", output, "--threshold", 0.5, code=2)
    assert "threshold was 0.4, now 0.5" in refused.error
    vidface("extract", few_manifest, "-o", other, "--model", model, "--flip", code=0)
    assert "features_sha256 was" in vidface("cluster", other, "-o", output, "--threshold", 0.4, code=2).error
    assert output.read_bytes() == before


class Payload:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.onnx", "weights.pth", "weights.bin"])
def test_pickle_offered_as_weights(tmp_path: Path, few_manifest: Path, model: Path, name: str) -> None:
    marker = tmp_path / "it-ran"
    weights = tmp_path / name
    weights.write_bytes(pickle.dumps(Payload(marker)))
    weights.with_suffix(".toml").write_text(model.with_suffix(".toml").read_text())
    ran = vidface("extract", few_manifest, "-o", tmp_path / "features.h5", "--model", weights, code=1)
    assert str(weights) in ran.error and "can run code" in ran.error
    assert not marker.exists() and not (tmp_path / "features.h5").exists()
    pickle.loads(weights.read_bytes())  # noqa: S301 - shows that the payload was a live one
    assert marker.exists()


def test_pickle_offered_as_results(tmp_path: Path, few_manifest: Path) -> None:
    marker = tmp_path / "it-ran"
    offered = tmp_path / "embeddings.h5"
    offered.write_bytes(pickle.dumps(Payload(marker)))
    vidface("score", offered, "--manifest", few_manifest, code=1).error  # noqa: B018 - checks that it is one line
    vidface("cluster", offered, "-o", tmp_path / "out.h5", code=1).error  # noqa: B018
    assert not marker.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, leave: int) -> None:
    """Fill a disk until about `leave` bytes are free."""
    state = os.statvfs(disk)
    (disk / "filling").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - leave)))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_full_disk_while_shards_are_written(
    small_disk: Path, many: Path, few_manifest: Path, model: Path, slow_model: Path
) -> None:
    earlier = small_disk / "earlier.h5"
    vidface("extract", few_manifest, "-o", earlier, "--model", model, code=0)
    before = earlier.read_bytes()
    output = small_disk / "features.h5"
    ran = vidface("extract", many, "-o", output, "--model", slow_model, code=1)
    assert "no space left" in ran.error and str(small_disk) in ran.error
    assert earlier.read_bytes() == before
    assert names(small_disk) == ["earlier.h5", "faults.jsonl", "features.h5.parts"]
    assert names(small_disk / "features.h5.parts") == ["identity.json"]


def test_full_disk_while_shards_are_joined(
    small_disk: Path, few_manifest: Path, many: Path, model: Path
) -> None:
    """260 videos x 4 frames x 192 bytes: the shards fit, a second copy of their rows does not. Then there is room."""
    output = small_disk / "features.h5"
    fill(small_disk, 400_000)
    ran = vidface("extract", many, "-o", output, "--model", model, code=1)
    assert "no space left" in ran.error
    assert "features.h5" not in names(small_disk)
    assert not [name for name in names(small_disk) if name.endswith(".partial")]
    assert "shard-000004.h5" in names(small_disk / "features.h5.parts")
    (small_disk / "filling").unlink()
    resumed = vidface("extract", many, "-o", output, "--model", model, "--json", code=1)
    assert resumed.json["resumed_videos"] == VIDEOS
    assert names(small_disk) == ["faults.jsonl", "features.h5"]


def test_full_disk_while_results_are_written(
    small_disk: Path, tmp_path: Path, many: Path, slow_model: Path
) -> None:
    """cluster, sweep, score and submit: one line, nothing half-written, earlier files as they were."""
    features, embeddings = tmp_path / "features.h5", tmp_path / "embeddings.h5"
    vidface("extract", many, "-o", features, "--model", slow_model, code=1)
    vidface("cluster", features, "-o", embeddings, code=1)
    earlier = small_disk / "s.bin"
    earlier.write_bytes(b"an earlier file")
    fill(small_disk, 8192)
    before = names(small_disk)
    told = ("--manifest", many)
    for command in [
        ("cluster", features, "-o", small_disk / "e.h5"),
        ("submit", embeddings, *told, "--format", "lfrc", "-o", earlier),
        ("submit", embeddings, *told, "--format", "iqiyi", "-o", small_disk / "s.txt"),
        ("score", embeddings, *told, "-o", small_disk / "scores.json"),
    ]:
        (small_disk / "rest").write_bytes(b"")
        ran = vidface(*command, code=1)
        if command[0] == "score" and not ran.err:
            continue  # it may be small enough to fit
        assert "no space left" in ran.error.lower(), ran.err
        (small_disk / "rest").unlink()
        assert names(small_disk) == before
    assert earlier.read_bytes() == b"an earlier file"


def test_full_disk_under_sweep(small_disk: Path, tmp_path: Path, many: Path, model: Path) -> None:
    """Its temporary file lies beside the features."""
    features = small_disk / "features.h5"
    vidface("extract", many, "-o", features, "--model", model, code=1)
    fill(small_disk, 40_000)
    before = names(small_disk)
    ran = vidface("sweep", features, "--manifest", many, "--thresholds", "none,0.1:0.9:0.1", code=1)
    assert "no space left" in ran.error.lower()
    assert names(small_disk) == before


def test_full_quota(tmp_path: Path, many: Path, slow_model: Path) -> None:
    """A limit on the size of files stands for a quota; it needs no mount."""
    output = tmp_path / "features.h5"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    ran = vidface_process("extract", many, "-o", output, "--model", slow_model, code=1, preexec_fn=limit)
    assert "no space left" in ran.error
    assert names(tmp_path) == ["features.h5.parts"]
    assert names(tmp_path / "features.h5.parts") == ["identity.json"]
