"""The challenge files: read back they score as memory does, and what is wrong with one is found."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from command_line import vidface

RETRIEVAL = ("mAP@100", "hit@1", "hit@5", "hit@10")


class Files(NamedTuple):
    """The two submissions of the small set, and its scores from memory."""

    text: Path
    binary: Path
    scores: Any


@pytest.fixture(scope="module")
def files(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("submissions")
    text, binary = folder / "ranking.txt", folder / "matrix.bin"
    # One video of the set has no usable frame, so every step that sees it ends with 1.
    told = ("--manifest", small.manifest)
    vidface("submit", small.embeddings, *told, "--format", "iqiyi", "-o", text, code=1)
    vidface("submit", small.embeddings, *told, "--format", "lfrc", "-o", binary, code=1)
    scores = vidface("score", small.embeddings, *told, "--targets", "0.1,1e-2", "--json", code=1).json
    assert 0.3 < scores["mAP@100"] < 0.98  # hits and misses, else little is compared
    assert 0.1 < scores["tpr@fpr"]["1e-2"] < 1
    return Files(text, binary, scores)


def scored(small: Any, path: Path, code: int) -> Any:
    told = ("--manifest", small.manifest, "--targets", "0.1,1e-2", "--json")
    return vidface("score", path, *told, code=code).json


def test_the_iqiyi_file_read_back_scores_the_same(small: Any, files: Files) -> None:
    back = scored(small, files.text, 0)  # a ranking does not show it
    for name in RETRIEVAL:
        assert back[name] == files.scores[name]
    assert back["per_identity"] == files.scores["per_identity"]
    assert back["tpr@fpr"] is None
    assert any("ranking" in warning for warning in back["warnings"])


def test_the_lfrc_file_read_back_scores_the_same(small: Any, files: Files) -> None:
    back = scored(small, files.binary, 1)
    for name in (*RETRIEVAL, "tpr@fpr", "threshold@fpr", "per_identity"):
        assert back[name] == files.scores[name]
    assert back["counts"]["zero_embeddings"] == files.scores["counts"]["zero_embeddings"] == 1
    assert any("no usable frame" in warning for warning in back["warnings"])


def test_the_files_have_the_organisers_layout(small: Any, files: Files) -> None:
    lines = files.text.read_text().splitlines()
    assert len(lines) == 12
    assert all(line.split(" ")[0].startswith("person") for line in lines)
    assert all(word.endswith(".mp4") for line in lines for word in line.split(" ")[1:])
    data = files.binary.read_bytes()
    rows = 12 * 5 + 6
    assert data[:16] == struct.pack("<4i", rows, 48, 192, 5)
    assert len(data) == 16 + rows * 48 * 4


def test_the_check_is_clean_on_good_files(small: Any, files: Files) -> None:
    clean = vidface("submit", "--check", files.text, "--manifest", small.manifest, "--json", code=0).json
    assert (clean["ok"], clean["problems"]) == (True, [])
    # The video without a usable frame is told, and nothing else.
    told = vidface(
        "submit", small.embeddings, "--check", files.binary, "--manifest", small.manifest, "--json", code=1
    )
    (problem,) = told.json["problems"]
    assert problem["kind"] == "zero-row" and "v05-3" in problem["message"]


def repeated(lines: list[str]) -> list[str]:
    words = lines[0].split()
    return [" ".join([*words[:-1], words[1]]), *lines[1:]]


def unknown(lines: list[str]) -> list[str]:
    return [lines[0] + " nobody.mp4", *lines[1:]]


def enrolment(lines: list[str]) -> list[str]:
    return [lines[0] + " v00-0.mp4", *lines[1:]]


def missing(lines: list[str]) -> list[str]:
    return lines[:-1]


def twice(lines: list[str]) -> list[str]:
    return [*lines, lines[2]]


def too_many(lines: list[str]) -> list[str]:
    return [" ".join(["person00", *(f"x{number}.mp4" for number in range(101))]), *lines[1:]]


@pytest.mark.parametrize(
    ("spoil", "kind", "names"),
    [
        (repeated, "repeated-video", "person00"),
        (unknown, "unknown-video", "nobody.mp4"),
        (enrolment, "not-in-gallery", "v00-0.mp4"),
        (missing, "missing-identity", "person11"),
        (twice, "repeated-identity", "person02"),
        (too_many, "too-many", "101"),
    ],
)
def test_the_check_of_a_spoiled_iqiyi_file(
    small: Any, files: Files, tmp_path: Path, spoil: Callable[[list[str]], list[str]], kind: str, names: str
) -> None:
    path = tmp_path / "spoiled.txt"
    path.write_text("\n".join(spoil(files.text.read_text().splitlines())) + "\n")
    ran = vidface("submit", "--check", path, "--manifest", small.manifest, "--json", code=1)
    found = [problem for problem in ran.json["problems"] if problem["kind"] == kind]
    assert found and names in found[0]["message"]
    if spoil is not too_many:  # whose made-up videos are unknown as well
        assert len(ran.json["problems"]) == 1


def short(matrix: np.ndarray) -> np.ndarray:
    return matrix[:-1]


def not_a_number(matrix: np.ndarray) -> np.ndarray:
    matrix[7, 3] = np.nan
    return matrix


def not_unit(matrix: np.ndarray) -> np.ndarray:
    matrix[7] *= 1.1
    return matrix


def swapped(matrix: np.ndarray) -> np.ndarray:
    matrix[[7, 8]] = matrix[[8, 7]]
    return matrix


def wide(matrix: np.ndarray) -> np.ndarray:
    return np.hstack([matrix, np.zeros((len(matrix), 500), np.float32)])


@pytest.mark.parametrize(
    ("spoil", "kind", "names"),
    [
        (short, "row-count", "65 rows"),
        (not_a_number, "not-finite", "v01-2"),
        (not_unit, "not-unit", "v01-2"),
        (swapped, "order", "v01-2"),
        (wide, "dimension", "512"),
        (bytes, "format", ""),
    ],
)
def test_the_check_of_a_spoiled_lfrc_file(
    small: Any, files: Files, tmp_path: Path, spoil: Any, kind: str, names: str
) -> None:
    path = tmp_path / "spoiled.bin"
    data = files.binary.read_bytes()
    if spoil is bytes:
        path.write_bytes(data[:-2])
    else:
        matrix = spoil(np.frombuffer(data[16:], "<f4").reshape(-1, 48).copy())
        rows, columns = matrix.shape
        path.write_bytes(struct.pack("<4i", rows, columns, 4 * columns, 5) + matrix.astype("<f4").tobytes())
    ran = vidface("submit", small.embeddings, "--check", path, "--manifest", small.manifest, "--json", code=1)
    found = [problem for problem in ran.json["problems"] if problem["kind"] == kind]
    assert found and names in found[0]["message"]
    if kind not in ("order", "dimension"):
        # What can be seen cannot be scored by accident either.
        assert str(path) in vidface("score", path, "--manifest", small.manifest, code=1).error
