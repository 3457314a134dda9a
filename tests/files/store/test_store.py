"""The HDF5 files: round trips, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from vidface.errors import StoreError
from vidface.files import store
from vidface.files.store.checksums import sum_of_rows

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


def write_shards(folder: Path, videos: list[store.VideoRows], cut: int = 4) -> list[Path]:
    shards = [folder / f"{start}.h5" for start in range(0, len(videos), cut)]
    for start, shard in zip(range(0, len(videos), cut), shards, strict=True):
        store.write_shard(shard, videos[start : start + cut], 5, videos[0].features.dtype.name)
    return shards


def features_file(folder: Path, videos: list[store.VideoRows], **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    store.join_shards(write_shards(folder, videos), folder / "f.h5", {**ATTRIBUTES, **more})
    return folder / "f.h5"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("cut", [1, 2, 4])
def test_joined_shards_hold_every_row_in_order(tmp_path: Path, dtype: str, cut: int) -> None:
    videos = videos_of([3, 0, 1, 70_000], dtype)
    shards = write_shards(tmp_path, videos, cut)
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
    one, other = (features_file(tmp_path / name, videos_of([2, 3])).read_bytes() for name in "ab")
    assert one == other


def test_embeddings_come_back_and_missing_videos_are_refused(tmp_path: Path) -> None:
    source = store.read_features(features_file(tmp_path, videos_of([2, 0])))
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
    shards = write_shards(tmp_path, videos, 2)
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
    source = store.read_features(features_file(tmp_path, videos_of([2, 0, 1])))
    rows = np.eye(3, 5, dtype=np.float32)
    run = store.EmbeddingRows(rows, np.array([1, 0, 1]), np.array([0, 1, 0], np.int32))
    store.write_embeddings(tmp_path / "e.h5", source, [run], {})
    monkeypatch.setattr("vidface.files.store.embeddings.COPY_ROWS", 2)
    runs = list(store.embedding_chunks(tmp_path / "e.h5"))
    assert [(run.kept.tolist(), run.labels.tolist()) for run in runs] == [([1, 0], [0, 1]), ([1], [0])]
    np.testing.assert_array_equal(np.concatenate([run.embeddings for run in runs]), rows)
    info = store.read_info(tmp_path / "e.h5", "features", "embeddings")
    assert info.offsets.tolist() == source.offsets.tolist() and info.video_ids == source.video_ids


def faces_of(count: int, seed: int) -> store.FaceRows:
    rng = np.random.default_rng(seed)
    floats = [rng.normal(size=(count, *shape)).astype(np.float32) for shape in ((4,), (5, 2), (), ())]
    return store.FaceRows(*floats, np.sort(rng.integers(0, 3, count)).astype(np.int32))


def videos_with_faces(counts: list[int]) -> list[store.VideoRows]:
    return [
        video._replace(faces=faces_of(n, i), face_counts=tuple(range(i, i + len(store.FACE_COUNTS))))
        for i, (video, n) in enumerate(zip(videos_of(counts), counts, strict=True))
    ]


@pytest.mark.parametrize("cut", [1, 2, 4])
def test_faces_lie_beside_their_rows(tmp_path: Path, cut: int) -> None:
    counts = [3, 0, 1, 9_000]
    videos = videos_with_faces(counts)
    shards = write_shards(tmp_path, videos, cut)
    output = tmp_path / "features.h5"
    store.join_shards(shards, output, {**ATTRIBUTES, "faces": "detect"})
    info = store.read_features(output)
    for video, (start, stop) in zip(videos, pairwise(info.offsets.tolist()), strict=True):
        found = store.read_faces(output, start, stop)
        assert found is not None and video.faces is not None
        for mine, theirs in zip(found, video.faces, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
    whole = np.concatenate([video.faces.tracks for video in videos if video.faces is not None])
    np.testing.assert_array_equal(store.read_tracks(output), whole)
    np.testing.assert_array_equal(store.read_face_counts(output), [video.face_counts for video in videos])
    with h5py.File(output) as file:
        assert all(file[name].chunks is None for name in (*store.FaceRows._fields, "face_counts"))
    sha256 = info.attributes["content_sha256"]
    assert store.joined_sha256(shards, info.offsets, info.video_ids) == sha256


@pytest.mark.parametrize("name", [*store.FaceRows._fields, "face_counts"])
def test_the_content_covers_the_faces(tmp_path: Path, name: str) -> None:
    videos = videos_with_faces([2, 3])
    found = []
    for changed in (False, True):
        if changed and name == "face_counts":
            videos[1] = videos[1]._replace(face_counts=(9,) * len(store.FACE_COUNTS))
        elif changed:
            faces = videos[1].faces
            assert faces is not None
            values = getattr(faces, name).copy()
            values.reshape(-1)[-1] += 1
            videos[1] = videos[1]._replace(faces=faces._replace(**{name: values}))
        path = features_file(tmp_path / str(changed), videos)
        found.append(store.read_features(path).attributes["content_sha256"])
    assert found[0] != found[1]


def test_rows_that_are_frames_have_no_faces(tmp_path: Path) -> None:
    path = features_file(tmp_path, videos_of([2, 3]))
    assert store.read_faces(path, 0, 2) is store.read_tracks(path) is store.read_face_counts(path) is None
    with h5py.File(path) as file:
        assert set(file) == {"features", "timestamps", "offsets", "video_ids", "status"}


def test_a_file_that_says_faces_but_lacks_them_is_damaged(tmp_path: Path) -> None:
    path = features_file(tmp_path, videos_of([2]), faces="detect")
    for read in (store.read_tracks, store.read_face_counts, lambda path: store.read_faces(path, 0, 1)):
        with pytest.raises(StoreError, match=r"f\.h5: damaged"):
            read(path)


def test_kept_frames_are_those_of_cluster_0_or_with_an_equal_share(tmp_path: Path) -> None:
    rows = np.eye(2, 5, dtype=np.float32)
    labels = np.array([0, 1, 0, 0, 1, 2], np.int32)
    weights = np.float32([0.2, 0.8, 1 / 3, 1 / 3, 1 / 3, 0])
    source = store.FeaturesInfo(tmp_path, ["a", "b"], np.array([0, 2, 6]), ["ok"] * 2, {"dimension": 5})
    kept = {}
    for name, shares in (("largest", None), ("size", weights)):
        run = store.EmbeddingRows(rows, np.array([2, 4]), labels, shares)
        store.write_embeddings(tmp_path / f"{name}.h5", source, [run], {})
        found = store.read_embeddings(tmp_path / f"{name}.h5")
        kept[name] = [found.kept_frames(0, 2).tolist(), found.kept_frames(2, 6).tolist()]
        (back,) = store.embedding_chunks(tmp_path / f"{name}.h5")
        assert (back.weights is None) == (shares is None)
        assert shares is None or back.weights.tobytes() == shares.tobytes()
    assert kept["largest"] == [[True, False], [True, True, False, False]]
    assert kept["size"] == [[False, True], [True, True, True, False]]


def longer(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array[-1:]])


def shorter(array: np.ndarray) -> np.ndarray:
    return array[:-1]


FEATURES_CHANGED: list[tuple[str, Any]] = [
    ("offsets", lambda array: array - (np.arange(len(array)) == len(array) - 1)),  # ends before the rows do
    ("offsets", lambda array: array[::-1]),
    ("offsets", lambda _: np.int64(3)),
    ("offsets", lambda _: np.empty(0, np.int64)),
    *[(name, shorter) for name in ("offsets", "status", "timestamps", "tracks", "face_counts")],
    *[(name, longer) for name in ("offsets", "tracks")],
    ("boxes", lambda array: array[:, :3]),
    ("features", lambda array: array[:, :4]),
]
EMBEDDINGS_CHANGED = [
    (name, longer) for name in ("frames", "kept", "labels", "embeddings", "weights", "status")
]


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [("features", *change) for change in FEATURES_CHANGED]
    + [("embeddings", *change) for change in EMBEDDINGS_CHANGED],
)
def test_a_file_whose_arrays_do_not_fit_is_damaged(tmp_path: Path, kind: str, name: str, change: Any) -> None:
    path = features_file(tmp_path, videos_with_faces([2, 4]), faces="detect")
    if kind == "embeddings":
        weights = np.full(6, 0.25, np.float32)
        run = store.EmbeddingRows(
            np.eye(2, 5, dtype=np.float32), np.array([2, 4]), np.zeros(6, np.int32), weights
        )
        store.write_embeddings(tmp_path / "e.h5", store.read_features(path), [run], {})
        path = tmp_path / "e.h5"
    read: Any = store.read_features if kind == "features" else store.read_embeddings
    read(path)
    with h5py.File(path, "r+") as file:
        array = file[name][()]
        del file[name]
        file[name] = change(array)
    with pytest.raises(StoreError, match=rf"{path.name}: damaged \("):
        read(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dimension", [1, 3, 4, 6, 128])
def test_the_sum_of_rows_is_that_of_a_loop_and_notices_every_bit(dtype: type, dimension: int) -> None:
    rows = np.random.default_rng(dimension).normal(size=(5, dimension)).astype(dtype)
    size = rows[0].nbytes
    word = max(n for n in (1, 2, 4, 8) if size % n == 0)
    expected = 0
    for number, row in enumerate(rows):
        raw = row.tobytes()
        words = sum(int.from_bytes(raw[k : k + word], "little") for k in range(0, size, word))
        expected += (words % 2**64) * (2 * (number + 7) + 1)
    assert sum_of_rows(rows, 7) == expected % 2**64
    assert (sum_of_rows(rows[:2], 7) + sum_of_rows(rows[2:], 9)) % 2**64 == expected % 2**64
    for bit in range(8 * rows.nbytes):
        spoilt = bytearray(rows.tobytes())
        spoilt[bit // 8] ^= 1 << bit % 8
        assert sum_of_rows(np.frombuffer(spoilt, dtype).reshape(rows.shape), 7) != expected % 2**64
    assert sum_of_rows(rows[::-1].copy(), 7) != expected % 2**64
