"""The whole way from features to submissions at iQIYI-VID's size: times, memory, floors, and a check of the scores.

    python tools/full_size.py FOLDER [--share 1.0] [--threshold 0.4]

Makes the set with tools/make_iqiyi_size.py unless FOLDER holds it, then runs `vidface cluster`, `vidface score` and
`vidface submit` as anybody would, each in a process of its own, and prints for each its time, its rate, its peak memory
and its ratio to the floor: for clustering the bare product of every video's frames with themselves, for scoring the
bare product of all pairs and of templates and gallery, for submitting the latter. Floors are measured on a share of
the work, with as many threads as there are cores, and scaled. Then it computes again, in plain numpy and scipy, what
can be computed again in minutes: the embeddings of some videos, TPR at every threshold over all genuine pairs, the
share of accepted impostors among those of some videos, and the average precision of some people.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from benchmarks.common import best_seconds, installed
from benchmarks.verification import bare
from make_iqiyi_size import make
from numpy.typing import NDArray

from vidface.manifest.manifest import Manifest, read_manifest
from vidface.runtime import cpu_count
from vidface.scores.pairs.blocks import BLOCK

CHECKED_VIDEOS, CHECKED_PEOPLE, CHECKED_ROWS = 2000, 200, 500
FLOOR_ROWS = 25_000

Rows = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--threshold", type=float, default=0.4)
    asked = parser.parse_args()
    if not installed("scipy"):
        sys.exit("the check needs scipy: pip install -c constraints.txt -e '.[bench]'")
    folder, features = asked.folder, asked.folder / "features.h5"
    if not features.exists():
        begun = time.perf_counter()
        make(folder, asked.share)
        print(f"made {features} in {time.perf_counter() - begun:.0f} s")
    for old in ("embeddings.h5", "scores.json", "submission.txt", "submission.bin"):
        (folder / old).unlink(missing_ok=True)
    manifest = read_manifest(folder / "manifest.csv")
    with h5py.File(features) as file:
        offsets, dimension = file["offsets"][:], file["features"].shape[1]
    videos, frames = len(offsets) - 1, int(offsets[-1])
    pairs = videos * (videos - 1) // 2
    size = features.stat().st_size / 1e9
    print(
        f"{videos:,} videos, {frames:,} frames of {dimension} values, {size:.2f} GB; {pairs:,} pairs; ",
        end="",
    )
    print(f"{cpu_count()} cores", flush=True)

    truth = ["--manifest", folder / "manifest.csv"]
    embeddings = folder / "embeddings.h5"
    stages: dict[str, tuple[list[Any], int, str]] = {
        "cluster": (
            ["cluster", features, "--threshold", asked.threshold, "-o", embeddings],
            videos,
            "videos",
        ),
        "score": (["score", embeddings, *truth, "-o", folder / "scores.json"], pairs, "pairs"),
        "submit iqiyi": (
            ["submit", embeddings, *truth, "--format", "iqiyi", "-o", folder / "submission.txt"],
            videos,
            "videos",
        ),
        "submit lfrc": (
            ["submit", embeddings, *truth, "--format", "lfrc", "-o", folder / "submission.bin"],
            videos,
            "videos",
        ),
    }
    measured = {name: run(command) for name, (command, _, _) in stages.items()}
    floors = floor_seconds(folder, manifest, offsets)
    print(f"\n{'stage':14} {'seconds':>9} {'rate':>24} {'floor, s':>9} {'ratio':>6} {'peak, GB':>9}")
    for name, (seconds, peak) in measured.items():
        count, unit = stages[name][1:]
        floor = floors.get(name)
        of_floor = f"{floor:9.1f} {seconds / floor:6.2f}" if floor else f"{'':>9} {'':>6}"
        print(
            f"{name:14} {seconds:9.1f} {count / seconds:14,.0f} {unit + '/s':>9} {of_floor} {peak / 1e9:9.2f}"
        )
    scores = json.loads((folder / "scores.json").read_text())
    print(f"\nmAP@100 {scores['mAP@100']:.4f}, hit@1 {scores['hit@1']:.4f}")
    print("TPR at FPR " + ", ".join(f"{target}: {tpr:.4f}" for target, tpr in measured_at(scores)))
    check(folder, manifest, offsets, scores, asked.threshold)


def run(arguments: list[Any]) -> tuple[float, int]:
    """Run a command of vidface; (seconds, peak resident bytes of its process)."""
    begun = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "vidface", *map(str, arguments)]) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"vidface {arguments[0]} ended with {process.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss * 1024


def measured_at(scores: dict[str, Any]) -> list[tuple[str, float]]:
    """FPR target and TPR, where there are pairs enough for the target."""
    return [(target, tpr) for target, tpr in scores["tpr@fpr"].items() if tpr is not None]


def unit(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths == 0, 1, lengths)


def floor_seconds(folder: Path, manifest: Manifest, offsets: NDArray[np.int64]) -> dict[str, float]:
    """What the bare products of a stage take, from a share of them."""
    with h5py.File(folder / "features.h5") as file:
        some = min(CHECKED_VIDEOS, len(offsets) - 1)
        rows = file["features"][: offsets[some]].astype(np.float32)
    sample = [rows[a:b] for a, b in pairwise(offsets[: some + 1])]
    took = best_seconds({"bare": lambda: [frames @ frames.T for frames in sample]}, 1)["bare"]
    # The product of one video is too small for two threads: the floor is that of one core, shared out.
    cluster = took / some * (len(offsets) - 1) / cpu_count()

    with h5py.File(folder / "embeddings.h5") as file:
        embeddings = file["embeddings"][:]
    some_rows = embeddings[:FLOOR_ROWS]
    took = best_seconds({"bare": lambda: bare(some_rows, BLOCK, cpu_count())}, 2)["bare"]
    a_product = took / (len(some_rows) * (len(some_rows) + BLOCK) / 2)  # whole blocks on the diagonal
    splits = np.array(manifest.splits)
    names = {
        name for name, split in zip(manifest.identities, manifest.splits, strict=True) if split == "train"
    }
    search = a_product * len(names - {""}) * np.count_nonzero(splits == "val")
    pairs = len(embeddings) * (len(embeddings) - 1) / 2
    return {"cluster": cluster, "score": a_product * pairs + search, "submit iqiyi": search}


def check(
    folder: Path, manifest: Manifest, offsets: NDArray[np.int64], scores: dict[str, Any], threshold: float
) -> None:
    """Compute a sample of everything again, in another way; raises AssertionError where it differs."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    random = np.random.default_rng(0)
    with h5py.File(folder / "embeddings.h5") as file:
        embeddings, kept = file["embeddings"][:], file["kept"][:]
    chosen = np.sort(random.choice(len(embeddings), min(CHECKED_VIDEOS, len(embeddings)), replace=False))
    furthest, other_sizes = 0.0, 0
    with h5py.File(folder / "features.h5") as file:
        for video in chosen.tolist():
            frames = unit(file["features"][offsets[video] : offsets[video + 1]].astype(np.float32))
            _, labels = connected_components(csr_array(frames @ frames.T >= threshold))
            sizes = np.bincount(labels)
            other_sizes += int(sizes.max() != kept[video])
            # Where clusters tie for the largest, the rule is tested elsewhere: here any of them may be it.
            means = [
                unit(frames[labels == k].mean(axis=0, keepdims=True))[0]
                for k in np.flatnonzero(sizes == sizes.max())
            ]
            furthest = max(furthest, min(float(np.abs(mean - embeddings[video]).max()) for mean in means))
    print(
        f"embeddings of {len(chosen):,} videos, by scipy's connected components: differ by {furthest:.1e}, ",
        end="",
    )
    print(f"{other_sizes} clusters of another size")
    assert furthest < 1e-5 and other_sizes == 0

    people = np.array(manifest.identities)
    known = np.flatnonzero(people != "")
    known = known[np.argsort(people[known], kind="stable")]
    groups = np.split(known, np.flatnonzero(people[known][1:] != people[known][:-1]) + 1)
    genuine = np.concatenate(
        [(embeddings[group] @ embeddings[group].T)[np.triu_indices(len(group), 1)] for group in groups]
    )
    rows = random.choice(len(embeddings), min(CHECKED_ROWS, len(embeddings)), replace=False)
    impostors = embeddings[rows] @ embeddings.T
    same = (people[rows][:, None] == people) & (people[rows][:, None] != "")
    impostors[same] = -2
    impostors[np.arange(len(rows)), rows] = -2
    of_sample = np.count_nonzero(impostors > -2)
    print(f"{len(genuine):,} genuine pairs, all; {of_sample:,} impostor pairs, those of {len(rows)} videos:")
    for target, _ in measured_at(scores):
        least = scores["threshold@fpr"][target]
        tpr, stated = float(np.mean(genuine >= np.float32(least))), scores["tpr@fpr"][target]
        fpr = np.count_nonzero(impostors >= np.float32(least)) / of_sample
        print(f"  FPR {target}: TPR {tpr:.6f}, stated {stated:.6f}; FPR of the sample {fpr:.2e}")
        assert abs(tpr - stated) <= 3 / len(genuine)  # a score may differ in its last bit

    splits = np.array(manifest.splits)
    gallery = np.flatnonzero(splits == "val")
    chosen_people = random.permutation(sorted(set(people[gallery]) - {""}))[:CHECKED_PEOPLE]
    furthest = 0.0
    for name in chosen_people:
        enrolled = embeddings[(splits == "train") & (people == name)]
        score = (embeddings[gallery] @ enrolled.mean(axis=0)).astype(np.float64)
        hits = people[gallery][np.argsort(-score, kind="stable")[:100]] == name
        precision = float(np.sum(hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)))
        precision /= np.count_nonzero(people[gallery] == name)
        furthest = max(furthest, abs(precision - scores["per_identity"][name]))
    print(f"average precision of {len(chosen_people)} people, by a whole sort: differs by {furthest:.1e}")
    assert furthest < 1e-6
    print("all agree")


if __name__ == "__main__":
    main()
