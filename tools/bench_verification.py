"""How fast TPR at FPR over all pairs is, as a multiple of the bare blocked product, and what memory it takes.

    python tools/bench_verification.py [VIDEOS ...]

Synthetic unit vectors of 256 dimensions, 6 videos a person. One thread.
"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from vidface.clustering import normalise_rows
from vidface.metrics.verification import BLOCK, tpr_at_fpr


def bare(rows: np.ndarray) -> None:
    scores = np.empty((BLOCK, BLOCK), np.float32)
    for top in range(0, len(rows), BLOCK):
        left = rows[top : top + BLOCK]
        for side in range(top, len(rows), BLOCK):
            right = rows[side : side + BLOCK]
            np.matmul(left, right.T, out=scores[: len(left), : len(right)])


def seconds(work: object, *args: object) -> float:
    started = time.perf_counter()
    work(*args)  # type: ignore[operator]
    return time.perf_counter() - started


def peak_megabytes(work: object, *args: object) -> float:
    tracemalloc.start()
    seconds(work, *args)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main(sizes: list[int]) -> None:
    random = np.random.default_rng(0)
    print(f"{'videos':>8} {'targets':>14} {'bare s':>8} {'exact s':>8} {'ratio':>6} {'extra memory, MB':>17}")
    for videos in sizes:
        people = np.repeat(np.arange(videos // 6 + 1), 6)[:videos]
        centres = random.standard_normal((people.max() + 1, 256), dtype=np.float32)
        rows = centres[people]
        rows += random.standard_normal((videos, 256), dtype=np.float32)
        rows = normalise_rows(rows)
        tpr_at_fpr(rows[:100], people[:100], ["1e-2"])  # compile
        for targets in (["1e-4"], ["1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]):
            product = min(seconds(bare, rows) for _ in range(3))
            exact = min(seconds(tpr_at_fpr, rows, people, targets) for _ in range(3))
            memory = peak_megabytes(tpr_at_fpr, rows, people, targets)
            name = targets[0] if len(targets) == 1 else f"{targets[0]}..{targets[-1]}"
            ratio = exact / product
            print(f"{videos:8} {name:>14} {product:8.2f} {exact:8.2f} {ratio:6.2f} {memory:17.0f}")


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10_000, 20_000])
