"""Open-set identification: every search against a gallery of templates, and a threshold for every identity.

The floor is the bare product of probes and gallery in blocks, by BLAS; thresholds take three passes over all scores.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.common import best_seconds, peak_megabytes, print_table
from vidface.embeddings.exact import normalise_rows
from vidface.runtime import in_threads
from vidface.scores.metrics.identity_thresholds import identity_thresholds
from vidface.scores.metrics.open_set import fnir_at_fpir, search_outcomes
from vidface.scores.pairs.blocks import BLOCK

TARGETS = ["1e-1", "1e-2", "1e-3"]

Array = np.ndarray


def bench(quick: bool, threads: int) -> None:
    """Print one table: searches and thresholds beside the product of the same rows."""
    people, probes, dimension = (200, 3_000, 32) if quick else (10_000, 20_000, 256)
    random = np.random.default_rng(0)
    gallery = random.standard_normal((people, dimension), np.float32)
    who = random.integers(-people, people, probes)  # half of the probes are of nobody enrolled
    asked = 2.5 * random.standard_normal((probes, dimension), np.float32)
    asked[who >= 0] += gallery[who[who >= 0]]
    gallery, asked, codes = normalise_rows(gallery), normalise_rows(asked), np.arange(people)
    asked[::50] = 0
    half = np.arange(probes) % 2 == 0
    floor = f"bare product, blocks of {BLOCK}"
    work = {
        floor: partial(_product, asked, gallery, threads),
        "vidface searches": partial(search_outcomes, asked, gallery, who, codes, workers=threads),
        "vidface thresholds of all identities": partial(
            identity_thresholds, asked, gallery, who, codes, half, TARGETS, workers=threads
        ),
    }
    seconds = best_seconds(work, 1 if quick else 3)
    print_table(
        f"open set: {probes:,} searches x {people:,} identities, {dimension}-d, {threads} thread(s)",
        seconds,
        floor=floor,
        count=probes,
        unit="searches",
        peaks={name: peak_megabytes(method) for name, method in work.items()},
        notes={"vidface searches": _check(asked, gallery, who)},
    )


def _product(asked: Array, gallery: Array, workers: int) -> None:
    def work(tops: object) -> None:
        scores = np.empty(BLOCK * BLOCK, np.float32)
        for top in tops:
            left = asked[top : top + BLOCK]
            for side in range(0, len(gallery), BLOCK):
                right = gallery[side : side + BLOCK]
                np.matmul(left, right.T, out=scores[: len(left) * len(right)].reshape(len(left), len(right)))

    with threadpool_limits(1, user_api="blas"):
        in_threads(work, range(0, len(asked), BLOCK), workers)


def _check(asked: Array, gallery: Array, who: Array) -> str:
    """FNIR by whole rows of scores; the last bits of products may move single searches across the threshold."""
    mated, others = [], []
    for probe, person in zip(asked, who, strict=True):
        scores = gallery @ probe
        if person < 0:
            others.append(scores.max())
        else:
            mine, scores[person] = scores[person], -np.inf
            mated.append(mine if mine > scores.max() else -np.inf)
    refused = np.sort(others)[::-1][int(Fraction("1e-2") * len(others))]
    plain = np.mean(np.array(mated) <= refused)
    found = fnir_at_fpir(search_outcomes(asked, gallery, who, np.arange(len(gallery))), ["1e-2"])[0][0].fnir
    assert found is not None and abs(found - plain) < 2 / len(mated), (found, plain)
    return f"FNIR {found:.6f} at FPIR 1e-2, as by whole rows"
