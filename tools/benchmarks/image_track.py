"""LFRC's image track: probes among one another and against distractors that stay on disk, TPR at FPR 1e-8; and
identification among the distractors.

274 thousand probes and 1.58 million distractors are 470 billion pairs; a full run here takes a hundredth of them.
"""

from __future__ import annotations

import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.common import best_seconds, peak_megabytes, print_table
from vidface.embeddings.exact import normalise_rows
from vidface.runtime import in_threads
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.metrics.mate_search import search_among_distractors
from vidface.scores.pairs.blocks import BLOCK, pair_scores

PROBES, PEOPLE, DISTRACTORS, WIDTH = 274_000, 5_700, 1_580_000, 512
Rows = NDArray[np.float32]


def bench(quick: bool, threads: int) -> None:
    share = 100 if quick else 10  # of the probes, and of the distractors
    with tempfile.TemporaryDirectory() as folder:
        probes, who, far = draw(
            Path(folder) / "rows.f16", PROBES // share, PEOPLE // share, DISTRACTORS // share
        )
        check_against_sort(probes[:1_000], who[:1_000], far[:5_000], threads)
        near = len(far) // 10
        methods = {
            f"bare product, blocks of {BLOCK}, rows in memory": lambda: bare(probes, near, threads),
            "vidface, rows on disk": lambda: tpr_of_all_pairs(
                probes, who, ["1e-8" if not quick else "1e-5"], distractors=far[:near], workers=threads
            ),
        }
        print_table(
            f"{len(probes):,} probes x {near:,} distractors x {WIDTH}, {threads} thread(s)",
            best_seconds(methods, 1),
            floor=next(iter(methods)),
            count=pairs_of(len(probes), near),
            unit="pairs",
            peaks={name: peak_megabytes(work) for name, work in methods.items()},
        )
        begun = time.perf_counter()
        peak = peak_megabytes(
            lambda: tpr_of_all_pairs(probes, who, ["1e-8", "1e-7"], distractors=far, workers=threads)
        )
        took = time.perf_counter() - begun
        whole = took * pairs_of(PROBES, DISTRACTORS) / pairs_of(len(probes), len(far))
        print(
            f"\n{len(probes):,} x {len(far):,}, 1/{share**2} of the pairs: {took:.1f} s, {peak:.0f} MB more memory"
            f"\nall {pairs_of(PROBES, DISTRACTORS):,} pairs on these {threads} thread(s), by their number: "
            f"{whole / 60:.0f} minutes"
        )
        begun = time.perf_counter()
        peak = peak_megabytes(lambda: search_among_distractors(probes, who, far, ["1e-3"], workers=threads))
        took = time.perf_counter() - begun
        whole = took * PROBES * DISTRACTORS / (len(probes) * len(far))
        print(
            f"\nidentification at FPR 1e-3 among them: {took:.1f} s, {peak:.0f} MB more memory"
            f"\nall {PROBES * DISTRACTORS:,} searched pairs, by their number: {whole / 60:.0f} minutes"
        )


def pairs_of(probes: int, distractors: int) -> int:
    return probes * (probes - 1) // 2 + probes * distractors


def draw(path: Path, probes: int, people: int, distractors: int) -> tuple[Rows, NDArray[np.int64], Any]:
    """Probes, their people, and distractors as float16 in a file: unit rows, half of them around people."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((people, WIDTH), dtype=np.float32)
    who = np.sort(random.integers(0, people, probes))
    rows = normalise_rows(centres[who] + random.standard_normal((probes, WIDTH), dtype=np.float32))
    far = np.memmap(path, np.float16, "w+", shape=(distractors, WIDTH))
    for start in range(0, distractors, 10_000):
        part = random.standard_normal(far[start : start + 10_000].shape, dtype=np.float32)
        strangers = random.standard_normal((len(part) // 2, WIDTH), dtype=np.float32)
        part[: len(strangers)] += strangers
        far[start : start + 10_000] = normalise_rows(part)
    far.flush()
    return rows, who, np.memmap(path, np.float16, "r", shape=far.shape)


def bare(probes: Rows, distractors: int, workers: int) -> None:
    """Nothing but the product; the same rows stand for all distractors."""
    right = probes[:BLOCK].copy()

    def work(jobs: object) -> None:
        scores = np.empty(BLOCK * BLOCK, np.float32)
        for left, columns in jobs:
            out = scores[: len(left) * columns].reshape(len(left), columns)
            np.matmul(left, right[:columns].T, out=out)

    starts = range(0, len(probes), BLOCK)
    blocks = [probes[top : top + BLOCK] for top in starts]
    jobs = [(left, min(BLOCK, len(probes) - side)) for side in starts for left in blocks[: side // BLOCK + 1]]
    jobs += [
        (left, min(BLOCK, distractors - side)) for side in range(0, distractors, BLOCK) for left in blocks
    ]
    with threadpool_limits(1, user_api="blas"):
        in_threads(work, jobs, workers)


def check_against_sort(probes: Rows, who: NDArray[np.int64], far: Any, threads: int) -> None:
    """The thresholds are those of a full sort of the scores."""
    rows = np.concatenate([probes, np.asarray(far, np.float32)])
    lower, upper = np.triu_indices(len(rows), 1)
    compared = lower < len(probes)
    lower, upper = lower[compared], upper[compared]
    labels = np.concatenate([who, np.full(len(far), -1)])
    impostors = np.sort(pair_scores(rows, rows, lower, upper)[labels[lower] != labels[upper]])[::-1]
    targets = ["1e-3", "1e-5", "1e-6"]
    result = tpr_of_all_pairs(probes, who, targets, distractors=far, workers=threads)
    for target, threshold in zip(targets, result.threshold, strict=True):
        refused = impostors[int(Fraction(target) * len(impostors))]
        assert threshold == np.nextafter(refused, np.float32(2))
    print(f"\nthresholds equal those of a full sort of {len(impostors):,} impostor scores, to the last bit")
