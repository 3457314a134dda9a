"""Alignment: the similarity against another way to it, and real photographs against crops made elsewhere."""

from __future__ import annotations

import csv
import io
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidface.errors import UsageError
from vidface.frames.faces.align import TEMPLATE, align_faces, similarities, template
from vidface.frames.faces.detector import open_detector
from vidface.frames.frame import Pixels

Array = npt.NDArray[np.float64]


def umeyama(source: Array, target: Array) -> Array:
    """The closed form of the paper, by singular values; without mirroring."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    turn = u @ np.diag(signs) @ vt
    scale = (s * signs).sum() / (a**2).sum()
    return np.hstack([scale * turn, (target.mean(0) - scale * turn @ source.mean(0))[:, None]])


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3), st.booleans())
def test_the_similarity_is_that_of_least_squares(seed: int, spread: float, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 20)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (TEMPLATE * (-1 if mirrored else 1, 1)) @ turn.T + rng.uniform(-500, 500, 2)
    points += rng.normal(size=(5, 2)) * spread * scale
    (found,) = similarities(points[None], TEMPLATE)
    assert np.allclose(found, umeyama(points, TEMPLATE), rtol=1e-7, atol=1e-7)


def test_a_face_is_cut_out_untouched_and_what_lies_beyond_is_black() -> None:
    picture = np.random.default_rng(0).integers(1, 256, (150, 200, 3), np.uint8)
    moves = np.array([[(0, 0)], [(60, 20)], [(130, -30)]])
    still, inside, beyond = align_faces(picture, TEMPLATE + moves)
    assert np.array_equal(still, picture[:112, :112])
    assert np.array_equal(inside, picture[20:132, 60:172])
    assert np.array_equal(beyond[30:, :70], picture[:82, 130:])
    assert not beyond[:30].any() and not beyond[:, 70:].any()
    # Other points are given.
    (face,) = align_faces(picture, TEMPLATE[None] + 20, (100, 80), TEMPLATE - (16, 6))
    assert np.array_equal(face, picture[26:126, 36:116])


def test_other_sizes_show_the_same_face() -> None:
    smooth = np.linspace(0, 250, 112)
    picture = np.stack(np.broadcast_arrays(smooth[:, None], smooth[None], 128.0), -1).astype(np.uint8)
    (large,) = align_faces(picture, TEMPLATE[None], (224, 224))
    # Pixels of half the size: each pair of them lies around the old pixel's middle.
    mean = large.reshape(112, 2, 112, 2, 3).mean(axis=(1, 3))
    assert np.abs(mean - picture)[2:-2, 2:-2].max() <= 1
    assert np.allclose(template((112, 112)), TEMPLATE)
    assert np.allclose(template((128, 96)), (TEMPLATE + 0.5) * (96 / 112) - 0.5 + np.array([0, 16]))
    assert align_faces(picture, np.empty((0, 5, 2)), (32, 16)).shape == (0, 32, 16, 3)


def test_faces_of_112x96_are_the_middle_columns_of_112x112() -> None:
    xs, ys = (30.2946, 65.5318, 48.0252, 33.5493, 62.7299), (51.6963, 51.5014, 71.7366, 92.3655, 92.2041)
    by_hand = list(zip(xs, ys, strict=True))
    assert np.allclose(template((112, 96)), by_hand)
    picture = np.random.default_rng(0).integers(0, 256, (150, 200, 3), np.uint8)
    points = TEMPLATE + np.array([(30, 20)])
    (narrow,) = align_faces(picture, points[None], (112, 96))
    assert np.array_equal(narrow, picture[20:132, 38:134])
    assert np.allclose((template((224, 192)) + 0.5) / 2 - 0.5, by_hand)


@pytest.mark.parametrize("block", [2, 3, 4, 7])
def test_large_faces_are_averaged_over_their_area(block: int) -> None:
    """Each pixel of the face is the mean of the block that it stands for, by a plain loop."""
    rng = np.random.default_rng(block)
    picture = rng.integers(0, 256, (130 * block + block // 2, 140 * block, 3), np.uint8)
    side = max(block, 2.0001)  # blocks are averaged where a pixel of the face is more than two
    (face,) = align_faces(picture, (TEMPLATE[None] + 0.5) * side - 0.5)
    for y, x in rng.integers(0, 112, (50, 2)):
        rows, columns = (slice(block * i, block * (i + 1)) for i in (y, x))
        mean = picture[rows, columns].reshape(-1, 3).mean(axis=0)
        assert np.abs(face[y, x] - mean).max() <= 2  # 2.0001 is not quite two


def test_the_same_face_larger_gives_the_same_picture_and_black_beyond() -> None:
    picture = np.random.default_rng(1).integers(1, 256, (120, 130, 3), np.uint8)
    large = picture.repeat(5, axis=0).repeat(5, axis=1)
    for shift in ((0, 0), (-60, -30), (-50, 0)):
        points = TEMPLATE + np.array([shift])
        (expected,) = align_faces(picture, points[None])
        (face,) = align_faces(large, (points[None] + 0.5) * 5 - 0.5)
        assert np.abs(face.astype(int) - expected).max() <= 1
    assert face[:, 50:].all() and not face[:, :49].any()  # the last one begins 50 pixels before the picture
    assert not align_faces(large, points[None] * 5 + 10_000).any()


def test_points_far_apart_ask_for_no_memory() -> None:
    picture = np.full((60, 80, 3), 200, np.uint8)
    for stretch in (1e3, 1e6, 1e12):
        (face,) = align_faces(picture, (TEMPLATE[None] - 56) * stretch)
        assert face.shape == (112, 112, 3)


def test_pixels_of_another_kind_are_refused() -> None:
    """Of pixels 0..1 a black face was made, of grey ones or channels first an error of OpenCV."""
    pixels = np.full((200, 200, 3), 200, np.uint8)
    points = TEMPLATE[np.newaxis] + 30
    others = pixels / 255, pixels.astype(np.int64), pixels[..., 0], pixels.transpose(2, 0, 1), np.array(None)
    for wrong in others:
        with pytest.raises(UsageError, match=r"pixels must be uint8 H x W x 3, in 0\.\.255, not"):
            align_faces(wrong, points)
    for size, target in (((0, 112), None), ((112, 112), TEMPLATE[:4]), ((112, 112), TEMPLATE * 0)):
        with pytest.raises(UsageError, match="a face needs a size above 0 and 5 x 2 points in it"):
            align_faces(pixels, points, size, target)


def test_points_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    for points in (np.zeros((5, 2)), np.zeros((1, 4, 2))):
        with pytest.raises(UsageError, match="points must be n x 5 x 2, not"):
            align_faces(picture, points)
    for points in (np.ones((1, 5, 2)), np.full((1, 5, 2), np.nan)):
        with pytest.raises(UsageError, match="must be finite numbers, and not all the same"):
            align_faces(picture, points)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[detect\]'"):
        align_faces(picture, TEMPLATE[None])


# Real photographs


class Photographs(NamedTuple):
    photos: Pixels  # [n, 250, 250, 3]
    crops: Pixels  # [n, 112, 112, 3], aligned elsewhere and kept as JPEG
    points: Array  # [n, 5, 2], two decimals
    quantised: list[dict[int, list[int]]]  # tables of the crops' JPEGs


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Photographs:
    def read(name: str) -> dict[str, bytes]:
        with tarfile.open(shared_data / "lfw" / name) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}  # type: ignore[union-attr]

    photos, crops = read("photos.tar"), read("aligned.tar")
    assert photos.keys() <= crops.keys() and len(photos) == 240
    with (shared_data / "lfw" / "landmarks.tsv").open(encoding="utf-8") as lines:
        table = {row["file"]: row["landmarks_xy"] for row in csv.DictReader(lines, delimiter="\t")}
    points = [np.array(table[name].split(","), np.float64).reshape(5, 2) for name in photos]

    def pixels(content: bytes) -> Pixels:
        return np.array(Image.open(io.BytesIO(content)).convert("RGB"))

    return Photographs(
        np.stack([pixels(content) for content in photos.values()]),
        np.stack([pixels(crops[name]) for name in photos]),
        np.array(points),
        [Image.open(io.BytesIO(crops[name])).quantization for name in photos],  # type: ignore[attr-defined]
    )


def difference(a: Pixels, b: Pixels) -> Array:
    """Mean absolute difference of each pair, in grey levels."""
    return np.asarray(np.abs(a.astype(np.int16) - b).mean(axis=(1, 2, 3)))


def test_photographs_give_the_crops_of_another_tool_back(real: Photographs) -> None:
    def as_jpeg(face: Pixels, tables: dict[int, list[int]]) -> Pixels:
        content = io.BytesIO()
        Image.fromarray(face).save(content, "JPEG", qtables=tables)
        return np.array(Image.open(content))

    faces = np.concatenate(
        [align_faces(photo, points[None]) for photo, points in zip(real.photos, real.points, strict=True)]
    )
    apart = difference(faces, real.crops)
    assert apart.mean() < 1.25 and apart.max() < 2.2
    # What is left is the JPEG that the crops went through: stored the same way, the faces are theirs.
    stored = np.stack([as_jpeg(f, t) for f, t in zip(faces, real.quantised, strict=True)])
    apart = difference(stored, real.crops)
    assert apart.mean() < 0.35 and apart.max() < 0.8


def test_yunet_finds_faces_where_the_list_has_them(real: Photographs, shared_data: Path) -> None:
    """The list was made by YuNet, by the surest candidate of each face."""
    yunet = open_detector(shared_data / "models" / "yunet.onnx", min_score=0.6)
    away, nearest = [], []
    for photo, points in zip(real.photos, real.points, strict=True):
        found = yunet(photo)
        distance = np.linalg.norm(found.points - points, axis=2) / np.linalg.norm(points[1] - points[0])
        assert len(distance)  # a face in every photograph
        nearest.append(distance.mean(axis=1).argmin())
        away.append(distance[nearest[-1]].mean())
    assert np.mean(away) < 0.08 and np.max(away) < 0.2
    assert np.mean(np.equal(nearest, 0)) > 0.95  # people in the background are found as well
