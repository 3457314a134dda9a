"""What only the engine of a Ray cluster can meet: nodes that differ, files that are not shared, no cluster at all."""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import SIDE, frames_of, pooling_model, vidface_process, write_folder, write_manifest
from processes import python_path

from vidface.backbones import load_backbone
from vidface.errors import StoreError, UsageError
from vidface.features.engines import Engine, ExtractJob, open_engine
from vidface.features.engines.reading import ReadOptions, Video
from vidface.features.options import ExtractOptions

# Not by importing it: it reads the environment then, which fixtures set.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: vidface[ray]"
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> ExtractJob:
    root = tmp_path_factory.mktemp("job")
    model = pooling_model(root / "cells.onnx")
    return ExtractJob(
        videos=[Video("v0", write_folder(root / "v0", frames_of(0, 2)))],
        reading=ReadOptions("pyav", None, False, (SIDE, SIDE)),
        backbone=load_backbone(model, device="cpu"),
        options=ExtractOptions(model=model, device="cpu", batch_size=4),
    )


def refusal(engine: Engine, job: ExtractJob) -> str:
    with pytest.raises(UsageError) as caught:
        list(engine.extract_chunks(job, [range(1)], lambda _: None))
    assert type(caught.value) is UsageError and "\n" not in str(caught.value)
    return str(caught.value)


def test_a_video_that_only_this_machine_has(ray_engine: Engine, job: ExtractJob) -> None:
    """A path that means something in this process and nothing in another stands for a disk that is not shared."""
    with (job.videos[0].path / "0.png").open("rb") as file:
        os.dup2(file.fileno(), 987)
    try:
        video = Video("v0", Path("/proc/self/fd/987"))
        assert video.path.exists()
        said = refusal(ray_engine, job._replace(videos=[video]))
    finally:
        os.close(987)
    assert said.startswith("/proc/self/fd/987: not there (on node ")


def test_a_node_with_another_model(ray_engine: Engine, job: ExtractJob, tmp_path: Path) -> None:
    other = pooling_model(tmp_path / "other.onnx", root=True)
    said = refusal(ray_engine, job._replace(options=job.options.model_copy(update={"model": other})))
    assert said.startswith(f"{other}: another model (on node ")


def test_a_node_with_other_software(
    ray_engine: Engine, job: ExtractJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidface.features.engines import ray_nodes

    theirs = dict(ray_nodes.software())
    wanted = tuple({**theirs, "numpy": "1.0", "vidface": "9", "vidface's code": "0ddc0de"}.items())
    monkeypatch.setattr(ray_nodes, "software", lambda **_: wanted)
    said = refusal(ray_engine, job)
    assert f"vidface is {theirs['vidface']} there, 9 where the command runs" in said
    # Two clones of one version: what is edited in one shows in its digest.
    assert re.search("vidface's code is [0-9a-f]{12} there, 0ddc0de where the command runs", said)
    assert f"numpy is {theirs['numpy']} there, 1.0 where the command runs" in said
    assert "torch" not in said
    with pytest.raises(UsageError, match="has other software"):
        list(ray_engine.map_ordered(abs, [(1,)]))


@pytest.mark.parametrize("told", ["2 frames 000000000000", "9 bytes 000000000000", "not there"])
def test_a_node_with_another_video(
    ray_engine: Engine, job: ExtractJob, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    from vidface.features.engines import ray_work

    monkeypatch.setattr(ray_work, "fingerprint", lambda _path: told)  # here alone: nodes look for themselves
    said = refusal(ray_engine, job)
    here = rf"{job.videos[0].path}: 2 frames [0-9a-f]{{12}} \(on node .*\)"
    assert re.match(rf"{here}, {told} where the command", said)


def test_what_tells_videos_apart(tmp_path: Path) -> None:
    from vidface.features.engines.ray_nodes import EDGE_BYTES, fingerprint

    size = 3 * EDGE_BYTES

    def of(content: bytes) -> str:
        (tmp_path / "clip").write_bytes(content)
        return fingerprint(tmp_path / "clip")

    zeros = bytes(size)
    different = [zeros, zeros + b"\0", b"\1" + zeros[1:], zeros[1:] + b"\1", b"", b"\0"]
    assert len({of(content) for content in different}) == len(different)
    assert of(zeros) == of(zeros) and of(zeros).startswith("196,608 bytes ")

    folder = write_folder(tmp_path / "frames", frames_of(0, 3))
    seen = [fingerprint(folder)]
    (folder / ".hidden.png").write_bytes(b"x")  # neither is read
    (folder / "notes.txt").write_bytes(b"x")
    assert fingerprint(folder) == seen[0]
    last = folder / "3.png"
    for change in (lambda: (folder / "2.png").rename(last), lambda: last.write_bytes(b"x"), last.unlink):
        change()
        seen.append(fingerprint(folder))
    assert len(set(seen)) == 4

    assert fingerprint(tmp_path / "none") == "not there"
    os.mkfifo(tmp_path / "pipe")
    assert fingerprint(tmp_path / "pipe") == "not a regular file"
    assert fingerprint(tmp_path / ("n" * 300)) == "File name too long"


def test_a_network_on_a_gpu_needs_one_in_the_cluster(ray_engine: Engine, job: ExtractJob) -> None:
    from dataclasses import replace

    on_gpu = replace(job.backbone, device="cuda:0 (CUDAExecutionProvider, float32)")
    assert "the Ray cluster has no GPU: pass --device cpu" in refusal(
        ray_engine, job._replace(backbone=on_gpu)
    )


def test_errors_of_other_nodes_say_where(ray_engine: Engine) -> None:
    from vidface.features.engines.ray_nodes import Home, away_from, home

    def raised(where: Home, error: Exception) -> str:
        with pytest.raises(type(error)) as caught, away_from(where):
            raise error
        return str(caught.value)

    far = Home("192.0.2.77", Path.cwd(), home().software)
    assert raised(home(), StoreError("x.h5: damaged")) == "x.h5: damaged"
    assert raised(far, StoreError("x.h5: damaged")) == f"x.h5: damaged (on node {home().node})"
    assert raised(far, FileNotFoundError(2, "No such file", "x.h5")).endswith(
        f"No such file (on node {home().node}): 'x.h5'"
    )


def test_few_videos_are_in_flight(ray_engine: Engine, job: ExtractJob) -> None:
    """One actor and the cores of this machine: 2 runs, and 2 videos a core."""

    class Watched(Sequence[Video]):
        most = 0

        def __len__(self) -> int:
            return 60

        def __getitem__(self, index: Any) -> Any:
            self.most = max(self.most, index)
            return job.videos[0]

    videos = Watched()
    chunks = [range(i, i + 1) for i in range(60)]
    results = ray_engine.extract_chunks(job._replace(videos=videos), chunks, lambda _: None)
    with closing(results):  # type: ignore[type-var]
        for count, _ in enumerate(results):
            assert videos.most - count < 2 + 2 * (os.cpu_count() or 1)
            if count == 5:
                break


def test_a_lost_node_is_named_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from vidface.features.engines import ray_nodes

    living = {"a": "10.0.0.1", "b": "10.0.0.2"}

    def nodes() -> list[dict[str, str]]:
        return [{"NodeID": node, "NodeManagerAddress": address} for node, address in living.items()]

    monkeypatch.setattr(ray_nodes, "nodes", nodes)
    lost: list[str] = []
    seen = ray_nodes.Nodes(lost)
    seen.look()
    living["c"] = "10.0.0.3"  # joins later
    seen.look()
    assert (lost, caplog.messages) == ([], [])
    del living["b"], living["c"]
    seen.look()
    seen.look()
    assert sorted(lost) == ["10.0.0.2", "10.0.0.3"] and len(caplog.messages) == 2
    living["d"] = "10.0.0.2"  # the machine comes back, as another node
    seen.look()
    del living["d"]
    seen.look()
    assert lost[2:] == ["10.0.0.2"]
    assert caplog.messages[2] == (
        "warning: node 10.0.0.2 of the Ray cluster was lost: its unfinished work is done again"
    )


def test_what_is_no_cluster(job: ExtractJob) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        said = open_elsewhere(address)
    assert said.startswith(f"no Ray cluster answers at {address}: ")
    assert open_elsewhere("http://here").startswith("--address http://here is not HOST:PORT or auto")
    with pytest.raises(UsageError, match="--workers 0 is of --engine local"), open_engine("ray", workers=0):
        pass


def open_elsewhere(address: str) -> str:
    """The error of opening an engine in a process that knows no Ray yet."""
    program = (
        "import sys; from vidface.features.engines import open_engine; from vidface.errors import UsageError\n"
        "try:\n    open_engine('ray', address=sys.argv[1]).__enter__()\n"
        "except UsageError as error:\n    print(error)\n"
    )
    words = [sys.executable, "-c", program, address]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


def test_ray_is_not_installed(tmp_path: Path, job: ExtractJob) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('hidden')")
    manifest = write_manifest(job.options.model.with_name("m.csv"), [("v0", "v0")])
    ran = vidface_process(
        *("extract", manifest, "-o", tmp_path / "f.h5", "--model", job.options.model, "--engine", "ray"),
        code=2,
        env={**os.environ, "PYTHONPATH": python_path(tmp_path)},
    )
    assert ran.error == "error: --engine ray needs Ray: pip install -e '.[ray]'"
