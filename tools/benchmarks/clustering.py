"""From a features file to embeddings, and the clustering of one long video.

The floor is the bare product of every video's float32 rows with themselves, in memory, by BLAS; ours begins at the
file: read, widen, normalise, cluster, pool. Peers begin at unit rows in memory and get a part of the videos; their
times are scaled, and the rows say so.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.common import best_seconds, installed, peak_megabytes, print_table
from vidface.embeddings.cluster import _cluster_chunk
from vidface.embeddings.embed import embed_sweep, embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import pool_frames
from vidface.embeddings.union_find import cluster_frames, cluster_sweep
from vidface.features.chunks import over_videos
from vidface.features.engines.local import local_engine
from vidface.files.store import VideoRows, join_shards, read_features, row_blocks, write_shard
from vidface.scores.sweep import _sweep_chunk

THRESHOLD = 0.4
SWEEP = [float(threshold) for threshold in np.linspace(0.2, 0.675, 20)]
DIMENSIONS = (128, 512)
PART = 200  # videos that the peers get
FEW = 20  # videos that the slowest gets

Array = np.ndarray
Videos = list[Array]


def bench(quick: bool, threads: int) -> None:
    """Print a table of the way from the file, one of its workers, and one a kind of long video."""
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        path = Path(folder) / "features.h5"
        for dimension in DIMENSIONS:
            _write(path, 60 if quick else 6_000, dimension)
            _whole_way(path, threads, repeats=1 if quick else 4)
            path.unlink()
        _write(path, 100 if quick else 12_000, DIMENSIONS[-1])
        _workers(path, repeats=1 if quick else 6)
    with threadpool_limits(1):
        for name, video in _long_videos(200 if quick else 5_000).items():
            _long(name, video, repeats=1 if quick else 3)


def _video(random: np.random.Generator, frames: int, dimension: int) -> Array:
    """70 % of the frames around one person, the rest scattered."""
    person = random.standard_normal(dimension, np.float32)
    noise = random.random(frames) < 0.3
    scatter = random.standard_normal((frames, dimension), np.float32)
    return np.where(noise[:, None], np.float32(0), person) + np.float32(0.9) * scatter


def _write(path: Path, videos: int, dimension: int) -> None:
    """A features file of float16 rows; log-normal lengths, 31 frames on average."""
    random = np.random.default_rng(0)
    lengths = np.maximum(1, np.round(random.lognormal(np.log(31) - 0.18, 0.6, videos))).astype(int)
    shards = []
    for start in range(0, videos, 1000):
        rows = [
            VideoRows(
                f"{start + i:07d}",
                _video(random, n, dimension).astype(np.float16),
                np.zeros(n, np.float32),
                "ok",
                [],
            )
            for i, n in enumerate(lengths[start : start + 1000])
        ]
        shards.append(path.with_name(f"shard-{start:07d}.h5"))
        write_shard(shards[-1], rows, dimension, "float16")
    join_shards(shards, path, {"model_name": "made up"})
    for shard in shards:
        shard.unlink()


def _whole_way(path: Path, threads: int, repeats: int) -> None:
    source = read_features(path)
    count, frames = len(source.video_ids), int(source.offsets[-1])
    half = np.concatenate([block.copy() for block in row_blocks(path, [0, frames])])
    unit = normalise_rows(half)
    videos = [unit[a:b] for a, b in pairwise(source.offsets)]

    def whole(function: Callable[..., object], argument: object) -> None:
        for _ in over_videos(source, function, argument, engine=local_engine(threads), label="bench"):
            pass

    def read() -> None:
        for _ in row_blocks(path, [*range(0, frames, 2048), frames]):
            pass

    def step_by_step() -> None:
        for a, b in pairwise(source.offsets):
            rows = normalise_rows(half[a:b])
            pool_frames(rows, cluster_frames(rows, THRESHOLD) == 0)

    ours, swept = "vidface, file to embeddings", f"vidface, file to {len(SWEEP)} embeddings (a sweep)"
    weighted = "  with --pool size-norm"
    work: dict[str, Callable[[], object]] = {
        "bare product of every video, rows in memory": lambda: [rows @ rows.T for rows in videos],
        ours: lambda: whole(_cluster_chunk, (THRESHOLD, "largest")),
        weighted: lambda: whole(_cluster_chunk, (THRESHOLD, "size-norm")),
        swept: lambda: whole(_sweep_chunk, (SWEEP, "largest")),
        "  of it: reading the file": read,
        "  public functions, video by video, from memory": step_by_step,
        "  cluster_frames, unit rows in memory": lambda: [cluster_frames(rows, THRESHOLD) for rows in videos],
        f"  cluster_sweep, {len(SWEEP)} thresholds": lambda: [cluster_sweep(rows, SWEEP) for rows in videos],
    }
    seconds = best_seconds(work, repeats)
    notes = {
        ours: _check(videos, half, source.offsets),
        weighted: f"{seconds[weighted] / seconds[ours]:.2f} times the largest cluster",
        swept: f"{seconds[swept] / seconds[ours]:.2f} times one threshold; equal to it at all",
    }
    peaks = {name: peak_megabytes(work[name]) for name in (ours, swept)}
    print_table(
        f"features to embeddings: {count:,} videos, {frames:,} float16 frames, {source.dimension}-d, "
        f"threshold {THRESHOLD}, {threads} worker(s)",
        {**seconds, **_peers(videos, notes)},
        floor=next(iter(work)),
        count=count,
        unit="videos",
        peaks=peaks,
        notes=notes,
    )


def _workers(path: Path, repeats: int) -> None:
    source = read_features(path)

    def whole(workers: int) -> None:
        how, engine = (THRESHOLD, "largest"), local_engine(workers)
        for _ in over_videos(source, _cluster_chunk, how, engine=engine, label="bench"):
            pass

    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n == 1 or n <= len(os.sched_getaffinity(0))]
    work = {f"{n} worker(s)": (lambda n=n: whole(n)) for n in counts}
    seconds = best_seconds(work, repeats)
    notes = {
        name: f"{seconds['1 worker(s)'] / took:.2f} times as fast as one" for name, took in seconds.items()
    }
    print_table(
        f"file to embeddings, {len(source.video_ids):,} videos: workers",
        seconds,
        floor="1 worker(s)",
        count=len(source.video_ids),
        unit="videos",
        notes=notes,
    )


def _check(videos: Videos, half: Array, offsets: Array) -> str:
    """Labels and embeddings of some videos against Union-Find over the cosines of numpy in float64."""
    checked = 0
    embeddings, _, labels, _ = embed_videos(half, offsets, THRESHOLD)
    swept, _ = embed_sweep(half, offsets, [THRESHOLD, *SWEEP])
    assert np.array_equal(swept[0], embeddings)
    for t, threshold in enumerate(SWEEP, 1):
        assert np.array_equal(swept[t], embed_videos(half, offsets, threshold)[0])
    for v in range(min(PART, len(videos))):
        wide = videos[v].astype(np.float64)
        cosines = wide @ wide.T
        mine = labels[offsets[v] : offsets[v + 1]]
        plain = _union_find(cosines)
        assert len(set(zip(mine, plain, strict=True))) == len(set(mine)) == len(set(plain)), f"video {v}"
        mean = wide[mine == 0].mean(axis=0)
        assert np.bincount(mine).argmax() == 0
        assert np.abs(embeddings[v] - mean / np.linalg.norm(mean)).max() < 1e-6
        checked += 1
    return f"{checked} videos equal plain Union-Find in float64"


def _union_find(cosines: Array) -> list[int]:
    parent = list(range(len(cosines)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(cosines)):
        for j in range(i):
            if cosines[i, j] >= THRESHOLD:
                parent[root(i)] = root(j)
    return [root(i) for i in range(len(cosines))]


def _naive(rows: Array) -> list[int]:
    """Union-Find as it is written first: a dot a pair, in Python."""
    return _union_find(np.array([[float(np.dot(a, b)) for b in rows] for a in rows]))


def _peers(videos: Videos, notes: dict[str, str]) -> dict[str, float]:
    """Seconds of what others do with unit rows in memory, scaled to all videos; no pooling."""
    frames = sum(map(len, videos))
    seconds = {}

    def take(name: str, count: int, work: Callable[[Array], object]) -> None:
        part = videos[:count]
        took = best_seconds({name: lambda: [work(rows) for rows in part]}, 1)[name]
        seconds[name] = took * frames / sum(map(len, part))
        notes[name] = f"unit rows in memory, labels only; {len(part)} videos, scaled by frames"

    names = ["sklearn DBSCAN, cosine, min_samples 1", "matmul + scipy connected_components"]
    if installed("sklearn"):
        from sklearn.cluster import DBSCAN

        dbscan = DBSCAN(eps=1 - THRESHOLD, min_samples=1, metric="cosine")
        take(names[0], PART, dbscan.fit_predict)
    else:
        notes[names[0]] = "absent: pip install -e '.[bench]'"
    if installed("scipy"):
        from scipy.sparse.csgraph import connected_components

        take(names[1], PART, lambda rows: connected_components(rows @ rows.T >= THRESHOLD, directed=False))
    else:
        notes[names[1]] = "absent: pip install -e '.[bench]'"
    take("naive Python loop, Union-Find", FEW, _naive)
    return seconds


def _long_videos(frames: int) -> dict[str, Array]:
    random = np.random.default_rng(1)
    dimension = DIMENSIONS[-1]
    persons = random.standard_normal((2, dimension), np.float32)
    two = persons[random.integers(0, 2, frames)]
    chain = random.standard_normal((frames, dimension), np.float32)
    for i in range(1, frames):
        chain[i] = np.float32(0.55) * chain[i - 1] + np.float32(0.835) * chain[i]
    made = {
        "70 % one person, the rest scattered": _video(random, frames, dimension),
        "all scattered": random.standard_normal((frames, dimension), np.float32),
        "two people": two + np.float32(0.9) * random.standard_normal((frames, dimension), np.float32),
        "a chain, in random order": random.permutation(chain),
    }
    return {name: normalise_rows(video) for name, video in made.items()}


def _long(name: str, video: Array, repeats: int) -> None:
    work: dict[str, Callable[[], object]] = {
        "bare product": lambda: video @ video.T,
        "cluster_frames": lambda: cluster_frames(video, THRESHOLD),
        f"cluster_sweep, {len(SWEEP)} thresholds": lambda: cluster_sweep(video, SWEEP),
    }
    seconds = best_seconds(work, repeats)
    peaks = {method: peak_megabytes(run) for method, run in work.items()}
    notes = {"cluster_frames": _check_long(video)}
    print_table(
        f"one video of {len(video):,} frames: {name}",
        seconds,
        floor="bare product",
        count=len(video),
        unit="frames",
        peaks=peaks,
        notes=notes,
    )


def _check_long(video: Array) -> str:
    labels = cluster_frames(video, THRESHOLD)
    assert np.array_equal(labels, cluster_sweep(video, [0.1, THRESHOLD])[1])
    if not installed("scipy"):
        return f"{labels.max() + 1} clusters"
    from scipy.sparse.csgraph import connected_components

    wide = video.astype(np.float64)
    components = connected_components(wide @ wide.T >= THRESHOLD, directed=False)[1]
    assert len(set(zip(components, labels, strict=True))) == len(set(labels)) == len(set(components))
    return f"{labels.max() + 1} clusters, scipy's on exact cosines"
