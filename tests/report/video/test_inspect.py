"""One video looked at closely: every number against loops, the reason against hand-made cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from feature_files import features_file

from vidface.embeddings.cluster import cluster
from vidface.embeddings.options import ClusterOptions
from vidface.errors import ChangedError, StoreError, UsageError
from vidface.report.video import inspect as module
from vidface.report.video.inspect import inspect

COSINES = "its pairs have the larger cosine (0.9998, B 0.9397)"
ANGLES = [0, 5, 90, 10, 95, 200]


def plane(degrees: list[float], lengths: Any = 1.0) -> np.ndarray:
    """Features in a plane: cosines are those of the angles between them."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.broadcast_to(lengths, len(angles))[:, None]


def test_the_numbers_are_those_of_loops(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 6)).astype(np.float32)
    path = features_file(tmp_path / "f.h5", {"other": random.normal(size=(3, 6)), "v": rows})
    seen = inspect(path, "v", threshold=0.7)
    unit = [row / np.sqrt(sum(value * value for value in row)) for row in rows.astype(np.float64)]
    mean = sum(unit[i] for i in range(40) if seen.labels[i] == 0)
    mean = mean / np.sqrt(mean @ mean)
    np.testing.assert_allclose(seen.embedding, mean, atol=1e-6)
    np.testing.assert_allclose(seen.cosines, [u @ mean for u in unit], atol=1e-6)
    np.testing.assert_allclose(
        seen.norms, [np.linalg.norm(row) for row in rows.astype(np.float64)], rtol=1e-6
    )
    np.testing.assert_array_equal(seen.times, np.arange(40, dtype=np.float32) / 8)
    assert len(seen.clusters) > 3 and len(seen.clusters[1].rows) > 1
    assert sum(len(cluster.rows) for cluster in seen.clusters) == 40
    for one in seen.clusters:
        mine = [int(i) for i in one.rows]
        assert mine == [i for i in range(40) if seen.labels[i] == one.label]
        pairs = [unit[i] @ unit[j] for i in mine for j in mine if i < j]
        assert one.inside == (pytest.approx(np.mean(pairs), abs=1e-6) if pairs else None)
        assert one.to_video == pytest.approx(np.mean([unit[i] @ mean for i in mine]), abs=1e-6)
        assert one.norm == pytest.approx(np.mean([np.linalg.norm(rows[i]) for i in mine]), rel=1e-6)
    together, apart = np.zeros(20, int), np.zeros(20, int)
    for i in range(40):
        for j in range(i):
            place = min(int((unit[i] @ unit[j] + 1) * 10), 19)
            (together if seen.labels[i] == seen.labels[j] else apart)[place] += 1
    assert seen.together.tolist() == together.tolist() and seen.apart.tolist() == apart.tolist()
    assert [level.threshold for level in seen.levels] == [None, *module.THRESHOLDS, 0.7]
    for level in seen.levels:
        again = inspect(path, "v", threshold=level.threshold)
        assert level.clusters == len(again.clusters)
        assert level.kept == np.count_nonzero(again.labels == 0)
        assert level.same == np.count_nonzero((again.labels == 0) & (seen.labels == 0))


def test_of_a_long_video_some_rows_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = features_file(tmp_path / "f.h5", {"v": plane(np.linspace(0, 340, 50).tolist())})
    whole = inspect(path, "v")
    assert whole.compared == 50 and (whole.together + whole.apart).sum() == 50 * 49 / 2
    monkeypatch.setattr(module, "PAIR_ROWS", 10)
    some = inspect(path, "v")
    assert some.compared == 10 and (some.together + some.apart).sum() == 45
    assert len(some.labels) == 50 and some.labels.tolist() == whole.labels.tolist()


@pytest.mark.parametrize(
    ("rows", "threshold", "words"),
    [
        (plane([0, 5, 90, 10]), 0.9, "A is kept: the largest of 2 clusters, 3 of 4 (the next has 1)"),
        (plane([0, 20, 90, 91]), 0.9, f"A is kept: as large as B, 2 of 4, but {COSINES}"),
        (np.eye(2)[[0, 1, 0, 1]], 0.4, "A is kept: as large as B, 2 of 4, but it begins earlier"),
        (plane([0, 64, 128, 192]), 0.9, "no two of 4 are joined: the first is kept"),
        (plane([0, 5, 10]), 0.9, "all 3 are kept: they are one cluster"),
        (plane([0, 5, 90]), None, "all 3 are kept: without a threshold nothing is clustered"),
        (plane([]), 0.9, "nothing is kept: the video has no usable frame"),
    ],
)  # fmt: skip
def test_the_reason_is_the_rule(
    tmp_path: Path, rows: np.ndarray, threshold: float | None, words: str
) -> None:
    path = features_file(tmp_path / "f.h5", {"v": rows, "w": plane(ANGLES)})
    assert inspect(path, "v", threshold=threshold).why == words


def test_the_clusters_of_an_embeddings_file_are_taken(tmp_path: Path) -> None:
    videos = {"w": plane(ANGLES[::-1]), "v": plane(ANGLES)}
    path = features_file(tmp_path / "f.h5", videos)
    cluster(path, tmp_path / "e.h5", ClusterOptions(threshold=0.99))
    seen, fresh = inspect(path, "v", embeddings=tmp_path / "e.h5"), inspect(path, "v", threshold=0.99)
    assert seen.labels.tolist() == fresh.labels.tolist() == [0, 0, 1, 0, 1, 2]
    np.testing.assert_array_equal(seen.embedding, fresh.embedding)
    assert seen.threshold == "0.99" and seen.pooling and seen.why == fresh.why
    assert fresh.weights.tolist() == [1 / 3, 1 / 3, 0, 1 / 3, 0, 0] and not fresh.weighted
    assert fresh.kept.tolist() == [True, True, False, True, False, False]
    with h5py.File(tmp_path / "f.h5", "a") as file:
        file.attrs["content_sha256"] = "another"
    with pytest.raises(ChangedError, match=r"e\.h5: made from other features than .*f\.h5"):
        inspect(path, "v", embeddings=tmp_path / "e.h5")


@pytest.mark.parametrize("pool", ["size", "size-norm"])
def test_where_all_frames_count_the_weights_say_how_much(tmp_path: Path, pool: str) -> None:
    videos = {"w": plane(ANGLES[::-1]), "v": plane(ANGLES, [1, 1, 0.5, 1, 1, 0.2])}
    path = features_file(tmp_path / "f.h5", videos)
    cluster(path, tmp_path / "e.h5", ClusterOptions(threshold=0.9, pool=pool))
    seen = inspect(path, "v", threshold=0.9, pool=pool)
    stored = inspect(path, "v", embeddings=tmp_path / "e.h5")
    assert seen.weighted and seen.pool == stored.pool == pool
    np.testing.assert_allclose(seen.embedding, stored.embedding, atol=1e-6)
    np.testing.assert_allclose(seen.weights, stored.weights, atol=1e-12)
    mean = sum(weight * row for weight, row in zip(seen.weights, plane(ANGLES), strict=True))
    np.testing.assert_allclose(seen.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert seen.weights.sum() == pytest.approx(1)
    for one in seen.clusters:
        assert one.weight == pytest.approx(sum(seen.weights[row] for row in one.rows))
    assert seen.kept.tolist() == [weight >= 1 / 6 for weight in seen.weights]
    assert 0 < seen.kept.sum() < 6
    rule = "by the size of their cluster" + (" and their norm" if pool == "size-norm" else "")
    assert seen.why == f"all 6 count, {rule}: A, 3 of 6, has {seen.clusters[0].weight:.1%} of the weight"


def test_a_rule_that_keeps_a_smaller_cluster_is_named(tmp_path: Path) -> None:
    path = features_file(tmp_path / "f.h5", {"v": plane(ANGLES)})
    cluster(path, tmp_path / "e.h5", ClusterOptions(threshold=0.99))
    with h5py.File(tmp_path / "e.h5", "a") as file:
        labels = file["labels"][:]
        file["labels"][:] = np.where(labels == 0, 1, np.where(labels == 1, 0, labels))
        file.attrs["pooling"] = "the\x1b[31m sharpest"
    why = inspect(path, "v", embeddings=tmp_path / "e.h5").why
    assert why == "A is kept, 2 of 6, though a larger cluster is there: by the rule the\\x1b[31m sharpest"


def test_an_unknown_video_is_one_line_with_close_names(tmp_path: Path) -> None:
    names = [f"clip_{number:03d}" for number in range(50)] + ["a\x1b[2Jb", "Überfall"]
    path = features_file(tmp_path / "f.h5", {name: plane(ANGLES) for name in names})
    for name, close in (
        ("clip_7", r"clip_7 among 52; close: clip_0\d7, "),
        ("007", "007 among 52; close: clip_007$"),
        ("überfal", "überfal among 52; close: Überfall$"),
        ("!!!!", "among 52$"),
        ("clip_001#0", "clip_001#0 among"),  # nothing was detected in this file
    ):
        with pytest.raises(UsageError, match=rf"f\.h5: no video .*{close}"):
            inspect(path, name)
    with pytest.raises(UsageError) as error:
        inspect(path, "\x1b[2J\n")
    assert str(error.value).isprintable() and "a\\x1b[2Jb" in str(error.value)


def test_a_track_is_a_part_of_its_video(tmp_path: Path) -> None:
    path = features_file(
        tmp_path / "f.h5",
        {"u": plane(ANGLES), "v": plane(ANGLES), "v#1": plane(ANGLES[:1]), "none": plane(ANGLES[:0])},
        faces={"tracks": np.concatenate([[0] * 6, [0, 0, 0, 1, 1, 2], [0], []])},
    )
    assert inspect(path, "none#0").why == "nothing is kept: the video has no usable frame"
    whole, track = inspect(path, "v"), inspect(path, "v#1#0")
    assert len(whole.labels) == 6 and whole.faces is not None and len(whole.faces.boxes) == 6
    assert len(track.labels) == 1  # an id may look like a track: the id counts
    assert len(inspect(path, "v#1").labels) == 1
    track = inspect(path, "v#2")
    assert track.first == 5 and track.faces is not None and track.faces.tracks.tolist() == [2]
    np.testing.assert_allclose(track.embedding, plane(ANGLES)[5], atol=1e-6)
    assert inspect(path, "v#0").times.tolist() == [0, 0.125, 0.25]
    for name in ("v#7", "none#1"):
        with pytest.raises(UsageError, match=f"{name}: the video has no track "):
            inspect(path, name)


def test_embeddings_of_tracks(tmp_path: Path) -> None:
    """An embeddings file with a row a track: the track must be named."""
    path = features_file(tmp_path / "f.h5", {"v": plane(ANGLES)}, faces={"tracks": [0, 0, 0, 1, 1, 1]})
    tracks = features_file(tmp_path / "t.h5", {"v#0": plane(ANGLES[:3]), "v#1": plane(ANGLES[3:])})
    cluster(tracks, tmp_path / "e.h5", ClusterOptions(threshold=0.9))
    seen = inspect(path, "v#1", embeddings=tmp_path / "e.h5")
    assert seen.labels.tolist() == inspect(path, "v#1", threshold=0.9).labels.tolist() and seen.first == 3
    with pytest.raises(StoreError, match=r"e\.h5: v: its tracks have embeddings of their own: say v#0"):
        inspect(path, "v", embeddings=tmp_path / "e.h5")
    with pytest.raises(StoreError, match=r"w: not in it|no video"):
        inspect(features_file(tmp_path / "w.h5", {"w": plane(ANGLES)}), "w", embeddings=tmp_path / "e.h5")
