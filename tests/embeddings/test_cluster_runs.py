"""How the cluster stage shares its work out, and how rows are read from a features file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from vidface.embeddings.cluster import _cluster_chunk
from vidface.embeddings.embed import embed_sweep, embed_videos
from vidface.embeddings.pooling import POOLS
from vidface.errors import StoreError
from vidface.features import chunks as stage
from vidface.features.engines.local import local_engine
from vidface.files import store
from vidface.files.store import features as features_files
from vidface.scores.sweep import _sweep_chunk

LENGTHS = [3, 0, 40, 1, 0, 0, 25, 7, 130, 2]


@pytest.fixture(params=["float16", "float32"])
def features(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    random = np.random.default_rng(0)
    rows = [random.standard_normal((n, 24)).astype(request.param) for n in LENGTHS]
    videos = [store.VideoRows(f"v{i}", r, np.zeros(len(r), np.float32), "ok", []) for i, r in enumerate(rows)]
    store.write_shard(tmp_path / "s.h5", videos, 24, request.param)
    store.join_shards([tmp_path / "s.h5"], tmp_path / "f.h5", {"model_name": "m"})
    return tmp_path / "f.h5"


def whole(path: Path) -> npt.NDArray[np.generic]:
    with h5py.File(path) as file:
        return file["features"][:]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("rows", [1, 30, 10_000])
def test_however_the_work_is_cut_the_results_are_the_same(
    features: Path, monkeypatch: pytest.MonkeyPatch, workers: int, rows: int
) -> None:
    monkeypatch.setattr(stage, "CHUNK_ROWS", rows)
    monkeypatch.setattr(stage, "BLOCK_ROWS", max(1, rows // 3))
    source = store.read_features(features)
    for pool in POOLS:
        engine = local_engine(workers)
        runs = list(stage.over_videos(source, _cluster_chunk, (0.2, pool), engine=engine, label="x"))
        for found, expected in zip(
            zip(*runs, strict=True),
            embed_videos(whole(features), source.offsets, 0.2, pool=pool),
            strict=True,
        ):
            if expected is None:
                assert not any(part is not None for part in found)
                continue
            joined = np.concatenate(found)
            assert joined.dtype == expected.dtype and joined.tobytes() == expected.tobytes()
    thresholds = [None, 0.3, 0.1]
    for pool in ("largest", "size", "size-norm"):
        engine = local_engine(workers)
        swept = list(stage.over_videos(source, _sweep_chunk, (thresholds, pool), engine=engine, label="x"))
        embeddings, kept = embed_sweep(whole(features), source.offsets, thresholds, pool=pool)
        np.testing.assert_array_equal(np.concatenate([run[0] for run in swept], axis=1), embeddings)
        assert sum(run[1] for run in swept).tolist() == kept.sum(axis=1).tolist()


def test_runs_are_a_bounded_number_ahead_and_an_error_is_raised(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "CHUNK_ROWS", 1)
    begun: list[int] = []
    lock = threading.Lock()

    def task(path: Path, offsets: npt.NDArray[np.int64], argument: int) -> int:
        with lock:
            begun.append(int(offsets[0]))
        if offsets[0] == argument:
            raise StoreError("damaged")
        return int(offsets[0])

    source = store.read_features(features)
    expected = [int(offset) for offset in source.offsets[:-1]]
    results = stage.over_videos(source, task, -1, engine=local_engine(2), label="x")
    assert next(results) == expected[0]
    assert len(begun) <= 5
    results.close()
    assert len(begun) <= 5
    found = []
    with pytest.raises(StoreError, match="damaged"):
        for result in stage.over_videos(source, task, 44, engine=local_engine(2), label="x"):
            found.append(result)
    assert found == [start for start in expected if start < 44]


@pytest.mark.parametrize("task", [_cluster_chunk, _sweep_chunk])
def test_another_file_on_a_node(features: Path, task: Any) -> None:
    """A machine that has other features at the same path: here an engine that changes the path stands for it."""
    other = features.with_name("other.h5")
    rows = np.ones((sum(LENGTHS), 24), np.float32)
    video = store.VideoRows("v", rows, np.zeros(len(rows), np.float32), "ok", [])
    store.write_shard(other.with_suffix(".s"), [video], 24, "float32")
    store.join_shards([other.with_suffix(".s")], other, {"model_name": "m"})

    def elsewhere(function: Any, tasks: Any) -> Any:
        for each in tasks:
            yield function(*(other if isinstance(word, Path) else word for word in each))

    source = store.read_features(features)
    engine = local_engine(1)._replace(map_ordered=elsewhere)
    how = (0.2, "largest") if task is _cluster_chunk else ([0.2], "largest")
    with pytest.raises(StoreError, match=r"other\.h5: not the features that the command started with: "):
        list(stage.over_videos(source, task, how, engine=engine, label="x"))


def test_blocks_of_rows_are_the_rows(features: Path) -> None:
    rows = whole(features)
    n = len(rows)
    for bounds in ([0, n], [0, 5, 5, 6, n], [n, n], [17, 100], [3]):
        blocks = [block.copy() for block in store.row_blocks(features, bounds)]
        assert len(blocks) == len(bounds) - 1
        for block, start, stop in zip(blocks, bounds, bounds[1:], strict=False):
            assert block.dtype == rows.dtype
            np.testing.assert_array_equal(block, rows[start:stop])


@pytest.mark.parametrize("layout", [{"chunks": (7, 24)}, {"chunks": (7, 24), "compression": "gzip"}])
def test_rows_that_lie_in_pieces_are_read_by_hdf5(features: Path, layout: dict[str, object]) -> None:
    rows = whole(features)
    with h5py.File(features, "a") as file:
        del file["features"]
        file.create_dataset("features", data=rows, **layout)
    np.testing.assert_array_equal(store.read_rows(features, 2, 99), rows[2:99])
    assert len(store.read_rows(features, 4, 4)) == 0


def test_a_file_that_changes_is_looked_at_again(features: Path) -> None:
    rows = whole(features)
    store.read_rows(features, 0, 1)
    with h5py.File(features, "a") as file:
        del file["features"]
        file["filler"] = np.zeros(1000)
        file["features"] = rows[::-1]
    np.testing.assert_array_equal(store.read_rows(features, 0, len(rows)), rows[::-1])


def test_a_file_that_ends_too_early_is_damaged(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = len(whole(features))
    with pytest.raises(StoreError, match=r"f\.h5: damaged \(rows 3 to 300 of 208\)"):
        store.read_rows(features, 3, 300)
    # HDF5 sees a short file when it is opened; here it is cut after that.
    layout = features_files._features_layout(features, ())
    monkeypatch.setattr(features_files, "_features_layout", lambda *_: layout)
    assert layout.begin is not None
    with features.open("r+b") as file:
        file.truncate(layout.begin + 100 * 24 * layout.dtype.itemsize + 5)
    assert len(store.read_rows(features, 0, 100)) == 100
    with pytest.raises(StoreError, match=f"it ends before row {n}"):
        store.read_rows(features, 0, n)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="not a readable HDF5 file"):
        store.read_rows(features, 0, n)
    features.unlink()
    with pytest.raises(StoreError, match="no such file"):
        store.read_rows(features, 0, 1)
