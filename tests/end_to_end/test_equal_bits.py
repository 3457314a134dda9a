"""The same bits with other kernels of BLAS, whose additions come in another order: as on another machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import python_path
from threadpoolctl import threadpool_info

from vidface.arrays import LONGEST
from vidface.embeddings.embed import embed_sweep, embed_videos
from vidface.embeddings.exact import normalise_rows, product_error
from vidface.scores.metrics.all_pairs import tpr_of_all_pairs
from vidface.scores.search.retrieval import search

KERNELS = ("Prescott", "Haswell", "SkylakeX")  # of 2004, 2013 and 2017


def kernel() -> str:
    """What numpy's BLAS runs on here, such as Haswell; empty where it is not OpenBLAS."""
    np.ones((2, 2)) @ np.ones((2, 2))
    found = [blas for blas in threadpool_info() if "numpy" in blas["filepath"]]
    return str(found[0].get("architecture", "")) if found else ""


def digests() -> dict[str, str]:
    """Of everything that rests on products by BLAS: a threshold that is a cosine, so that rounding would show."""
    random = np.random.default_rng(7)
    people = random.standard_normal((40, 96))
    videos = np.repeat(people, 25, axis=0) + random.standard_normal((1000, 96))
    offsets = np.arange(0, 1001, 25)
    unit = normalise_rows(videos[:25]).astype(np.float64)
    threshold = float(np.sort((unit @ unit.T)[np.triu_indices(25, 1)])[150])
    embeddings, kept, labels, _ = embed_videos(videos.astype(np.float16), offsets, threshold)
    weighted = embed_videos(videos, offsets, threshold, pool="size-norm")
    swept = embed_sweep(videos, offsets, [threshold, 0.3, 0.6, None])
    rows = normalise_rows(np.repeat(people, 50, axis=0) + 2 * random.standard_normal((2000, 96)))
    who = np.repeat(np.arange(40), 50)
    verified = tpr_of_all_pairs(rows, who, ["1e-4", "1e-2"])
    found = search(rows[:300], rows, [str(i) for i in range(2000)], k=20)
    made = {
        "products": rows @ rows.T,
        "embeddings": np.concatenate([embeddings.ravel(), weighted[0].ravel(), swept[0].ravel()]),
        "labels": np.concatenate([labels, kept, swept[1].ravel()]),
        "weights": weighted[3],
        "thresholds": np.array([verified.tpr, verified.threshold]),
        "search": np.concatenate([np.asarray(part).ravel() for part in found]),
    }
    exact = rows.astype(np.float64) @ rows.T.astype(np.float64)
    assert np.abs(made["products"] - exact).max() <= product_error(96, LONGEST)
    return {
        name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        for name, array in made.items()
    }


if __name__ == "__main__":
    print(kernel(), json.dumps(digests()))


@pytest.mark.skipif(
    kernel() not in KERNELS, reason="numpy's BLAS is not OpenBLAS with kernels to choose from"
)
def test_other_kernels_of_blas_give_the_same_bits() -> None:
    said = {}
    for kind in KERNELS[: KERNELS.index(kernel()) + 1]:
        environment = {
            **os.environ,
            "OPENBLAS_CORETYPE": kind,
            "PYTHONPATH": python_path(Path(__file__).parents[1]),
        }
        done = subprocess.run(
            [sys.executable, Path(__file__)], env=environment, capture_output=True, text=True, check=True
        )
        there, _, values = done.stdout.partition(" ")
        if there == kind:
            said[kind] = json.loads(values)
    if len(said) < 2:
        pytest.skip("OpenBLAS did not take another kind of kernel")
    products = {values.pop("products") for values in said.values()}
    assert len(products) > 1, "the kernels must differ, or the test shows nothing"
    first, *others = said.values()
    assert all(values == first for values in others)
