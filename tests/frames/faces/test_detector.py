"""Detectors: real faces found, frames of any size, broken output, and weights that are missing or others."""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vidface.errors import ModelError, UsageError
from vidface.frames.faces.detector import Detector, detector_weights, open_detector
from vidface.frames.faces.faces import Faces, sound_faces
from vidface.frames.faces.search import LONGEST_SIDE
from vidface.frames.faces.yunet import KNOWN
from vidface.frames.frame import Pixels


@pytest.fixture(scope="module")
def yunet(shared_data: Path) -> Detector:
    return open_detector(shared_data / "models" / "yunet.onnx", min_score=0.6)


@pytest.fixture(scope="module")
def portrait(shared_data: Path) -> Pixels:
    with Image.open(shared_data / "clips" / "ref_lin-manuel-miranda.png") as image:
        return np.array(image.convert("RGB"))


def same(a: Faces, b: Faces) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_face_is_found_where_opencv_finds_it(yunet: Detector, portrait: Pixels) -> None:
    found = yunet(portrait)
    height, width = portrait.shape[:2]
    direct = cv2.FaceDetectorYN.create(str(yunet.weights), "", (width, height), 0.6, 0.3, 5000)
    (row,) = direct.detect(cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR))[1]
    assert [array.dtype for array in found] == [np.float32] * 3
    box = [row[0], row[1], row[0] + row[2], row[1] + row[3]]
    assert np.abs(found.boxes[0] - box).max() < 0.1 * row[3]
    assert np.abs(found.points.ravel() - row[4:14]).max() < 0.05 * row[3]
    assert found.scores[0] >= row[14] - 0.02
    eye, other, nose, mouth, corner = found.points[0]
    assert eye[0] < nose[0] < other[0] and mouth[0] < corner[0]
    assert max(eye[1], other[1]) < nose[1] < min(mouth[1], corner[1])
    assert yunet.sha256 == hashlib.sha256(yunet.weights.read_bytes()).hexdigest()


def test_a_frame_gives_the_same_faces_whatever_came_before_it(yunet: Detector, portrait: Pixels) -> None:
    first = yunet(portrait)
    small = yunet(np.ascontiguousarray(portrait[::2, ::2]))
    assert same(yunet(portrait), first)
    assert same(yunet(np.ascontiguousarray(portrait[::2, ::2])), small)
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    assert same(yunet(portrait), first)
    cv2.setNumThreads(before)
    mirrored = portrait[:, ::-1]  # rows that do not lie in order
    assert same(yunet(mirrored), yunet(np.ascontiguousarray(mirrored)))


def test_large_frames_are_searched_smaller_and_answered_in_their_own_pixels(
    yunet: Detector, portrait: Pixels
) -> None:
    height, width = portrait.shape[:2]
    scale = 2160 / height
    large = np.zeros((2160, 3840, 3), np.uint8)
    inner = cv2.resize(portrait, (round(width * scale), 2160), interpolation=cv2.INTER_CUBIC)
    large[:, 1000 : 1000 + inner.shape[1]] = inner
    (points,) = yunet(large).points
    (expected,) = yunet(portrait).points * scale + np.array([1000, 0])
    assert np.abs(points - expected).max() < 0.02 * 2160  # a fiftieth of the frame's height
    assert max(large.shape) > LONGEST_SIDE


def test_faces_of_few_pixels_are_found_where_they_are(yunet: Detector, portrait: Pixels) -> None:
    small = cv2.resize(portrait, (44, 38), interpolation=cv2.INTER_AREA)  # the face is some 20 pixels wide
    frame = np.full((360, 640, 3), 128, np.uint8)
    frame[200:238, 500:544] = small
    found = yunet(frame)
    assert len(found.scores) == 1
    assert found.boxes[0, 0] >= 500 and found.boxes[0, 2] <= 544


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (31, 33), (3, 2000), (301, 2), (14, 371)])
def test_frames_of_any_size_are_taken(yunet: Detector, size: tuple[int, int], portrait: Pixels) -> None:
    yunet(portrait)  # what it saw before is not seen again
    found = yunet(np.full((*size, 3), 90, np.uint8))
    assert [array.shape for array in found] == [(0, 4), (0, 5, 2), (0,)]


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_frame_is_refused(yunet: Detector, frame: Pixels) -> None:
    with pytest.raises(UsageError, match="a frame must be uint8 H x W x 3, not"):
        yunet(frame)


def test_a_higher_score_leaves_fewer(yunet: Detector, portrait: Pixels) -> None:
    strict = open_detector(yunet.weights, min_score=0.99)
    assert len(yunet(portrait).scores) == 1
    assert len(strict(portrait).scores) == 0


def test_broken_output_is_left_out_and_boxes_stay_in_the_frame() -> None:
    boxes = np.array(
        [
            (10, 10, 30, 30),
            (-5, -8, 20, 25),
            (90, 40, 130, 80),
            (math.nan, 0, 9, 9),
            (0, 0, math.inf, 9),
            (120, 10, 140, 30),  # outside
            (30, 30, 30, 50),  # no width
            (40, 10, 60, 30),
            (50, 10, 60, 30),
            (20, 10, 30, 30),
        ]
    )
    points = np.tile(np.array([(3.0, 3), (7, 3), (5, 5), (3, 7), (7, 7)]), (len(boxes), 1, 1))
    points[7, 2] = math.nan
    points[8] = 4.0  # all in one place
    scores = np.array([0.7, 0.9, 0.8, 1, 1, 1, 1, 1, 1, math.nan])
    found = sound_faces(Faces(boxes, points, scores), (60, 100))
    assert found.boxes.tolist() == [[0, 0, 20, 25], [90, 40, 100, 60], [10, 10, 30, 30]]
    assert found.scores.tolist() == np.array([0.9, 0.8, 0.7], np.float32).tolist()


floats = st.floats(width=32)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.lists(floats, min_size=14, max_size=14), st.sampled_from([0.5, 0.7]))))
def test_whatever_comes_out_can_be_used(rows: list[tuple[list[float], float]]) -> None:
    numbers = np.array([row for row, _ in rows], np.float32).reshape(-1, 14)
    faces = Faces(
        numbers[:, :4], numbers[:, 4:].reshape(-1, 5, 2), np.array([s for _, s in rows], np.float32)
    )
    found = sound_faces(faces, (48, 64))
    assert all(np.isfinite(array).all() for array in found)
    assert (found.boxes >= 0).all() and (found.boxes <= (64, 48, 64, 48)).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert (np.diff(found.scores) <= 0).all()


# Weights


def test_known_weights_are_found_in_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared_data: Path
) -> None:
    monkeypatch.delenv("VIDFACE_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "vidface" / "weights"
    folder.mkdir(parents=True)
    (folder / KNOWN[0].name).write_bytes((shared_data / "models" / "yunet.onnx").read_bytes())
    assert detector_weights(None) == (folder / KNOWN[0].name, KNOWN[0].sha256)
    monkeypatch.setenv("VIDFACE_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(ModelError, match=r"(?s)not here.*2026may.*SHA-256 ebafce4e.*/none.*opencv_zoo.*MIT"):
        detector_weights(None)
    monkeypatch.delenv("VIDFACE_WEIGHTS")
    (folder / KNOWN[0].name).write_bytes(b"changed")
    with pytest.raises(ModelError, match=f"the content of {folder / KNOWN[0].name} is another"):
        detector_weights(None)


def test_a_file_of_the_user_is_taken_by_its_own_checksum(tmp_path: Path) -> None:
    own = tmp_path / "mine.onnx"
    own.write_bytes(b"whatever")
    assert detector_weights(own) == (own, hashlib.sha256(b"whatever").hexdigest())
    with pytest.raises(ModelError, match=r"none\.onnx: the detector's weights cannot be read: No such file"):
        detector_weights(tmp_path / "none.onnx")


def test_files_that_are_no_weights_of_yunet_are_refused(tmp_path: Path, shared_data: Path) -> None:
    broken = tmp_path / "broken.onnx"
    for content in (b"", b"no model", (shared_data / "models" / "yunet.onnx").read_bytes()[:100_000]):
        broken.write_bytes(content)
        with pytest.raises(ModelError, match=r"broken\.onnx: not the weights of YuNet, or damaged"):
            open_detector(broken, min_score=0.6)
    with pytest.raises(ModelError, match="not the weights of YuNet"):
        open_detector(shared_data / "models" / "mobilefacenet_128.onnx", min_score=0.6)


def test_names_that_opencv_cannot_open_are_no_matter(tmp_path: Path, shared_data: Path) -> None:
    odd = tmp_path / "gesichtsfinder \udce9.onnx"  # no UTF-8
    odd.write_bytes((shared_data / "models" / "yunet.onnx").read_bytes())
    assert open_detector(odd, min_score=0.6).weights == odd


@pytest.mark.parametrize("kind", ["", "yolo", "uniface", "uniface:", "Yunet"])
def test_an_unknown_kind_is_refused(kind: str) -> None:
    with pytest.raises(UsageError, match="is unknown: say yunet, or uniface:NAME"):
        open_detector(None, kind, min_score=0.6)


@pytest.mark.parametrize("score", [-0.1, 1.1, math.nan, math.inf])
def test_a_score_out_of_range_is_refused(score: float) -> None:
    with pytest.raises(UsageError, match="must be between 0 and 1"):
        open_detector(None, min_score=score)


def test_without_opencv_or_with_an_old_one(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    weights = shared_data / "models" / "yunet.onnx"
    monkeypatch.setattr(cv2, "__version__", "4.13.0")
    with pytest.raises(UsageError, match=r"OpenCV 4\.13\.0 is too old, 5 is needed"):
        open_detector(weights, min_score=0.6)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[detect\]'"):
        open_detector(weights, min_score=0.6)
