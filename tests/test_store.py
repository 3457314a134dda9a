"""The HDF5 files: round trips, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from vidface import store
from vidface.errors import StoreError

ATTRIBUTES = {"model_name": "m", "flip": False}


def videos_of(counts: list[int], dtype: str = "float32") -> list[store.VideoRows]:
    rng = np.random.default_rng(0)
    return [
        store.VideoRows(
            f"vidéo {i}",
            rng.normal(size=(n, 5)).astype(dtype),
            np.arange(n, dtype=np.float32) / 8,
            "ok" if n else "failed",
            [] if n else [{"video": f"vidéo {i}", "stage": "extract", "kind": "no-frames", "detail": "none"}],
        )
        for i, n in enumerate(counts)
    ]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_joined_shards_hold_every_row_in_order(tmp_path: Path, dtype: str, cut: int) -> None:
    videos = videos_of([3, 0, 1, 70_000], dtype)
    shards = [tmp_path / f"{start}.h5" for start in range(0, 4, cut)]
    for start, shard in zip(range(0, 4, cut), shards, strict=True):
        store.write_shard(shard, videos[start : start + cut], 5, dtype)
    output = tmp_path / "features.h5"
    store.join_shards(shards, output, ATTRIBUTES)
    info = store.read_features(output)
    assert info.video_ids == [video.video_id for video in videos]
    assert info.status == ["ok", "failed", "ok", "ok"]
    assert info.offsets.tolist() == [0, 3, 3, 4, 70_004]
    rows = store.read_rows(output, 0, 70_004)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, np.concatenate([video.features for video in videos]))
    np.testing.assert_array_equal(store.read_rows(output, 3, 4), videos[2].features)
    with h5py.File(output) as file:
        assert file["features"].chunks is None
        np.testing.assert_array_equal(
            file["timestamps"][3:], np.concatenate([v.timestamps for v in videos[2:]])
        )
        assert file.attrs["dimension"] == 5 and not file.attrs["flip"]
    assert [fault["video"] for fault in store.shard_faults(shards)] == ["vidéo 1"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        store.write_shard(tmp_path / name / "s.h5", videos_of([2, 3]), 5, "float32")
        store.join_shards([tmp_path / name / "s.h5"], tmp_path / name / "f.h5", ATTRIBUTES)
    assert (tmp_path / "a" / "f.h5").read_bytes() == (tmp_path / "b" / "f.h5").read_bytes()


def test_embeddings_come_back_and_missing_videos_are_refused(tmp_path: Path) -> None:
    store.write_shard(tmp_path / "s.h5", videos_of([2, 0]), 5, "float32")
    store.join_shards([tmp_path / "s.h5"], tmp_path / "f.h5", ATTRIBUTES)
    source = store.read_features(tmp_path / "f.h5")
    run = store.EmbeddingRows(np.eye(2, 5, dtype=np.float32), np.array([2, 0]), np.array([0, 1], np.int32))
    store.write_embeddings(tmp_path / "e.h5", source, [run], {"threshold": "0.4"})
    found = store.read_embeddings(tmp_path / "e.h5")
    np.testing.assert_array_equal(found.embeddings, run.embeddings)
    assert (found.frames.tolist(), found.kept.tolist(), found.labels.tolist()) == ([2, 0], [2, 0], [0, 1])
    assert found.status == ["ok", "failed"]
    with pytest.raises(StoreError, match="0 of 2 videos"):
        store.write_embeddings(tmp_path / "none.h5", source, [], {})
    assert not (tmp_path / "none.h5").exists()


def test_joined_shards_can_keep_their_faults_and_are_shards_again(tmp_path: Path) -> None:
    videos = videos_of([3, 0, 0, 2])
    shards = [tmp_path / "a.h5", tmp_path / "b.h5"]
    store.write_shard(shards[0], videos[:2], 5, "float32")
    store.write_shard(shards[1], videos[2:], 5, "float32")
    for keep_faults, name in ((False, "plain.h5"), (True, "kept.h5")):
        store.join_shards(shards, tmp_path / name, ATTRIBUTES, keep_faults=keep_faults)
    faults = [fault for video in videos for fault in video.faults]
    assert list(store.shard_faults([tmp_path / "kept.h5"])) == faults
    with pytest.raises(StoreError, match=r"plain\.h5: damaged"):
        list(store.shard_faults([tmp_path / "plain.h5"]))
    store.join_shards([tmp_path / "kept.h5"], tmp_path / "again.h5", ATTRIBUTES)
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "plain.h5").read_bytes()
    info = store.read_features(tmp_path / "plain.h5")
    digest = store.joined_sha256(shards, info.offsets, info.video_ids)
    assert digest == info.attributes["content_sha256"]


def test_embeddings_are_read_in_runs_of_whole_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write_shard(tmp_path / "s.h5", videos_of([2, 0, 1]), 5, "float32")
    store.join_shards([tmp_path / "s.h5"], tmp_path / "f.h5", ATTRIBUTES)
    source = store.read_features(tmp_path / "f.h5")
    rows = np.eye(3, 5, dtype=np.float32)
    run = store.EmbeddingRows(rows, np.array([1, 0, 1]), np.array([0, 1, 0], np.int32))
    store.write_embeddings(tmp_path / "e.h5", source, [run], {})
    monkeypatch.setattr(store, "COPY_ROWS", 2)
    runs = list(store.embedding_runs(tmp_path / "e.h5"))
    assert [(run.kept.tolist(), run.labels.tolist()) for run in runs] == [([1, 0], [0, 1]), ([1], [0])]
    np.testing.assert_array_equal(np.concatenate([run.embeddings for run in runs]), rows)
    info = store.read_info(tmp_path / "e.h5", "features", "embeddings")
    assert info.offsets.tolist() == source.offsets.tolist() and info.video_ids == source.video_ids


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        store.read_features(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(StoreError, match=r"text\.h5: not a readable HDF5 file"):
        store.read_features(tmp_path / "text.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["features"] = np.zeros((2, 2))
    with pytest.raises(StoreError, match="another HDF5 file"):
        store.read_features(tmp_path / "foreign.h5")
    store.write_shard(tmp_path / "s.h5", videos_of([1]), 5, "float32")
    store.join_shards([tmp_path / "s.h5"], tmp_path / "f.h5", ATTRIBUTES)
    with pytest.raises(StoreError, match="expected a vidface embeddings file, found features"):
        store.read_embeddings(tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5", "a") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(StoreError, match="schema version 99"):
        store.read_features(tmp_path / "f.h5")
