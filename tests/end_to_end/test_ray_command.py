"""``vidface extract --engine ray`` in processes of its own: the bytes of ``--engine local``, whatever is killed.

Two nodes of Ray stand for two machines: each has its own processes, object store and folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import (
    MODULE,
    frames_of,
    pooling_model,
    vidface,
    vidface_process,
    write_folder,
    write_manifest,
)
from processes import children_of

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: vidface[ray]"
)

VIDEOS = 300  # five shards
RAY_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),  # Ray makes a file in the home folder else
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that is gone is given up after some seconds, not after half a minute; one that is slow is not.
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "300",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "5",
}
ENVIRONMENT = {**os.environ, **RAY_ENVIRONMENT}


class Work(NamedTuple):
    """Many small folders, one of them empty, one missing; a model; what the local engine makes of them."""

    manifest: Path
    model: Path
    features: str
    faults: str


class Nodes:
    """A Ray cluster of nodes on this machine, each a process with everything of the node below it."""

    def __init__(self) -> None:
        # A socket's path has room for 107 letters, and Ray needs 60 of them.
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.head = self._start("--head", "--port", str(port), "--include-dashboard=false")

    def join(self) -> subprocess.Popen[bytes]:
        """Another node with one core."""
        return self._start("--address", self.address)

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        folder = self._folder / str(len(list(self._folder.iterdir())))
        folder.mkdir()
        sizes = ["--num-cpus", "1", "--object-store-memory", "200000000", "--min-worker-port", "0"]
        command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", "--block"]
        where = ["--temp-dir", str(folder), "--max-worker-port", "0", "--dashboard-agent-listen-port", "0"]
        log = folder / "log"
        with log.open("wb") as output:
            node = subprocess.Popen(
                [*command, *words, *sizes, *where],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ENVIRONMENT,
                start_new_session=True,
            )
        wait_until(lambda: "Ray runtime started" in log.read_text(), node)
        return node

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """The node and everything on it, as when a machine loses its power."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(node.pid, signal.SIGSTOP)  # it would put its processes in order
        for pid, _ in children_of(node.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.kill()
        node.wait()

    def end(self, nodes: list[subprocess.Popen[bytes]]) -> None:
        for node in (*nodes, self.head):
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not condition():
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else b""
            raise AssertionError(f"it ended too early: {said.decode()}")
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.01)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def faults(folder: Path, output: str) -> str:
    """What is listed, but for the output's name."""
    return (folder / "faults.jsonl").read_text().replace(output, "")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    root = tmp_path_factory.mktemp("work")
    rows = []
    for video in range(VIDEOS):
        if video != 11:
            write_folder(root / str(video), frames_of(video, 0 if video == 10 else 2))
        rows.append((f"v{video:03d}", str(video)))
    manifest, model = write_manifest(root / "manifest.csv", rows), pooling_model(root / "cells.onnx", cell=4)
    # Paths as a person gives them, from the folder where the command is called: faults say them as they were given.
    vidface("extract", manifest.name, "-o", "local.h5", "--model", model.name, code=1, cwd=root)
    return Work(manifest, model, sha256(root / "local.h5"), faults(root, "local.h5"))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    try:
        yield nodes
    finally:
        nodes.end([])


@pytest.fixture
def second(nodes: Nodes) -> Iterator[subprocess.Popen[bytes]]:
    node = nodes.join()
    try:
        yield node
    finally:
        nodes.kill(node)


def start(work: Work, output: Path, nodes: Nodes) -> subprocess.Popen[bytes]:
    """A run on the cluster, as far as its first shard."""
    words = ["extract", work.manifest.name, "-o", output, "--model", work.model.name, "--json"]
    run = subprocess.Popen(
        [*MODULE, *map(str, words), "--engine", "ray", "--address", nodes.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=work.manifest.parent,
        start_new_session=True,
    )
    wait_until((output.with_name(output.name + ".parts") / "shard-000000.h5").exists, run)
    return run


def finish(run: subprocess.Popen[bytes], output: Path, work: Work, *, may_lose: int = 0) -> None:
    """``may_lose``: nodes that are named, unless the run ends before Ray gives them up."""
    out, err = run.communicate(timeout=200)
    said = [line for line in err.decode().splitlines() if not line.startswith("extract: ")]  # its progress
    assert run.returncode == 1 and len(said) <= may_lose, said  # 1: two videos failed
    assert out.count(b"\n") == 1
    for line, node in zip(said, json.loads(out).get("lost_nodes", []), strict=True):
        assert line.startswith(f"warning: node {node} of the Ray cluster was lost: ")
    assert sha256(output) == work.features
    assert faults(output.parent, output.name) == work.faults
    assert sorted(path.name for path in output.parent.iterdir()) == ["faults.jsonl", output.name]


def test_a_cluster_of_its_own(shared_data: Path, tmp_path: Path) -> None:
    """Real clips and a real network; what was started for the run ends with it."""
    folder = shared_data / "clips"
    clips = [*sorted(folder.glob("grid_*.mpg")), folder / "short_hamilton_clip.mp4"]
    (tmp_path / "clips").mkdir()
    rows = []
    for index, clip in enumerate(clips):
        shutil.copy(clip, tmp_path / "clips" / clip.name)
        rows.append((f"v{index}", f"clips/{clip.name}"))
    manifest = write_manifest(tmp_path / "manifest.csv", rows)
    model = shared_data / "models/mobilefacenet_128.onnx"
    words = ["extract", manifest, "--model", model, "--resize", "--json"]
    # A socket's path has room for 107 letters: a short folder for temporary files.
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as temporary:
        home = tmp_path / "home"
        home.mkdir()
        env = {**ENVIRONMENT, "TMPDIR": temporary, "HOME": str(home)}
        del env["RAY_AUTH_TOKEN"]
        digests = []
        for engine in ("local", "ray"):
            output = tmp_path / f"{engine}.h5"
            ran = vidface_process(*words, "-o", output, "--engine", engine, env=env)
            said = [line for line in ran.err.splitlines() if not line.startswith("extract: ")]  # its progress
            assert (ran.code, said, ran.json["videos"]) == (0, [], len(clips))
            digests.append(sha256(output))
        assert digests[0] == digests[1]
        assert list(Path(temporary).glob("vidface-ray-*")) == []
    [token] = (home / ".ray").iterdir()
    assert token.stat().st_mode & 0o777 == 0o600  # whoever can read it may run anything


def test_a_killed_worker(work: Work, nodes: Nodes, tmp_path: Path) -> None:
    output = tmp_path / "features.h5"
    run = start(work, output, nodes)
    there = children_of(nodes.head.pid, "ray::")
    killed = [pid for pid, title in there if "_decode" in title or "Embedder" in title]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed and not output.exists()
    finish(run, output, work)


def test_cluster_on_the_cluster(work: Work, nodes: Nodes, tmp_path: Path) -> None:
    (tmp_path / "f.h5").symlink_to(work.manifest.with_name("local.h5"))
    far = ("--engine", "ray", "--address", nodes.address)
    for output, where in (("local.h5", ()), ("ray.h5", far)):
        vidface_process("cluster", "f.h5", "-o", output, *where, code=1, env=ENVIRONMENT, cwd=tmp_path)
    assert sha256(tmp_path / "local.h5") == sha256(tmp_path / "ray.h5")


def test_a_killed_node(work: Work, nodes: Nodes, second: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for attempt in range(5):  # a node that has only just joined may not be known where the run looks
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run = start(work, folder / "features.h5", nodes)
        while run.poll() is None and not children_of(second.pid, "ray::_Embedder"):
            time.sleep(0.01)
        if run.poll() is None:  # the second node holds the network
            nodes.kill(second)
            assert not (folder / "features.h5").exists()
            finish(run, folder / "features.h5", work, may_lose=1)
            return
        finish(run, folder / "features.h5", work)
    raise AssertionError("no run used the second node")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_stops_a_run_leaves_the_cluster(work: Work, nodes: Nodes, tmp_path: Path, number: int) -> None:
    for attempt in range(5):  # a run may be through before it is told
        output = tmp_path / str(attempt) / "features.h5"
        output.parent.mkdir()
        run = start(work, output, nodes)
        os.killpg(run.pid, number)
        _, err = run.communicate(timeout=60)
        # On a busy machine Ray's own threads may abort on it, with many lines; the status is right all the same.
        if not output.exists() and b"An unexpected system state has occurred" not in err:
            break
    said = [line for line in err.decode().splitlines() if line and not line.startswith("extract: ")]
    assert run.returncode == 128 + number and len(said) == 1 and said[0].startswith("stopped: "), err
    assert nodes.head.poll() is None
    finish(start(work, output, nodes), output, work)


@pytest.mark.long
@pytest.mark.parametrize("what", ["raylet/raylet", "gcs/gcs_server"])
def test_a_lost_cluster(work: Work, tmp_path: Path, what: str) -> None:
    """Ray's process on this machine, or that of the head: one line, not the status of videos at fault."""
    output = tmp_path / "features.h5"
    nodes = Nodes()
    try:
        run = start(work, output, nodes)
        [(lost, _)] = children_of(nodes.head.pid, what)
        os.kill(lost, signal.SIGKILL)
        out, err = run.communicate(timeout=60)
    finally:
        nodes.end([])
    said = [line for line in err.decode().splitlines() if not line.startswith("extract: ")]
    assert run.returncode == 3 and len(said) == 1 and said[0].startswith("error: the Ray cluster is lost: ")
    assert list(json.loads(out)) == ["error"]
    # What was finished is used.
    vidface("extract", work.manifest, "-o", output, "--model", work.model, code=1)
    assert sha256(output) == work.features


@pytest.mark.long
def test_every_node_has_one_actor(work: Work, nodes: Nodes, tmp_path: Path) -> None:
    """Ray places actors that claim nothing at random: of three nodes some had two and some none."""
    others = [nodes.join(), nodes.join()]
    try:
        time.sleep(2)  # until the head knows them
        complete = 0
        for attempt in range(3):
            output = tmp_path / str(attempt) / "features.h5"
            output.parent.mkdir()
            run = start(work, output, nodes)
            most = [0, 0, 0]
            while run.poll() is None and most != [1, 1, 1]:
                now = [len(children_of(node.pid, "ray::_Embedder")) for node in (nodes.head, *others)]
                most = [max(pair) for pair in zip(most, now, strict=True)]
            assert max(most) == 1
            complete += most == [1, 1, 1]
            finish(run, output, work)
        assert complete  # a short run may end before the last actor is there
    finally:
        for node in others:
            nodes.kill(node)
