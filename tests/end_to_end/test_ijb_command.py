"""A small set in the exact format of IJB-B and IJB-C, of real photographs: from loose crops to scores by the commands.

Expected values are computed from the crops with OpenCV, onnxruntime and numpy, without vidface.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import onnxruntime
import pytest
import template_sets
from command_line import read_features, vidface
from PIL import Image

PEOPLE, EACH = 14, 6
TARGET = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


class Real(NamedTuple):
    """The lists, the folder above them, the photographs' names, and the features computed here, in list order."""

    found: template_sets.TemplateSet
    root: Path
    photographs: list[str]
    features: np.ndarray
    mirrored: np.ndarray


@pytest.fixture(scope="module", params=["ijbc"])
def real(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Real:
    root = tmp_path_factory.mktemp("ijb")
    who, points, names = template_sets.real_crops(shared_data, root / "loose_crop", PEOPLE, EACH)
    found = template_sets.arrange(root / "meta", request.param, who, np.random.default_rng(8))
    place = [int(image.removesuffix(".jpg")) - 1 for image in found.images]
    found = template_sets.write_lists(found._replace(points=np.round(points[place], 3)))
    faces = [
        cut(root / "loose_crop" / image, five) for image, five in zip(found.images, found.points, strict=True)
    ]
    model = shared_data / "models" / "mobilefacenet_128.onnx"
    both = (embed(model, faces), embed(model, [face[:, ::-1] for face in faces]))
    vidface(
        *("manifest", "from-ijbc", root / "meta", root / "loose_crop"),
        *("-o", root / "manifest.csv", "--aligned", root / "aligned"),
        code=0,
    )
    for name, options in (("features.h5", ()), ("flipped.h5", ("--flip",))):
        vidface("extract", root / "manifest.csv", "-o", root / name, "--model", model, *options, code=0)
    return Real(found, root, [names[i] for i in place], *both)


def cut(crop: Path, points: np.ndarray) -> np.ndarray:
    """The face by the similarity of least squares, as equations for a turn, a scale and a shift."""
    rows, values = [], []
    for (x, y), (u, v) in zip(points, TARGET, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        values += [u, v]
    a, b, right, down = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    picture = cv2.imread(str(crop))
    return cv2.warpAffine(picture, np.array([[a, -b, right], [b, a, down]]), (112, 112))[:, :, ::-1]


def embed(model: Path, faces: list[np.ndarray]) -> np.ndarray:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = ((np.array(faces) / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: pixels})[0])


def score(real: Real, name: str, *options: object) -> dict:
    words = ("--protocol", "ijbc", "--meta", real.root / "meta", *options, "--json")
    return vidface("score", real.root / name, *words, code=0).json


def check(real: Real, features: np.ndarray, result: dict, **variant: bool) -> None:
    """Compare with curves and searches over the features computed here."""
    found = real.found
    unit = template_sets.pooled(found, features, **variant)
    scores, same = template_sets.pair_scores(found, unit)
    for target in ("1e-2", "1e-1"):
        assert result["tpr@fpr"][target] == pytest.approx(template_sets.at_most(scores, same, float(target)))
    for name, gallery in zip(("G1", "G2"), found.galleries, strict=True):
        mated, others = template_sets.searches(unit, gallery, found.probes)
        part = result["identification"]["galleries"][name]
        assert part["tpir@fpir"]["1e-1"] == pytest.approx(template_sets.tpir(mated, others, 0.1))
        assert part["rank1"] == pytest.approx(np.mean([rank == 1 for _, rank in mated]))


def test_faces_are_cut_as_those_that_were_cut_from_the_photographs(
    real: Real, photographs: dict[str, dict[str, bytes]]
) -> None:
    """The five points of the crop's own pixels lead to the face that another tool cut from the whole photograph."""
    for image, name in zip(real.found.images, real.photographs, strict=True):
        if int(image.removesuffix(".jpg")) % 3 != 1:  # blurred
            continue
        person, file = name.split("/")
        ours = np.array(Image.open(real.root / "aligned" / image.replace(".jpg", ".png")), np.float64)
        theirs = np.array(Image.open(io.BytesIO(photographs[person][file])), np.float64)
        middle = slice(16, 96)
        assert np.abs(ours - theirs)[middle, middle].mean() < 4
        assert np.abs(ours - np.roll(theirs, 4, axis=1))[middle, middle].mean() > 8


def test_rows_are_the_images_in_the_order_of_the_list(real: Real) -> None:
    ids, status, features = read_features(real.root / "features.h5")
    assert ids == real.found.images
    assert set(status) == {"ok"} and {len(rows) for rows in features} == {1}
    ours = np.concatenate(features).astype(np.float64)
    cosine = (
        (ours * real.features).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(real.features, axis=1)
    )
    assert cosine.min() > 0.999
    assert np.linalg.norm(ours, axis=1) == pytest.approx(np.linalg.norm(real.features, axis=1), rel=0.02)


def test_scores_of_features_of_our_own(real: Real) -> None:
    result = score(real, "features.h5")
    check(real, real.features, result, norm=True, detector_score=True)
    for value in (result["tpr@fpr"]["1e-2"], result["identification"]["mean"]["tpir@fpir"]["1e-1"]):
        assert 0.1 < value < 0.9  # else it would say nothing


def test_flipped_features_are_sums_before_anything_is_normalised(real: Real) -> None:
    check(real, real.features + real.mirrored, score(real, "flipped.h5"), norm=True, detector_score=True)


def test_the_table_says_variant_rule_and_both_galleries(real: Real) -> None:
    words = ("--protocol", "ijbc", "--meta", real.root / "meta", "--fpr-rule", "nearest", "--targets", "1e-2")
    out = vidface("score", real.root / "features.h5", *words, code=0).out
    variant = "features as they are in the file, their norms kept, multiplied by the detector's"
    assert out.startswith(f"ijbc: {variant}")
    shown = ("TPR at FPR 1e-2 (nearest)", "gallery G1", "gallery G2", "TPIR at FPIR 1e-1", "FPR rule nearest")
    for said in shown:
        assert said in out
