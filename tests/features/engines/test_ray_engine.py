"""What only the engine of a Ray cluster can meet: nodes that differ, files that are not shared, no cluster at all."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from command_line import SIDE, frames_of, pooling_model, vidface, write_folder, write_manifest

from vidface.backbones import load_backbone
from vidface.errors import StoreError, UsageError
from vidface.features.engines import Engine, ExtractJob, open_engine
from vidface.features.engines.contract import ModelSource
from vidface.features.engines.reading import ReadOptions, Video

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
        model=ModelSource(model, {}, "cpu", False),
        flip=False,
        dtype="float32",
        batch_size=4,
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
    said = refusal(ray_engine, job._replace(model=job.model._replace(path=other)))
    assert said.startswith(f"{other}: another model (on node ")


def test_a_node_with_other_software(
    ray_engine: Engine, job: ExtractJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidface.features.engines import ray_work

    theirs = dict(ray_work._software())
    wanted = tuple({**theirs, "numpy": "1.0", "vidface": "9"}.items())
    monkeypatch.setattr(ray_work, "_software", lambda: wanted)
    said = refusal(ray_engine, job)
    assert f"vidface is {theirs['vidface']} there, 9 where the command runs" in said
    assert f"numpy is {theirs['numpy']} there, 1.0 where the command runs" in said
    assert "torch" not in said
    with pytest.raises(UsageError, match="has other software"):
        list(ray_engine.map_ordered(abs, [(1,)]))


def test_a_network_on_a_gpu_needs_one_in_the_cluster(ray_engine: Engine, job: ExtractJob) -> None:
    from dataclasses import replace

    on_gpu = replace(job.backbone, device="cuda:0 (CUDAExecutionProvider, float32)")
    assert "the Ray cluster has no GPU: say --device cpu" in refusal(
        ray_engine, job._replace(backbone=on_gpu)
    )


def test_errors_of_other_nodes_say_where(ray_engine: Engine) -> None:
    from vidface.features.engines.ray_work import Home, _away_from, _home

    def raised(home: Home, error: Exception) -> str:
        with pytest.raises(type(error)) as caught, _away_from(home):
            raise error
        return str(caught.value)

    far = Home("192.0.2.77", Path.cwd(), _home().software)
    assert raised(_home(), StoreError("x.h5: damaged")) == "x.h5: damaged"
    assert raised(far, StoreError("x.h5: damaged")) == f"x.h5: damaged (on node {_home().node})"
    assert raised(far, FileNotFoundError(2, "No such file", "x.h5")).endswith(
        f"No such file (on node {_home().node}): 'x.h5'"
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
    results = ray_engine.extract_chunks(
        job._replace(videos=videos), [range(i, i + 1) for i in range(60)], lambda _: None
    )
    with closing(results):  # type: ignore[type-var]
        for count, _ in enumerate(results):
            assert videos.most - count < 2 + 2 * (os.cpu_count() or 1)
            if count == 5:
                break


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
    manifest = write_manifest(job.model.path.with_name("m.csv"), [("v0", "v0")])
    ran = vidface(
        *("extract", manifest, "-o", tmp_path / "f.h5", "--model", job.model.path, "--engine", "ray"),
        code=2,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert ran.error == "error: --engine ray needs Ray: pip install -e '.[ray]'"
