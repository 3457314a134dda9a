"""What every engine keeps: results in order, each once, few in flight, errors as they were, nothing lost to a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import engine_tasks
import numpy as np
import pytest
from command_line import SIDE, cells_of, frames_of, pooling_model, write_folder, write_video
from decoder_killer import DEADLY
from processes import children_of, one_killed

from vidface.backbones import load_backbone
from vidface.errors import StoreError, UsageError
from vidface.features.engines import Engine, ExtractJob
from vidface.features.engines.reading import ReadOptions, Video
from vidface.features.options import ExtractOptions
from vidface.runtime import cpu_count

VIDEOS = 12
RUNS = (range(3), range(3, 4), range(4, 9), range(9, 12))


class Drawn(NamedTuple):
    """Drawn videos with the pictures that they hold, and the small model."""

    videos: list[Video]
    frames: list[np.ndarray]
    model: Path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    root = tmp_path_factory.mktemp("drawn")
    frames = [frames_of(video, 3 + 5 * (video % 4)) for video in range(VIDEOS)]
    videos = []
    for index, pixels in enumerate(frames):
        path = root / f"{index}.mp4"
        if index == 5:
            write_folder(path.with_suffix(""), pixels)
            path = path.with_suffix("")
        else:
            write_video(path, pixels)
        videos.append(Video(f"v{index}", path))
    return Drawn(videos, frames, pooling_model(root / "cells.onnx"))


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["engine"])


def job_of(drawn: Drawn, videos: Sequence[Video] | None = None, **changes: object) -> ExtractJob:
    backbone = load_backbone(drawn.model, device="cpu")
    return ExtractJob(
        videos=videos or drawn.videos,
        reading=ReadOptions("pyav", None, False, (SIDE, SIDE)),
        backbone=backbone,
        options=ExtractOptions(model=drawn.model, device="cpu", batch_size=7),
    )._replace(**changes)


def extract(
    engine: Engine,
    job: ExtractJob,
    runs: Sequence[range] = RUNS,
    after_first: Callable[[], None] | None = None,
) -> list[list[tuple[str, str, list[str], np.ndarray]]]:
    """(id, status, kinds of faults, features) of every video of every run."""
    told: list[int] = []
    found = []
    for number, rows in enumerate(engine.extract_chunks(job, runs, told.append)):
        found.append(
            [(row.video_id, row.status, [f["kind"] for f in row.faults], row.features.copy()) for row in rows]
        )
        if number == 0 and after_first:
            after_first()
    assert sum(told) == sum(map(len, runs)) and min(told) > 0
    return found


def check(found: list[list[tuple[str, str, list[str], np.ndarray]]], drawn: Drawn) -> None:
    """Every video once, in order, with the features that its pictures must have."""
    assert [[row[0] for row in rows] for rows in found] == [[f"v{video}" for video in run] for run in RUNS]
    for name, status, faults, features in (row for rows in found for row in rows):
        assert (status, faults) == ("ok", [])
        np.testing.assert_allclose(features, cells_of(drawn.frames[int(name[1:])]), atol=1e-5)


def test_rows_of_every_run(engine: Engine, drawn: Drawn) -> None:
    # One that is given up first: it must leave the engine whole.
    with closing(engine.extract_chunks(job_of(drawn), RUNS, lambda _: None)) as results:  # type: ignore[type-var]
        assert [row.video_id for row in next(results)] == ["v0", "v1", "v2"]
    check(extract(engine, job_of(drawn)), drawn)
    assert list(engine.extract_chunks(job_of(drawn), [], lambda _: None)) == []


def test_bad_videos_cost_themselves_alone(engine: Engine, name: str, drawn: Drawn, tmp_path: Path) -> None:
    videos = list(drawn.videos)
    videos[4] = Video("v4", tmp_path / "nowhere.mp4")
    if name != "local-0":  # which decodes in this process
        (tmp_path / DEADLY).write_bytes(drawn.videos[7].path.read_bytes())
        videos[7] = Video("v7", tmp_path / DEADLY)
    found = extract(engine, job_of(drawn, videos))
    assert found[2][0][:3] == ("v4", "failed", ["missing"])
    assert name == "local-0" or found[2][3][:3] == ("v7", "failed", ["decoder-crashed"])
    for video in (4, 7):
        found[2][video - 4] = (f"v{video}", "ok", [], cells_of(drawn.frames[video]))
    check(found, drawn)


def test_a_killed_decoder_costs_nothing(engine: Engine, name: str, drawn: Drawn) -> None:
    if name == "local-0":
        pytest.skip("decodes in this process")
    with one_killed("vidface.features.engines.decoder") as killed:
        check(extract(engine, job_of(drawn)), drawn)
    assert killed


def test_a_wrong_call_is_that_error(engine: Engine, drawn: Drawn) -> None:
    job = job_of(drawn, reading=ReadOptions("nosuch", None, False, (SIDE, SIDE)))
    with pytest.raises(UsageError, match="nosuch"):
        extract(engine, job)


def test_map_keeps_the_order(engine: Engine) -> None:
    tasks = [(value, 0.05 * (value % 3 == 0)) for value in range(40)]
    found = [result.tolist() for result in engine.map_ordered(engine_tasks.slow_square, iter(tasks))]
    assert found == [[value, value * value] for value in range(40)]
    assert list(engine.map_ordered(engine_tasks.slow_square, [])) == []


def test_map_takes_few_tasks_at_a_time(engine: Engine) -> None:
    taken = 0

    def tasks() -> Iterator[tuple[int, float]]:
        nonlocal taken
        for taken in range(1, 1001):
            yield taken, 0.0

    results = engine.map_ordered(engine_tasks.slow_square, tasks())
    most = 0
    for count, _ in enumerate(results):
        most = max(most, taken - count)
        if count == 60:
            break
    results.close()  # type: ignore[attr-defined]
    assert most <= 2 * max(2, cpu_count()) and taken < 100


@pytest.mark.parametrize(("kind", "error"), [("known", StoreError), ("bug", ZeroDivisionError)])
def test_map_raises_what_was_raised(engine: Engine, kind: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        list(engine.map_ordered(engine_tasks.fail, [(kind,)]))
    assert type(caught.value) is error
    assert str(caught.value) == ("features.h5: damaged: make it again" if error is StoreError else "a bug")


def test_map_does_again_what_was_killed(engine: Engine, name: str, tmp_path: Path) -> None:
    if name != "ray":
        pytest.skip("its tasks are threads of this process")
    tasks = [(tmp_path, value) for value in range(8)]
    assert list(engine.map_ordered(engine_tasks.die_once, tasks)) == list(range(8))
    assert (tmp_path / "died").exists()


def test_a_killed_actor_or_task_costs_nothing(engine: Engine, name: str, drawn: Drawn) -> None:
    if name != "ray":
        pytest.skip("Ray's own processes")

    def kill() -> None:
        workers = children_of(os.getpid(), "ray::")
        for word in ("Embedder", "_decode", "IDLE"):
            for pid in (pid for pid, title in workers if word in title):
                os.kill(pid, signal.SIGKILL)

    check(extract(engine, job_of(drawn), after_first=kill), drawn)
