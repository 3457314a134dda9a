"""Sharpness, yaw and filters: against heads turned by hand, and real faces made worse."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidface.errors import UsageError
from vidface.frames.faces.align import TEMPLATE
from vidface.frames.faces.quality import filter_faces, head_yaw, sharpness
from vidface.frames.frame import Pixels

# A head as measured from in front, and its nose; see the module.
HEAD = np.array([(-0.5, 0, 0), (0.5, 0, 0), (0, 0.55, -0.45), (-0.425, 0.965, 0), (0.425, 0.965, 0)])


def seen(yaw: float, pitch: float, roll: float) -> npt.NDArray[np.float64]:
    """The points of the head, turned to the image's right, then nodded down, then tilted clockwise: [5, 2]."""
    y, p, r = np.radians([-yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray((HEAD @ (tilt @ nod @ turn).T)[:, :2])


@settings(max_examples=200)
@given(
    st.floats(-80, 80), st.floats(-50, 50), st.floats(-170, 170), st.floats(5, 500), st.floats(-2000, 2000)
)
def test_the_yaw_of_a_turned_head_is_found(
    yaw: float, pitch: float, roll: float, scale: float, shift: float
) -> None:
    assert np.allclose(head_yaw(seen(yaw, pitch, roll)[None] * scale + shift), yaw, atol=0.05)


def test_a_head_that_looks_to_the_right_has_its_nose_there_and_a_mirrored_one_looks_left() -> None:
    right = TEMPLATE.copy()
    right[2, 0] += 10
    mirrored = (right * (-1, 1))[[1, 0, 2, 4, 3]]
    found = head_yaw(np.stack([right, mirrored, TEMPLATE]))
    assert found[0] > 15 and found[1] == pytest.approx(-found[0], abs=1e-3) and abs(found[2]) < 2


def test_a_yaw_is_given_for_any_points() -> None:
    assert np.isfinite(head_yaw(np.zeros((2, 5, 2)))).all()
    assert head_yaw(np.empty((0, 5, 2))).shape == (0,)
    with pytest.raises(UsageError, match="points must be n x 5 x 2"):
        head_yaw(np.zeros((5, 2)))


@pytest.fixture(scope="module")
def faces(shared_data: Path) -> Pixels:
    with tarfile.open(shared_data / "lfw" / "aligned.tar") as tar:
        members = [member for member in tar if member.isfile()][::100]
        return np.stack(
            [np.array(Image.open(io.BytesIO(tar.extractfile(m).read()))) for m in members]  # type: ignore[union-attr]
        )


def each(faces: Pixels, change: Callable[[Pixels], npt.NDArray[np.generic]]) -> Pixels:
    return np.stack([np.clip(change(face), 0, 255).astype(np.uint8) for face in faces])


def shrunk(side: int) -> Callable[[Pixels], Pixels]:
    def change(face: Pixels) -> Pixels:
        return np.asarray(
            cv2.resize(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), (112, 112)), np.uint8
        )

    return change


def test_faces_that_are_blurred_or_were_small_are_less_sharp(faces: Pixels) -> None:
    before = sharpness(faces)
    assert 30 < np.median(before) < 60
    for sigma in (1, 2, 3):
        now = sharpness(each(faces, lambda face, s=sigma: cv2.GaussianBlur(face, (0, 0), s)))
        assert (now < before).all()
        before = now
    assert np.median(before) < 10
    for side, most in ((40, 30.0), (24, 18.0), (16, 10.0)):
        assert np.median(sharpness(each(faces, shrunk(side)))) < most


def test_motion_in_one_direction_is_blur_as_well(faces: Pixels) -> None:
    streak = np.full((1, 15), 1 / 15, np.float32)
    across = sharpness(each(faces, lambda face: cv2.filter2D(face, -1, streak)))
    down = sharpness(each(faces, lambda face: cv2.filter2D(face, -1, streak.T)))
    assert np.median(across) < 10 and np.median(down) < 10


def test_light_contrast_and_noise_change_little(faces: Pixels) -> None:
    plain = sharpness(faces)
    half = sharpness(each(faces, lambda face: face * 0.5 + 20))
    assert np.median(np.abs(half / plain - 1)) < 0.05
    rng = np.random.default_rng(0)
    blurred = sharpness(each(faces, lambda face: cv2.GaussianBlur(face, (0, 0), 3)))
    noisy = sharpness(
        each(faces, lambda face: cv2.GaussianBlur(face, (0, 0), 3) + rng.normal(0, 6, face.shape))
    )
    assert np.median(noisy) < 1.5 * np.median(blurred)


def test_sharpness_of_flat_and_of_larger_faces(faces: Pixels) -> None:
    assert sharpness(np.full((1, 112, 112, 3), 77, np.uint8)).tolist() == [0]
    assert sharpness(np.empty((0, 112, 112, 3), np.uint8)).shape == (0,)
    twice = faces.repeat(2, axis=1).repeat(2, axis=2)
    assert np.allclose(sharpness(twice), sharpness(faces), rtol=0.02)
    assert np.array_equal(sharpness(faces)[3:5], sharpness(faces[3:5]))
    with pytest.raises(UsageError, match="faces must be uint8 n x h x w x 3"):
        sharpness(np.zeros((112, 112, 3), np.uint8))


def test_each_face_left_out_is_counted_once_and_under_its_first_reason() -> None:
    boxes = np.array(
        [(0, 0, 50, 60), (0, 0, 19, 60), (0, 0, 60, 19.5), (5, 5, 45, 45), (0, 0, 20, 20)], np.float32
    )
    points = np.array([seen(yaw, 0, 0) * 10 for yaw in (10, 80, 0, -50, 0)], np.float32)
    sharp = np.array([40, 1, 40, 1, 9.9], np.float32)
    kept, counts = filter_faces(boxes, points, sharp, min_size=20, min_sharpness=10, max_yaw=45)
    assert kept.tolist() == [True, False, False, False, False]
    assert counts == {"too_small": 2, "turned": 1, "blurred": 1}
    assert filter_faces(boxes, points, sharp)[0].all()
    assert filter_faces(boxes[:0], points[:0], sharp[:0], min_size=20) == (
        pytest.approx(np.empty(0)),
        {"too_small": 0, "turned": 0, "blurred": 0},
    )


def test_what_is_exactly_at_a_limit_is_kept() -> None:
    kept, _ = filter_faces(
        np.array([(0, 0, 20, 20)], np.float32),
        np.array([HEAD[:, :2]], np.float32),
        np.array([10], np.float32),
        min_size=20,
        min_sharpness=10,
        max_yaw=0.001,
    )
    assert kept.tolist() == [True]
