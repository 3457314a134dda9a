"""A set in the shape of YouTube Faces, of real faces, the whole way; every figure against plain numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from command_line import vidface

PEOPLE, SPLITS = 40, 10
OWN, STRANGERS = 1, 2  # frames of a video: hard enough without clustering for errors in most splits


class YouTubeFaces(NamedTuple):
    root: Path
    splits: Path
    embeddings: Path
    features: Path
    manifest: Path


@pytest.fixture(scope="module")
def ytf(
    shared_data: Path, photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> YouTubeFaces:
    """aligned_images_DB of 40 people with two videos each, and a splits.txt of 10 splits by 4 people."""
    root = tmp_path_factory.mktemp("ytf")
    people = write_videos(photographs, root / "aligned_images_DB")
    splits = root / "splits.txt"
    splits.write_text("\n".join(pair_lines(people)) + "\n")
    manifest, features, embeddings = root / "set.csv", root / "features.h5", root / "embeddings.h5"
    vidface("manifest", "from-ytf", root / "aligned_images_DB", "-o", manifest, code=0)
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    vidface("extract", manifest, "-o", features, "--model", model, "--workers", 0, code=0)
    vidface("cluster", features, "-o", embeddings, "--threshold", "none", code=0)
    return YouTubeFaces(root, splits, embeddings, features, manifest)


def write_videos(photographs: dict[str, dict[str, bytes]], folder: Path) -> list[str]:
    """Videos of one frame of their person and two of strangers, in numbers that only natural order sorts."""
    pictures = {name: list(found.values()) for name, found in photographs.items()}
    shown = [name for name in pictures if len(pictures[name]) >= 6][:PEOPLE]
    strangers = iter([found[0] for found in pictures.values() if len(found) == 1])
    for name in shown:
        for video in range(2):
            frames = pictures[name][video * OWN : (video + 1) * OWN]
            frames += [next(strangers) for _ in range(STRANGERS)]
            place = folder / name / str(video)
            place.mkdir(parents=True)
            for number, frame in zip((9, 10, 100), frames, strict=True):
                (place / f"aligned_detect_{video}.{number}.jpg").write_bytes(frame)
    return shown


def pair_lines(people: list[str]) -> list[str]:
    lines = []
    for split in range(SPLITS):
        mine = people[4 * split : 4 * split + 4]
        pairs = [f"{name}/0, {name}/1, 1" for name in mine]
        pairs += [f"{a}/{i}, {b}/{1 - i}, 0" for i in (0, 1) for a, b in (mine[:2], mine[2:])]
        lines += [f"{split + 1}, {number}, {pair}" for number, pair in enumerate(pairs, 1)]
    return lines


def oracle(features: Path, splits: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, labels and splits of all listed pairs, from the features alone."""
    with h5py.File(features) as file:
        offsets, vectors = file["offsets"][:], file["features"][:].astype(float)
        ids = [text.decode() for text in file["video_ids"][:]]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    video = {}
    for name, start, stop in zip(ids, offsets[:-1], offsets[1:], strict=True):
        mean = vectors[start:stop].mean(axis=0)
        video[name] = mean / np.linalg.norm(mean)
    rows = [line.split(", ") for line in splits.read_text().splitlines()]
    distances = [float(np.sum((video[row[2]] - video[row[3]]) ** 2)) for row in rows]
    same, split = [row[-1] == "1" for row in rows], [int(row[0]) for row in rows]
    return np.array(distances), np.array(same), np.array(split)


def by_splits(distances: np.ndarray, same: np.ndarray, split: np.ndarray) -> list[float]:
    accuracies = []
    for number in range(1, SPLITS + 1):
        others, mine = split != number, split == number
        levels = np.arange(0, 4, 0.01)
        right = [np.mean((distances[others] < level) == same[others]) for level in levels]
        accuracies.append(float(np.mean((distances[mine] < levels[int(np.argmax(right))]) == same[mine])))
    return accuracies


def test_ten_splits_against_numpy(ytf: YouTubeFaces) -> None:
    options = ("--manifest", ytf.manifest, "--protocol", "ytf", "--pairs", ytf.splits, "--targets", "0.1")
    result: Any = vidface("score", ytf.embeddings, *options, "--json", code=0).json
    distances, same, split = oracle(ytf.features, ytf.splits)
    accuracies = by_splits(distances, same, split)
    assert [fold["accuracy"] for fold in result["folds"]] == pytest.approx(accuracies, abs=1e-9)
    assert result["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-9)
    assert result["standard_error"] == pytest.approx(np.std(accuracies, ddof=1) / 10**0.5, abs=1e-9)
    assert 0.6 < result["accuracy"] < 0.99 and len(set(accuracies)) > 2
    threshold = np.sort(distances[~same])[4]  # 40 impostors: 4 of them may be accepted
    assert result["tpr@fpr"]["0.1"] == pytest.approx(np.mean(distances[same] < threshold), abs=1e-12)
    wins = distances[same][:, None] < distances[~same][None]
    assert result["auc"] == pytest.approx(wins.mean(), abs=1e-12)
    assert (result["counts"]["pairs"], result["counts"]["folds"], result["counts"]["left_out"]) == (80, 10, 0)
    frames = result["definitions"]["frames"]
    assert "folders of frames whole" in frames and "3 to 3, median 3, 240 in all" in frames
    assert "no clustering, 240 of them kept" in frames and "flip off" in frames


def test_the_text_says_frames_folds_and_rule(ytf: YouTubeFaces) -> None:
    options = ("--manifest", ytf.manifest, "--protocol", "ytf", "--pairs", ytf.splits)
    lines = vidface("score", ytf.embeddings, *options, code=0).out.splitlines()
    assert lines[1].startswith("accuracy by folds")
    assert sum(line.split()[:2] == [str(n), "8"] for n in range(1, 11) for line in lines) == 10
    assert any(line.startswith("frames: folders of frames whole") for line in lines)
    assert any(line.startswith("FPR rule at-most") for line in lines)
