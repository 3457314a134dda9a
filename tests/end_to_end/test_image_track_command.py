"""The image track on real faces as picture files, by the commands; every number against plain numpy."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
from command_line import vidface
from PIL import Image

PEOPLE, EACH, DISTRACTORS = 24, 5, 60
TARGETS = ("1e-2", "1e-3")


class Faces(NamedTuple):
    """A list of images with labels, and what the commands made of it."""

    folder: Path
    names: list[str]
    people: list[str]
    embeddings: Path
    matrix: Path


@pytest.fixture(scope="module")
def faces(
    shared_data: Path, photographs: dict[str, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Faces:
    folder = tmp_path_factory.mktemp("images")
    often = [person for person, pictures in photographs.items() if len(pictures) >= EACH][:PEOPLE]
    once = [person for person, pictures in photographs.items() if len(pictures) == 1][:DISTRACTORS]
    listed = [
        (f"face crops/{person}/{name}", person if person in often else "", data)
        for person in (*often, *once)
        for name, data in list(photographs[person].items())[:EACH]
    ]
    listed = [listed[at] for at in np.random.default_rng(0).permutation(len(listed))]
    for name, _, data in listed:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    nobody = ("", "0", "-1")
    labels = [person or nobody[at % 3] for at, (_, person, _) in enumerate(listed)]
    (folder / "filelist.txt").write_text("".join(f"{name}\n" for name, _, _ in listed))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    made = vidface(
        "manifest", "from-trillionpairs", folder / "filelist.txt", "--labels", folder / "labels.txt",
        "-o", folder / "set.csv", "--json", code=0,
    ).json  # fmt: skip
    assert (made["rows"], made["identities"], made["unknown"]) == (len(listed), PEOPLE, DISTRACTORS)
    assert made["missing"] == 0
    features, embeddings, matrix = (folder / name for name in ("f.h5", "embeddings.h5", "features.bin"))
    words = ("extract", folder / "set.csv", "-o", features, "--model", model, "--flip", "--json")
    ran = vidface(*words, code=0).json
    assert (ran["videos"], ran["frames"]) == (len(listed), len(listed))
    vidface("cluster", features, "-o", embeddings, "--json", code=0)
    vidface("submit", embeddings, "--manifest", folder / "set.csv", "--format", "lfrc", "-o", matrix, code=0)
    names, people, _ = (list(column) for column in zip(*listed, strict=True))
    return Faces(folder, names, people, embeddings, matrix)


def read_bin(path: Path) -> np.ndarray:
    data = path.read_bytes()
    rows, columns, stride, kind = struct.unpack("<4i", data[:16])
    assert (stride, kind) == (4 * columns, 5)
    return np.frombuffer(data[16:], "<f4").reshape(rows, columns)


def expected(matrix: np.ndarray, people: list[str], target: str) -> tuple[float, float, float]:
    """(verification TPR, FPR reached, rank-1 of identification) by loops over whole rows, in float64."""
    who, rows = np.array(people), matrix.astype(np.float64)
    known = np.flatnonzero(who != "")
    scores = rows @ rows.T
    genuine, impostor = [], []
    for place, i in enumerate(known):
        for j in known[place + 1 :]:
            (genuine if who[i] == who[j] else impostor).append(scores[i, j])
        impostor += scores[i, who == ""].tolist()
    descending = np.sort(impostor)[::-1]
    allowed = int(Fraction(target) * len(impostor))
    best = {i: scores[i, who == ""].max() for i in known}
    first = [scores[i, j] > best[i] for i in known for j in known if i != j and who[i] == who[j]]
    tpr = float(np.mean(np.array(genuine) > descending[allowed]))
    return tpr, float(np.mean(descending > descending[allowed])), float(np.mean(first))


def test_the_row_order_and_the_flip_are_the_challenges(faces: Faces, shared_data: Path) -> None:
    matrix = read_bin(faces.matrix)
    session = onnxruntime.InferenceSession(shared_data / "models" / "mobilefacenet_128.onnx")
    given = session.get_inputs()[0].name
    for at in range(0, len(faces.names), 7):
        pixels = np.asarray(Image.open(faces.folder / faces.names[at]).convert("RGB"))
        both = np.stack([pixels, pixels[:, ::-1]]).astype(np.float64) / 255
        both = (both - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        summed = session.run(None, {given: both.transpose(0, 3, 1, 2).astype(np.float32)})[0].sum(axis=0)
        assert matrix[at] @ (summed / np.linalg.norm(summed)) > 0.9999, faces.names[at]


def test_the_scores_are_those_of_plain_numpy(faces: Faces, tmp_path: Path) -> None:
    matrix = read_bin(faces.matrix)
    asked = ("--manifest", faces.folder / "set.csv", "--protocol", "trillionpairs")
    asked += ("--targets", ",".join(TARGETS))
    found = vidface("score", faces.matrix, *asked, "-o", tmp_path / "scores.json", "--json", code=0).json
    known = PEOPLE * EACH
    assert found["counts"] == {
        "images": known + DISTRACTORS,
        "identities": PEOPLE,
        "identified_images": known,
        "distractors": DISTRACTORS,
        "genuine_pairs": PEOPLE * EACH * (EACH - 1) // 2,
        "impostor_pairs": known * (known - EACH) // 2 + known * DISTRACTORS,
        "searches_with_mate": known * (EACH - 1),
        "searches_without_mate": known,
        "zero_embeddings": 0,
    }
    for target in TARGETS:
        tpr, fpr, rank1 = expected(matrix, faces.people, target)
        assert found["tpr@fpr"][target] == pytest.approx(tpr, abs=1e-12)
        assert found["fpr_reached"][target] == pytest.approx(fpr, abs=1e-12)
        assert found["identification"]["rank1"] == pytest.approx(rank1, abs=1e-12)
        low, high = found["ci95"]["tpr@fpr"][target]
        assert low <= tpr <= high
    assert found["identification"]["tpr@fpr"] == {"1e-3": None}
    assert found["warnings"] == [
        "identification TPR at FPR 1e-3 is not measured: 120 searches without a mate are fewer than 1/1e-3"
    ]
    assert json.loads((tmp_path / "scores.json").read_text()) == found
    again = vidface("score", faces.embeddings, *asked, "--json", code=0).json
    assert {name: again[name] for name in ("tpr@fpr", "identification", "ci95")} == {
        name: found[name] for name in ("tpr@fpr", "identification", "ci95")
    }
    text = vidface("score", faces.matrix, *asked, code=0).out
    (line,) = [line for line in text.splitlines() if line.startswith("verification, TPR at FPR 1e-2 ")]
    assert line.split()[5] == f"{found['tpr@fpr']['1e-2']:.4f}"
    assert "FPR rule at-most: the largest TPR whose FPR is at most the target" in text
