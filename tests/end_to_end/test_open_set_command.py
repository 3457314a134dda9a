"""Open-set identification by the command: its files, its figure and its text; the numbers have oracles of their own."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Small, vidface
from PIL import Image

TARGETS = "0.4,1e-1,1e-3"


def command(small: Small) -> tuple[object, ...]:
    told = ("--protocol", "openset", "--enrolment-split", "train", "--gallery-split", "val")
    return ("score", small.embeddings, "--manifest", small.manifest, *told, "--targets", TARGETS)


@pytest.fixture(scope="module")
def scores(small: Small, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What was scored, and the folder with ``det.csv``."""
    folder = tmp_path_factory.mktemp("openset")
    files = ("-o", folder / "s.json", "--det", folder / "det.csv")
    vidface(*command(small), *files, code=1)  # one video failed
    return json.loads((folder / "s.json").read_text()), folder


def test_the_numbers_rest_on_the_splits_of_the_options(scores: tuple[dict[str, Any], Path]) -> None:
    found, _ = scores
    assert found["protocol"] == "openset" and found["fpr_rule"] == "at-most"
    assert found["definitions"]["splits"] == "train -> val"
    counts = found["counts"]
    assert (counts["enrolled_identities"], counts["mated_searches"]) == (12, 36)
    assert (counts["non_mated_searches"], counts["searches_without_identity"]) == (6, 6)
    assert counts["zero_embeddings"] == counts["searches_without_usable_frame"] == 1
    assert 0 < found["fnir@fpir"]["0.4"] < 1 and found["fnir@fpir"]["1e-3"] is None
    assert found["tpir@fpir"]["0.4"] == pytest.approx(1 - found["fnir@fpir"]["0.4"])
    assert found["inputs"]["model_name"] and len(found["inputs"]["manifest_sha256"]) == 64


def test_the_curve_is_written_with_all_its_points(scores: tuple[dict[str, Any], Path]) -> None:
    found, folder = scores
    text = (folder / "det.csv").read_text()
    assert text.startswith("threshold,fpir,fnir\n,0.0,1.0\n")
    rows = list(csv.DictReader(text.splitlines()))
    curve = {name: np.array([float(row[name] or "inf") for row in rows]) for name in rows[0]}
    assert (np.diff(curve["threshold"][1:]) < 0).all()
    assert (np.diff(curve["fpir"]) >= 0).all() and (np.diff(curve["fnir"]) <= 0).all()
    assert len(set(curve["fpir"].tolist())) == 1 + 6  # searches of strangers, each with a score of its own
    at = curve["threshold"] == found["threshold@fpir"]["0.4"]
    assert curve["fnir"][at].tolist() == [found["fnir@fpir"]["0.4"]]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_curve_is_drawn(
    small: Small, scores: tuple[dict[str, Any], Path], tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"curve.{suffix}"
    out = vidface(*command(small), "--det", target, code=1).out
    if suffix == "png":
        with Image.open(target) as image:
            assert min(image.size) > 500
    else:
        text = target.read_text()
        assert "36 mated searches" in text and "6 non-mated searches" in text and "mathdefault" not in text
    line = next(line for line in out.splitlines() if line.startswith("FNIR at FPIR 0.4 "))
    assert line.split()[4] == f"{scores[0]['fnir@fpir']['0.4']:.4f}"
    assert "12 enrolled identities" in out and "FPIR rule at-most" in out
