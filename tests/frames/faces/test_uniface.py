"""Detectors of uniface: with the package itself if it is installed, else with a stand-in of the same interface.

The network made here sees a face where the picture is red, so colour order and the way back to pixels show. No real
weights are needed, and none may be fetched.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vidface.errors import ModelError, UsageError
from vidface.frames.faces.detector import detector_weights, open_detector

STAND_IN = {
    "__init__.py": """
import os
from uniface import constants, detection
def get_cache_dir():
    return os.environ["UNIFACE_CACHE_DIR"]
""",
    "constants.py": """
from enum import Enum
from typing import NamedTuple
class SCRFDWeights(str, Enum):
    SCRFD_10G_KPS = "scrfd_10g"
    SCRFD_500M_KPS = "scrfd_500m"
class BlazeFaceWeights(str, Enum):
    DEFAULT = "blazeface"
class ModelInfo(NamedTuple):
    url: str
    sha256: str
MODEL_REGISTRY = {w: ModelInfo(f"https://example.org/{w.value}_kps.onnx", "0" * 64) for w in SCRFDWeights}
""",
    "detection.py": """
from abc import ABC, abstractmethod
from types import SimpleNamespace
import cv2
import numpy as np
from uniface.constants import BlazeFaceWeights, SCRFDWeights
__all__ = ["SCRFD", "BaseDetector", "BlazeFace"]
def verify_model_weights(name):
    raise AssertionError("a download")
def create_onnx_session(path, providers=None):
    raise AssertionError("a session of as many threads as there are cores")
class BaseDetector(ABC):
    supports_alignment = False
    @abstractmethod
    def detect(self, image): ...
class BlazeFace(BaseDetector):
    def __init__(self, *, model_name=BlazeFaceWeights.DEFAULT): ...
    def detect(self, image): ...
class SCRFD(BaseDetector):
    supports_alignment = True
    def __init__(self, *, model_name=SCRFDWeights.SCRFD_10G_KPS, confidence_threshold=0.5, providers=None):
        self.threshold = confidence_threshold
        self.session = create_onnx_session(verify_model_weights(model_name), providers=providers)
    def detect(self, image):
        factor = 640 / max(image.shape[:2])
        small = cv2.resize(image, None, fx=factor, fy=factor)
        whole = np.zeros((640, 640, 3), np.float32)
        whole[:small.shape[0], :small.shape[1]] = small
        name = self.session.get_inputs()[0].name
        out = self.session.run(None, {name: ((whole - 127.5) / 127.5).transpose(2, 0, 1)[None]})
        found = []
        for row in np.flatnonzero(out[2][:, 0] >= self.threshold):
            at = np.array([row // 2 % 20, row // 2 // 20]) * 32
            a, b = at - out[5][row, :2] * 32, at + out[5][row, 2:] * 32
            points = at + out[8][row].reshape(5, 2) * 32
            found.append(SimpleNamespace(
                bbox=np.concatenate([a, b]) / factor, landmarks=points / factor, confidence=out[2][row, 0]))
        return found
""",
}


@pytest.fixture(autouse=True)
def uniface(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("VIDFACE_WEIGHTS", str(tmp_path / "ours"))
    monkeypatch.setenv("UNIFACE_CACHE_DIR", str(tmp_path / "its"))
    for folder in ("ours", "its"):
        (tmp_path / folder).mkdir()
    if importlib.util.find_spec("uniface") is not None:
        yield
        return
    package = tmp_path / "packages" / "uniface"
    package.mkdir(parents=True)
    for name, source in STAND_IN.items():
        (package / name).write_text(source)
    monkeypatch.syspath_prepend(str(package.parent))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "uniface"]:
        del sys.modules[name]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """SCRFD for 640x640: scores, boxes and points at strides 8, 16, 32, two anchors per cell; only redness counts."""
    nodes, outputs, constants = [], [], []

    def constant(name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    def node(kind: str, inputs: list[str], output: str, **how: object) -> None:
        nodes.append(helper.make_node(kind, inputs, [output], **how))

    node("Gather", ["in", constant("red", np.array(2))], "plane", axis=1)
    node("Reshape", ["plane", constant("one", np.array([1, 1, 640, 640]))], "image")
    node("AveragePool", ["image"], "mean", kernel_shape=[32, 32], strides=[32, 32])
    node("Reshape", ["mean", constant("column", np.array([400, 1]))], "first")
    node("Concat", ["first", constant("second", np.zeros((400, 1), np.float32))], "both", axis=1)
    node("Reshape", ["both", constant("rows", np.array([800, 1]))], "score_32")
    box = np.array([0.5, 0.75, 1, 1.25], np.float32)  # to the left, up, right and down, in strides
    points = np.array([-0.2, -0.2, 0.3, -0.2, 0, 0, -0.2, 0.4, 0.2, 0.4], np.float32)
    for kind, row in (("score", np.zeros(1, np.float32)), ("box", box), ("points", points)):
        for stride in (8, 16, 32):
            count = 2 * (640 // stride) ** 2
            name = f"{kind}_{stride}"
            if name != "score_32":
                node("Identity", [constant(f"all_{name}", np.tile(row, (count, 1)))], name)
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [count, len(row)]))
    entry = helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 3, 640, 640])
    graph = helper.make_graph(nodes, "made", [entry], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "made.onnx"
    onnx.save(model, path)
    return path


def test_faces_come_in_pixels_of_the_frame_and_from_red_not_from_blue(network: Path) -> None:
    detector = open_detector(network, "uniface:scrfd_500m", min_score=0.8)
    assert detector.kind == "uniface:scrfd_500m"
    assert detector.sha256 == hashlib.sha256(network.read_bytes()).hexdigest()
    frame = np.zeros((720, 1280, 3), np.uint8)  # seen at half its size
    frame[64:128, 320:384, 0] = 255  # the cell in line 1, column 5
    frame[256:320, 640:704, 2] = 255
    faces = detector(frame)
    assert faces.boxes.tolist() == [[288, 16, 384, 144]]
    assert faces.points[0, 0] == pytest.approx([320 - 12.8, 64 - 12.8], abs=1e-3)
    assert faces.points[0, 2] == pytest.approx([320, 64], abs=1e-3)
    assert faces.scores.tolist() == pytest.approx([1])
    assert [array.dtype for array in faces] == [np.float32] * 3
    assert detector(np.zeros((50, 90, 3), np.uint8)).boxes.shape == (0, 4)
    with pytest.raises(UsageError, match="a frame must be uint8"):
        detector(np.zeros((50, 90), np.uint8))


def test_missing_weights_are_named_and_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"nothing is downloaded: put scrfd_500m\.onnx \(SHA-256 [0-9a-f]{64}\)"
    ) as e:
        open_detector(None, "uniface:scrfd_500m", min_score=0.5)
    assert f"into {tmp_path / 'ours'}" in str(e.value) and "https://" in str(e.value)
    assert list((tmp_path / "its").iterdir()) == []


def test_a_file_of_another_content_in_its_own_folder_is_neither_taken_nor_deleted(
    tmp_path: Path, network: Path
) -> None:
    there = tmp_path / "its" / "scrfd_500m.onnx"
    there.write_bytes(network.read_bytes())
    with pytest.raises(ModelError, match=r"the content of .*/its/scrfd_500m\.onnx is another"):
        open_detector(None, "uniface:scrfd_500m", min_score=0.5)
    assert there.read_bytes() == network.read_bytes()


@pytest.mark.parametrize("folder", ["ours", "its"])
def test_known_weights_are_found_in_both_folders(
    folder: str, tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uniface import constants

    there = tmp_path / folder / "scrfd_500m.onnx"
    there.write_bytes(network.read_bytes())
    sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
    known = constants.MODEL_REGISTRY[constants.SCRFDWeights.SCRFD_500M_KPS]
    changed = type(known)(known.url, sha256)
    monkeypatch.setitem(constants.MODEL_REGISTRY, constants.SCRFDWeights.SCRFD_500M_KPS, changed)
    assert detector_weights(None, "uniface:scrfd_500m") == (there, sha256)


def test_other_weights_are_refused_at_once_and_its_module_is_left_as_it_was(network: Path) -> None:
    from uniface.detection import SCRFD

    module = sys.modules[SCRFD.__module__]
    before = module.verify_model_weights, module.create_onnx_session
    open_detector(network, "uniface:scrfd_500m", min_score=0.5)
    model = onnx.load(network)
    del model.graph.output[3:]  # another network's
    other = network.with_name("other.onnx")
    for content in (b"no model", model.SerializeToString()):
        other.write_bytes(content)
        with pytest.raises(ModelError, match=r"other\.onnx: not the weights of uniface's scrfd_500m"):
            open_detector(other, "uniface:scrfd_500m", min_score=0)
    assert (module.verify_model_weights, module.create_onnx_session) == before


@pytest.mark.parametrize("name", ["nothing", "blazeface"])
def test_detectors_without_the_five_points_are_not_offered(name: str) -> None:
    with pytest.raises(UsageError, match=f"no detector with five points named '{name}': .*scrfd_500m"):
        open_detector(None, f"uniface:{name}", min_score=0.5)


def test_without_uniface_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uniface", None)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[uniface\]'"):
        open_detector(None, "uniface:scrfd_500m", min_score=0.5)


def test_an_opencv_that_is_too_old_is_refused_when_the_detector_is_opened(
    network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setattr(cv2, "__version__", "4.12.0")
    with pytest.raises(UsageError, match=r"OpenCV 4\.12\.0 is too old"):
        open_detector(network, "uniface:scrfd_500m", min_score=0.5)
