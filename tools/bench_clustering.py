"""How fast clustering is, as a share of the bare product of every video's frames with themselves.

    python tools/bench_clustering.py

Synthetic unit vectors: 70 % of a video's frames around one person, the rest scattered; log-normal lengths, 31
frames on average. One thread; the methods take turns, and the best of their runs counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from vidface.clustering import cluster_frames, cluster_sweep, normalise_rows
from vidface.pooling import pool_frames

THRESHOLD = 0.4
SWEEP = [None, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6]


def video(random: np.random.Generator, frames: int, dimension: int = 512) -> np.ndarray:
    person = random.standard_normal(dimension)
    noise = random.random(frames) < 0.3
    rows = np.where(noise[:, None], 0, person) + 0.9 * random.standard_normal((frames, dimension))
    return normalise_rows(rows)


def seconds(work: Callable[[np.ndarray], object], videos: Sequence[np.ndarray]) -> float:
    started = time.perf_counter()
    for rows in videos:
        work(rows)
    return time.perf_counter() - started


def table(title: str, videos: Sequence[np.ndarray], repeats: int) -> None:
    halves = {id(rows): rows.astype(np.float16) for rows in videos}
    methods = {
        "bare product, X @ X.T": lambda rows: rows @ rows.T,
        "cluster_frames": lambda rows: cluster_frames(rows, THRESHOLD),
        f"cluster_sweep, {len(SWEEP)} thresholds": lambda rows: cluster_sweep(rows, SWEEP),
        "normalise_rows, float32": normalise_rows,
        "normalise_rows, float16": lambda rows: normalise_rows(halves[id(rows)]),
        "pool_frames": lambda rows: pool_frames(rows, np.ones(len(rows), bool)),
    }
    print(f"\n{title}: {len(videos)} videos, {sum(map(len, videos))} frames")
    print(f"{'method':32} {'us/video':>10} {'videos/s':>10} {'times bare':>10}")
    best = dict.fromkeys(methods, np.inf)
    for _ in range(repeats + 1):  # the first run compiles
        for name, work in methods.items():
            best[name] = min(best[name], seconds(work, videos))
    bare = next(iter(best.values()))
    for name, took in best.items():
        per_video = took / len(videos)
        print(f"{name:32} {1e6 * per_video:10.1f} {1 / per_video:10.0f} {took / bare:10.2f}")


def main() -> None:
    random = np.random.default_rng(0)
    lengths = np.maximum(1, np.round(random.lognormal(np.log(31) - 0.18, 0.6, 2000))).astype(int)
    table("short videos", [video(random, n) for n in lengths], 5)
    table("one long video", [video(random, 5000)], 2)


if __name__ == "__main__":
    main()
