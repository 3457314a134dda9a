"""Retrieval at the size of iQIYI-VID: every identity's template against the gallery, and mAP@100.

The floor is the bare product of queries and gallery in blocks, by BLAS. Peers rank and score a part of the queries,
since some would take minutes; their times are scaled, and the rows say so. FAISS has numpy's kind of kernels here; as
its wheel comes it may have others (`vidface doctor` names them).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.common import best_seconds, installed, peak_megabytes, print_table
from vidface.embeddings.exact import normalise_rows
from vidface.scores.metrics.ranking import average_precision_at_k
from vidface.scores.search.faiss_search import faiss
from vidface.scores.search.retrieval import search

K = 100
BLOCKS = ((256, 1024), (512, 2048), (1024, 4096), (2048, 8192))
PART = 200  # queries that the peers get
FEW = 50  # queries that the slowest get

Array = np.ndarray


def bench(quick: bool, threads: int) -> None:
    """Print one table a dimension."""
    people, videos = (200, 2_000) if quick else (10_034, 50_000)
    for dimension in (32,) if quick else (256, 512):
        _table(people, videos, dimension, threads, repeats=1 if quick else 2)


def _data(people: int, videos: int, dimension: int) -> tuple[Array, Array, Array]:
    """(templates, gallery, person of every video): unit rows around people; every tenth video is nobody's."""
    random = np.random.default_rng(0)
    templates = random.standard_normal((people, dimension), np.float32)
    person = random.integers(0, people, videos)
    gallery = templates[person] + 2.5 * random.standard_normal((videos, dimension), np.float32)
    nobody = random.random(videos) < 0.1
    gallery[nobody] = random.standard_normal((int(nobody.sum()), dimension), np.float32)
    person[nobody] = -1
    return normalise_rows(templates), normalise_rows(gallery), person


def _product(queries: Array, gallery: Array, rows: int, columns: int) -> None:
    block = np.empty((rows, columns), np.float32)
    for first in range(0, len(queries), rows):
        asked = queries[first : first + rows]
        for start in range(0, len(gallery), columns):
            part = gallery[start : start + columns]
            np.matmul(asked, part.T, out=block[: len(asked), : len(part)])


def _table(people: int, videos: int, dimension: int, threads: int, repeats: int) -> None:
    queries, gallery, person = _data(people, videos, dimension)
    ids = [f"{number:07d}" for number in np.random.default_rng(1).permutation(videos)]
    relevant = np.bincount(person[person >= 0], minlength=people)
    known = np.flatnonzero(relevant)

    def precision(ranked: Array, rows: Array) -> float:
        hits = person[ranked] == rows[:, None]
        return float(average_precision_at_k(hits, relevant[rows]).mean())

    def ours() -> float:
        _, ranked = search(queries[known], gallery, ids, K, workers=threads)
        return precision(ranked, known)

    floors = {f"bare product, blocks of {a} x {b}": (a, b) for a, b in BLOCKS}
    work: dict[str, Callable[[], object]] = {
        name: lambda sides=sides: _product(queries[known], gallery, *sides) for name, sides in floors.items()
    }
    work["vidface search + AP"] = ours
    with threadpool_limits(threads):
        seconds = best_seconds(work, repeats)
    floor = min(floors, key=seconds.__getitem__)
    shown = {
        f"{floor} (best of {len(floors)})": seconds[floor],
        "vidface search + AP": seconds["vidface search + AP"],
    }
    notes = {"vidface search + AP": _check(queries[known], gallery, ids, known, person, relevant, ours())}
    peaks = {"vidface search + AP": peak_megabytes(ours)}
    rest = _peers(queries[known], gallery, person, known, relevant, notes)
    print_table(
        f"retrieval, mAP@{K}: {len(known):,} identities x {videos:,} videos, {dimension}-d",
        shown | rest,
        floor=next(iter(shown)),
        count=len(known),
        unit="queries",
        peaks=peaks,
        notes=notes,
    )


def _check(
    queries: Array, gallery: Array, ids: list[str], known: Array, person: Array, relevant: Array, found: float
) -> str:
    """Ours against a whole stable sort of float64 scores of some queries.

    The product in float64 is off by 1e-15, so where two scores are nearer than that the order may differ; none are.
    """
    rows = np.linspace(0, len(known) - 1, min(PART, len(known))).astype(int)
    by_id = np.argsort(ids)
    _, ranked = search(queries[rows], gallery, ids, K)
    wide = gallery[by_id].astype(np.float64)
    for row, mine in zip(rows, ranked, strict=True):
        order = np.argsort(-(wide @ queries[row].astype(np.float64)), kind="stable")[:K]
        assert np.array_equal(by_id[order], mine), f"query {row}"
    return f"mAP {found:.6f}; {len(rows)} lists equal a whole sort in float64"


def _peers(
    queries: Array, gallery: Array, person: Array, known: Array, relevant: Array, notes: dict[str, str]
) -> dict[str, float]:
    """Seconds of what others do, scaled to all queries."""
    seconds = {}

    def take(name: str, count: int, work: Callable[[Array], object], check: str) -> None:
        rows = np.arange(min(count, len(known)))
        took = best_seconds({name: lambda: work(rows)}, 1)[name]
        seconds[name] = took * len(known) / len(rows)
        notes[name] = f"{check}; {len(rows)} queries, scaled" if len(rows) < len(known) else check

    def sort(rows: Array) -> Array:
        return np.argsort(-(queries[rows] @ gallery.T), axis=1)[:, :K]

    take("whole matrix + argsort", FEW, sort, "ranking only")

    def partition(rows: Array) -> None:
        for first in range(0, len(rows), 64):
            scores = queries[rows[first : first + 64]] @ gallery.T
            best = np.argpartition(-scores, K, axis=1)[:, :K]
            np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)

    take("blocks of 64 + argpartition", PART, partition, "ranking only")
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    take(
        "faiss IndexFlatIP",
        4 * PART,
        lambda rows: index.search(queries[rows], K),
        "ranking only, float32 ties",
    )
    import torch

    tensors = torch.from_numpy(queries), torch.from_numpy(gallery)

    def topk(rows: Array) -> None:
        for first in range(0, len(rows), 64):
            torch.topk(tensors[0][rows[first : first + 64]] @ tensors[1].T, K, dim=1)

    take("torch mm + topk, blocks of 64", PART, topk, "ranking only")
    _, ranked = index.search(queries[: len(known)][:PART], K)
    rows = np.arange(len(ranked))
    hits = person[ranked] == known[rows][:, None]
    if installed("ranx"):
        from ranx import Qrels, Run, evaluate

        def ranx(part: Array) -> None:
            qrels = {str(r): {str(v): 1 for v in np.flatnonzero(person == known[r])} for r in part}
            run = {str(r): {str(v): float(K - i) for i, v in enumerate(ranked[r])} for r in part}
            evaluate(Qrels(qrels), Run(run), f"map@{K}")

        take("ranx, AP alone", FEW, ranx, "no ranking")
    else:
        notes["ranx, AP alone"] = "absent: pip install -e '.[bench]'"
    if installed("torchmetrics"):
        from torchmetrics.functional.retrieval import retrieval_average_precision

        def metrics(part: Array) -> None:
            falling = torch.arange(K, 0, -1, dtype=torch.float32)
            for row in part:
                retrieval_average_precision(falling, torch.from_numpy(hits[row]))

        take("torchmetrics, AP alone", FEW, metrics, "no ranking; another definition: / hits found")
    else:
        notes["torchmetrics, AP alone"] = "absent: pip install -e '.[bench]'"
    return seconds
