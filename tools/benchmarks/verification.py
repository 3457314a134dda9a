"""TPR at FPR over all pairs of videos, beside the bare blocked product and what is used today."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.common import best_seconds, installed, peak_megabytes, print_table
from vidface.embeddings.exact import normalise_rows, product_error
from vidface.runtime import in_threads
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.pairs.blocks import BLOCK, pair_scores

Rows = NDArray[np.float32]
People = NDArray[np.int64]
FIVE = ["1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]
BINS = 20_000


def bench(quick: bool, threads: int) -> None:
    print("\nfloor: the product of all pairs of rows in blocks of the best size, one thread of BLAS a worker")
    check_against_sort(*people_in_space(1_500 if quick else 8_000, 256), threads)
    for width in (256, 512):
        all_pairs(*people_in_space(2_000 if quick else 50_000, width), threads)
    peers(*people_in_space(1_000 if quick else 8_000, 256), threads)


def people_in_space(videos: int, width: int) -> tuple[Rows, People]:
    """Unit rows around people of 6 videos each, in no order; one video of 50 failed, one of 10 has no identity."""
    random = np.random.default_rng(0)
    who = random.permutation(videos) // 6
    rows = random.standard_normal((videos // 6 + 1, width), dtype=np.float32)[who]
    rows += random.standard_normal((videos, width), dtype=np.float32)
    rows = normalise_rows(rows)
    rows[random.random(videos) < 0.02] = 0
    who[random.random(videos) < 0.1] = -1
    return rows, who


def bare(rows: Rows, block: int, workers: int) -> None:
    """Nothing but the product."""

    def work(jobs: object) -> None:
        scores = np.empty(block * block, np.float32)
        for top, side in jobs:
            left, right = rows[top : top + block], rows[side : side + block]
            np.matmul(left, right.T, out=scores[: len(left) * len(right)].reshape(len(left), len(right)))

    starts = range(0, len(rows), block)
    with threadpool_limits(1, user_api="blas"):
        in_threads(work, ((top, side) for side in starts for top in starts if top <= side), workers)


def best_block(rows: Rows, workers: int) -> int:
    part = rows[:10_000]
    took = best_seconds(
        {str(block): lambda block=block: bare(part, block, workers) for block in (512, 768, 1024, 2048)}, 2
    )
    return int(min(took, key=took.get))


def all_pairs(rows: Rows, who: People, threads: int) -> None:
    block = best_block(rows, threads)
    methods = {
        f"bare product, blocks of {block}": lambda: bare(rows, block, threads),
        "vidface, 1e-4": lambda: tpr_of_all_pairs(rows, who, ["1e-4"], workers=threads),
        "vidface, 1e-2 .. 1e-6": lambda: tpr_of_all_pairs(rows, who, FIVE, workers=threads),
    }
    took = best_seconds(methods, 1)
    most = "vidface, 1e-2 .. 1e-6"
    print_table(
        f"all pairs of {len(rows):,} videos x {rows.shape[1]}, {threads} thread(s)",
        took,
        floor=next(iter(methods)),
        count=len(rows) * (len(rows) - 1) // 2,
        unit="pairs",
        peaks={most: peak_megabytes(methods[most])},
    )


def check_against_sort(rows: Rows, who: People, threads: int) -> None:
    """The thresholds are those of a full sort of the scores, and the same for other blocks and numbers of threads."""
    lower, upper = np.triu_indices(len(rows), 1)
    genuine = (who[lower] == who[upper]) & (who[lower] >= 0)
    scores = pair_scores(rows, rows, lower, upper)
    impostors = np.sort(scores[~genuine])[::-1]
    refused = [impostors[int(Fraction(target) * len(impostors))] for target in FIVE]
    thresholds = [float(np.nextafter(score, np.float32(2))) for score in refused]
    rates = [np.count_nonzero(scores[genuine] > score) / np.count_nonzero(genuine) for score in refused]
    for workers, block in ((threads, BLOCK), (3, 500)):
        result = tpr_of_all_pairs(rows, who, FIVE, workers=workers, block=block)
        assert (result.threshold, result.tpr) == (thresholds, rates)
    print(f"thresholds and rates equal those of a full sort of {len(scores):,} scores, to the last bit")


def peers(rows: Rows, who: People, threads: int) -> None:
    """What is used today, at 1e-4."""
    videos, some = len(rows), len(rows) // 4
    block = best_block(rows, threads)
    answers: dict[str, float] = {}

    def ours() -> None:
        answers["vidface"] = tpr_of_all_pairs(rows, who, ["1e-4"], workers=threads).threshold[0]

    def histogram() -> None:
        counts = np.zeros((2, BINS), np.int64)
        for top in range(0, videos, block):
            for side in range(top, videos, block):
                scores = rows[top : top + block] @ rows[side : side + block].T
                same = who[top : top + block, None] == who[None, side : side + block]
                same &= who[top : top + block, None] >= 0
                upper = np.triu(np.ones_like(same), 1) if side == top else np.ones_like(same)
                for kind in (0, 1):
                    chosen = scores[upper & (same == kind)]
                    counts[kind] += np.histogram(chosen, bins=BINS, range=(-1, 1))[0]
        above = np.cumsum(counts[0][::-1])
        bins = np.searchsorted(above, above[-1] // 10_000, side="right")
        answers["histogram"] = 1 - bins * 2 / BINS

    methods = {
        f"bare product, blocks of {block}": lambda: bare(rows, block, threads),
        "vidface": ours,
        f"blocks + np.histogram, {BINS:,} bins": histogram,
    }
    notes = {}
    if installed("sklearn"):
        from sklearn.metrics import roc_curve

        def whole() -> None:
            scores = (rows @ rows.T)[np.triu_indices(videos, 1)]
            genuine = ((who[:, None] == who) & (who >= 0))[np.triu_indices(videos, 1)]
            answers["whole"] = threshold_of(*roc_curve(genuine, scores, drop_intermediate=False), genuine)

        def listed() -> None:
            pairs = np.fromiter(combinations(range(some), 2), dtype="2i8", count=some * (some - 1) // 2)
            batches = np.array_split(pairs, max(1, len(pairs) // 10_000))
            scores = np.concatenate([np.sum(rows[part[:, 0]] * rows[part[:, 1]], axis=1) for part in batches])
            genuine = (who[pairs[:, 0]] == who[pairs[:, 1]]) & (who[pairs[:, 0]] >= 0)
            threshold_of(*roc_curve(genuine, scores, drop_intermediate=False), genuine)

        methods["whole matrix + roc_curve"] = whole
        methods["list of pairs in batches + roc_curve, scaled"] = listed
    else:
        notes["sklearn.metrics.roc_curve"] = "absent: pip install -e '.[bench]'"
    took = best_seconds(methods, 1)
    peaks = {name: peak_megabytes(work) for name, work in methods.items()}
    scaled = "list of pairs in batches + roc_curve, scaled"
    if scaled in took:
        share = videos * (videos - 1) / (some * (some - 1))
        took[scaled] *= share
        peaks[scaled] *= share
        notes[scaled] = f"seconds and MB of {some:,} videos times {share:.1f}"
        off = abs(answers["whole"] - answers["vidface"])
        assert off <= product_error(rows.shape[1], 1.0), off
        notes["whole matrix + roc_curve"] = f"threshold off by {off:.1e} (BLAS rounds otherwise)"
    off = abs(answers["histogram"] - answers["vidface"])
    assert off < 2 / BINS
    notes[f"blocks + np.histogram, {BINS:,} bins"] = f"threshold off by {off:.1e}"
    print_table(
        f"TPR at FPR 1e-4, all pairs of {videos:,} videos x {rows.shape[1]}, {threads} thread(s)",
        took,
        floor=next(iter(methods)),
        count=videos * (videos - 1) // 2,
        unit="pairs",
        peaks=peaks,
        notes=notes,
    )


def threshold_of(fpr: Rows, tpr: Rows, thresholds: Rows, genuine: NDArray[np.bool_]) -> float:
    """The highest impostor score that is refused at FPR 1e-4."""
    impostors = np.count_nonzero(~genuine)
    return float(thresholds[np.flatnonzero(np.round(fpr * impostors) <= impostors // 10_000)[-1] + 1])
