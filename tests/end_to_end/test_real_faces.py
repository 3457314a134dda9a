"""Real faces, the whole way by the commands; every figure against plain numpy that shares no code with vidface."""

from __future__ import annotations

import csv
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from command_line import vidface
from plain_scores import retrieval

from vidface.demo.benchmark import Plan, make_benchmark
from vidface.demo.sources import faces_from_folder

THRESHOLDS = ["none", "0.25", "0.3", "0.4", "0.5"]
TARGETS = ["1e-2", "1e-3", "1e-4", "1e-5", "1e-6"]
PEOPLE = 80  # of those who have 6 or more pictures
DISTRACTORS = 25
OWN, NOISE = 3, 7  # 5 frames of 5 strangers, 1 thing, 1 covered face: no cluster should outnumber the person

PLAN = {"identities": PEOPLE, "videos_per_identity": 2, "distractors": DISTRACTORS, "seed": 11}
PLAN |= {"frames_per_video": OWN, "noise_frames": NOISE}


@pytest.fixture(scope="module")
def bench(
    shared_data: Path, photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """(manifest, features): two clips a person, 3 frames of him and 7 of noise each, and some distractors."""
    folder = tmp_path_factory.mktemp("real")
    unpack(photographs, folder / "faces")
    manifest = make_benchmark(
        folder / "bench",
        faces_from_folder(folder / "faces", min_images=6),
        Plan(**PLAN),
    )
    features = folder / "features.h5"
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    ran = vidface("extract", manifest, "-o", features, "--model", model, "--json", code=0).json
    videos = 2 * PEOPLE + DISTRACTORS
    assert (ran["videos"], ran["frames"]) == (videos, (OWN + NOISE) * videos)
    return manifest, features


def unpack(photographs: dict[str, dict[str, bytes]], folder: Path) -> None:
    """People with 6 or more pictures; distractors with 3; others with at most 2, lest one stranger fills a clip."""
    shown = [name for name, found in photographs.items() if len(found) >= 6][:PEOPLE]
    distractors = [name for name, found in photographs.items() if 3 <= len(found) < 6][:DISTRACTORS]
    strangers = [name for name, found in photographs.items() if len(found) <= 2]
    for group, most in ((shown, 1000), (distractors, 3), (strangers, 2)):
        for name in group:
            (folder / name).mkdir(parents=True)
            for file, data in list(photographs[name].items())[:most]:
                (folder / name / file).write_bytes(data)


@pytest.fixture(scope="module")
def table(bench: tuple[Path, Path]) -> Any:
    manifest, features = bench
    thresholds = ("--thresholds", ",".join(THRESHOLDS))
    return vidface("sweep", features, "--manifest", manifest, *thresholds, "--json", code=0).json


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_every_figure_agrees_with_plain_numpy(bench: tuple[Path, Path], table: Any, threshold: str) -> None:
    (row,) = [row for row in table["rows"] if row["threshold"] == threshold]
    wanted = oracle(*bench, None if threshold == "none" else float(threshold))
    for name, value in wanted.items():
        if name == "tpr@fpr":
            assert list(row[name]) == TARGETS
            for target in TARGETS:
                assert close(row[name][target], value[target]), (target, row[name][target], value[target])
        else:
            assert close(row[name], value), (name, row[name], value)
    assert row["counts"]["identities"] == PEOPLE
    assert row["counts"]["distractors"] == DISTRACTORS


def test_clustering_helps_with_the_best_threshold_inside_the_range(
    bench: tuple[Path, Path], table: Any
) -> None:
    rows = {row["threshold"]: row for row in table["rows"]}
    best = table["best"]["mAP@100"]
    assert best not in ("none", "0.5")
    assert rows[best]["mAP@100"] > rows["none"]["mAP@100"] + 0.02
    assert rows[best]["tpr@fpr"]["1e-3"] > rows["none"]["tpr@fpr"]["1e-3"] + 0.05
    # Joining everything and joining nothing are both worse.
    manifest, features = bench
    ends = vidface("sweep", features, "--manifest", manifest, "--thresholds=-1,0.9", "--json", code=0).json[
        "rows"
    ]
    assert all(end["mAP@100"] < rows[best]["mAP@100"] - 0.02 for end in ends)


def test_cluster_and_score_give_the_row_of_the_sweep(
    bench: tuple[Path, Path], table: Any, tmp_path: Path
) -> None:
    manifest, features = bench
    embeddings, scores = tmp_path / "embeddings.h5", tmp_path / "scores.json"
    ran = vidface("cluster", features, "-o", embeddings, "--threshold", 0.3, "--json", code=0).json
    one = vidface("score", embeddings, "--manifest", manifest, "-o", scores, "--json", code=0).json
    (row,) = [row for row in table["rows"] if row["threshold"] == "0.3"]
    for name in ("mAP@100", "hit@1", "hit@5", "hit@10", "tpr@fpr", "threshold@fpr", "ci95", "definitions"):
        assert one[name] == row[name], name
    assert one["mAP@100"] == pytest.approx(np.mean(list(one["per_identity"].values())), abs=1e-12)
    assert ran["kept"] / ran["frames"] == row["kept"]
    with h5py.File(embeddings) as file:
        norms = np.linalg.norm(file["embeddings"][:].astype(np.float64), axis=1)
        assert np.allclose(norms, 1, atol=1e-6)
        assert file["kept"][:].sum() == np.count_nonzero(file["labels"][:] == 0) == ran["kept"]


def close(found: float | None, wanted: float | None) -> bool:
    return found is wanted if wanted is None or found is None else abs(found - wanted) <= 1e-6


def oracle(manifest: Path, features: Path, threshold: float | None) -> dict[str, Any]:
    """All figures in float64, from the definitions."""
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with h5py.File(features) as file:
        offsets = file["offsets"][:]
        ids = [text.decode() for text in file["video_ids"][:]]
        assert ids == [row["video_id"] for row in rows]
        vectors = file["features"][:].astype(np.float64)
    embeddings = np.stack([pooled(vectors[a:b], threshold) for a, b in pairwise(offsets)])
    videos = [(row["video_id"], row["identity"], row["split"]) for row in rows]
    return retrieval(videos, embeddings) | {"tpr@fpr": verification(embeddings, rows)}


def pooled(frames: np.ndarray, threshold: float | None) -> np.ndarray:
    unit = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    kept = list(range(len(unit))) if threshold is None else largest_component(unit, threshold)
    mean = unit[kept].mean(axis=0)
    return mean / np.linalg.norm(mean)


def largest_component(unit: np.ndarray, threshold: float) -> list[int]:
    """Naive Union-Find over all pairs; ties: the larger sum of pairwise cosine, then the earlier frame."""
    cosine = unit @ unit.T
    parent = list(range(len(unit)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(unit)):
        for j in range(i):
            if cosine[i, j] >= threshold:
                parent[root(i)] = root(j)
    components = defaultdict(list)
    for i in range(len(unit)):
        components[root(i)].append(i)

    def rank(members: list[int]) -> tuple[float, float, int]:
        return -len(members), -sum(cosine[i, j] for i in members for j in members if j < i), members[0]

    return min(components.values(), key=rank)


def verification(embeddings: np.ndarray, rows: list[dict[str, str]]) -> dict[str, float | None]:
    """Sort all pairs; the largest TPR over all thresholds whose FPR is at most the target."""
    people = np.array([row["identity"] for row in rows])
    left, right = np.triu_indices(len(rows), 1)
    scores = np.einsum("pd,pd->p", embeddings[left], embeddings[right])
    genuine = (people[left] == people[right]) & (people[left] != "")
    order = np.argsort(-scores)
    accepted = np.cumsum(genuine[order])
    wrongly = np.cumsum(~genuine[order])
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    found: dict[str, float | None] = {}
    for target in TARGETS:
        allowed = Fraction(target) * int(wrongly[-1])
        if allowed < 1:
            found[target] = None
            continue
        fits = accepted[last_of_ties & (wrongly <= float(allowed))]
        found[target] = float(fits.max() / accepted[-1]) if len(fits) else 0.0
    return found
