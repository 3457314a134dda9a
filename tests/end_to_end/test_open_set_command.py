"""Open-set identification of real faces, the whole way by the commands, against plain numpy that shares no code."""

from __future__ import annotations

import csv
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from command_line import vidface, write_manifest
from PIL import Image

ENROLLED, STRANGERS, UNKNOWN = 40, 60, 40
TARGETS = ["0.3", "1e-1", "0.05", "1e-3"]


class Set(NamedTuple):
    """A manifest, its embeddings and what was scored."""

    manifest: Path
    embeddings: Path
    scores: Any
    folder: Path


@pytest.fixture(scope="module")
def faces(
    shared_data: Path, photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Set:
    """Clips of one picture: 2 a person to enrol; coarse ones to search for, 2 a person and one of each stranger."""
    folder = tmp_path_factory.mktemp("openset")
    people = {name: list(pictures.values()) for name, pictures in photographs.items()}
    several = [name for name, pictures in people.items() if len(pictures) >= 4][:ENROLLED]
    few = [name for name, pictures in people.items() if len(pictures) < 4]
    rows = []

    def add(name: str, identity: str, split: str, picture: bytes) -> None:
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        if split == "test":  # coarse, so that there is something to miss
            image = image.resize((16, 16)).resize((112, 112), Image.Resampling.BILINEAR)
        image.save(folder / f"{name}.png", compress_level=1)
        rows.append((name, f"{name}.png", identity, split))

    for person in several:
        for take, picture in enumerate(people[person][:4]):
            add(f"{person}-{take}", person, "enrol" if take < 2 else "test", picture)
    for number, person in enumerate(few[: STRANGERS + UNKNOWN]):
        add(f"other-{number}", person if number < STRANGERS else "", "test", people[person][0])
    manifest = write_manifest(folder / "set.csv", rows)
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    features, embeddings = folder / "features.h5", folder / "embeddings.h5"
    vidface("extract", manifest, "-o", features, "--model", model, code=0)
    vidface("cluster", features, "-o", embeddings, "--threshold", "none", code=0)
    vidface(*command(manifest, embeddings), "-o", folder / "s.json", "--det", folder / "det.csv", code=0)
    return Set(manifest, embeddings, json.loads((folder / "s.json").read_text()), folder)


def command(manifest: Path, embeddings: Path) -> list[object]:
    splits = ["--enrolment-split", "enrol", "--gallery-split", "test", "--targets", ",".join(TARGETS)]
    return ["score", embeddings, "--manifest", manifest, "--protocol", "openset", *splits]


def searches(found: Set) -> tuple[list[tuple[float, bool]], list[float]]:
    """Of mated searches the mate's score and whether nobody reaches it; of others the best score; from the features."""
    with h5py.File(found.folder / "features.h5", "r") as file:
        ids = [text.decode() for text in file["video_ids"][:]]
        features = file["features"][:].astype(np.float64)
        assert file["offsets"][:].tolist() == list(range(len(ids) + 1))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    with found.manifest.open() as file:
        rows = {row["video_id"]: row for row in csv.DictReader(file)}
    enrolled: dict[str, np.ndarray] = {}
    for video, feature in zip(ids, features, strict=True):
        if rows[video]["split"] == "enrol":
            enrolled[rows[video]["identity"]] = enrolled.get(rows[video]["identity"], 0) + feature
    templates = {name: total / np.linalg.norm(total) for name, total in enrolled.items()}
    mated, others = [], []
    for video, feature in zip(ids, features, strict=True):
        if rows[video]["split"] == "test":
            scores = {name: float(feature @ template) for name, template in templates.items()}
            own = scores.pop(rows[video]["identity"], None)
            if own is None:
                others.append(max(scores.values()))
            else:
                mated.append((own, own > max(scores.values())))
    return mated, others


def test_real_faces_agree_with_plain_numpy(faces: Set) -> None:
    mated, others = searches(faces)
    assert (len(mated), len(others)) == (2 * ENROLLED, STRANGERS + UNKNOWN)
    result = faces.scores
    assert result["protocol"] == "openset" and result["fpr_rule"] == "at-most"
    for target in TARGETS[:-1]:
        refused = sorted(others, reverse=True)[int(Fraction(target) * len(others))]
        fnir = sum(not (first and own > refused) for own, first in mated) / len(mated)
        assert 0.02 < fnir < 0.98, "a set where nothing or all is missed shows nothing"
        assert result["fnir@fpir"][target] == pytest.approx(fnir)
        assert result["tpir@fpir"][target] == pytest.approx(1 - fnir)
        assert result["fpir_reached"][target] == pytest.approx(float(Fraction(target)))
        assert refused < result["threshold@fpir"][target] <= min(s for s in others if s > refused) + 1e-6
    assert result["rank1"] == pytest.approx(np.mean([first for _, first in mated]))
    assert result["fnir@fpir"]["1e-3"] is None
    counts = result["counts"]
    assert (counts["enrolled_identities"], counts["mated_searches"]) == (ENROLLED, 2 * ENROLLED)
    assert (counts["identities_not_enrolled"], counts["searches_without_identity"]) == (STRANGERS, UNKNOWN)
    assert counts["zero_embeddings"] == 0
    assert result["inputs"]["model_name"] and len(result["inputs"]["manifest_sha256"]) == 64


def test_the_curve_is_written_with_all_its_points(faces: Set) -> None:
    mated, others = searches(faces)
    with (faces.folder / "det.csv").open() as file:
        rows = [{name: float(value or "inf") for name, value in row.items()} for row in csv.DictReader(file)]
    text = (faces.folder / "det.csv").read_text()
    assert text.startswith("threshold,fpir,fnir\n,0.0,1.0\n")
    for row in rows[1:]:
        level = row["threshold"] - 1e-6
        assert row["fpir"] == pytest.approx(np.mean([score >= level for score in others]))
        assert row["fnir"] == pytest.approx(np.mean([not (first and own >= level) for own, first in mated]))
    assert len(rows) == 1 + len(others) + sum(first for _, first in mated)


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_curve_is_drawn(faces: Set, suffix: str) -> None:
    target = faces.folder / f"curve.{suffix}"
    out = vidface(*command(faces.manifest, faces.embeddings), "--det", target, code=0).out
    if suffix == "png":
        with Image.open(target) as image:
            assert min(image.size) > 500
    else:
        text = target.read_text()
        assert "80 mated searches" in text and "100 non-mated searches" in text and "mathdefault" not in text
    lines = {line.rsplit("  ", 4)[0].strip(): line for line in out.splitlines()}
    assert f"{faces.scores['fnir@fpir']['1e-1']:.4f}" in next(
        line for name, line in lines.items() if name.startswith("FNIR at FPIR 1e-1")
    )
    assert "40 enrolled identities" in out and "FPIR rule at-most" in out
