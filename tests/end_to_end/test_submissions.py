"""The challenge files: read back they score as memory does, and what is wrong with one is found."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, NamedTuple

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
