"""Detectors of the uniface package: SCRFD, RetinaFace, CenterFace and YOLO faces, each run by onnxruntime.

uniface downloads weights on its own where they are missing, and deletes a file whose checksum is not the one it
knows. Neither may happen here: its look-up of weights is replaced by the file that was found while a detector is made.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from vidface.errors import ModelError, UsageError, printable
from vidface.frames.faces.align import opencv
from vidface.frames.faces.faces import Detect, Faces, check_frame, sound_faces
from vidface.frames.faces.weights import Known, Weights, find_weights, weights_folder
from vidface.frames.frame import Pixels


def find_uniface_weights(name: str) -> Weights:
    """Weights of a uniface detector, such as ``scrfd_500m``, in vidface's folder of weights or in uniface's own.

    Errors as of `vidface.frames.faces.detector.open_detector`.
    """
    uniface = _uniface()
    weights, _ = _named(uniface, name)
    known = uniface.constants.MODEL_REGISTRY[weights]
    file = name + Path(known.url).suffix  # the name that uniface gives the file in its own folder
    folders = [weights_folder(), Path(uniface.get_cache_dir())]
    return find_weights([Known(file, known.sha256, known.url)], folders, f"uniface's {name}")


def open_uniface(path: Path, name: str, *, min_score: float) -> Detect:
    """Open a detector of uniface; see `vidface.frames.faces.detector.open_detector`.

    It runs on the CPU with one thread, since frames are decoded by as many processes as there are cores. Frames are
    fitted into what the network takes by uniface: 640x640 by its default.
    """
    uniface = _uniface()
    opencv().setNumThreads(1)  # uniface scales with it, and one that is too old is refused here
    weights, kind = _named(uniface, name)
    with _no_downloads(sys.modules[kind.__module__], path):
        try:
            network = kind(
                model_name=weights, confidence_threshold=min_score, providers=["CPUExecutionProvider"]
            )
            network.detect(np.full((64, 64, 3), 255, np.uint8))  # another network's output shows here
        except Exception as error:  # whatever it and onnxruntime raise: their errors have no common base
            raise ModelError(
                f"{path}: not the weights of uniface's {name}: {printable(str(error))}"
            ) from error

    def detect(pixels: Pixels) -> Faces:
        check_frame(pixels)
        found = network.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        boxes = np.array([face.bbox for face in found], np.float32).reshape(-1, 4)
        points = np.array([face.landmarks for face in found], np.float32).reshape(-1, 5, 2)
        scores = np.array([face.confidence for face in found], np.float32)
        return sound_faces(Faces(boxes, points, scores), pixels.shape[:2])

    return detect


def _uniface() -> Any:
    try:
        uniface = importlib.import_module("uniface")
        importlib.import_module("uniface.constants")
    except ImportError as error:
        raise UsageError(
            f"detectors of uniface need it: pip install -e '.[uniface]' ({printable(str(error))})"
        ) from None
    return uniface


def _named(uniface: Any, name: str) -> tuple[Enum, Any]:
    """The weights of a name, and the detector they belong to."""
    offered: dict[str, tuple[Enum, Any]] = {}
    for attribute in uniface.detection.__all__:
        kind = getattr(uniface.detection, attribute)
        # A detector without the five points (BlazeFace has six others) cannot be aligned.
        if inspect.isabstract(kind) or not getattr(kind, "supports_alignment", False):
            continue
        default = inspect.signature(kind).parameters["model_name"].default
        offered |= {weights.value: (weights, kind) for weights in type(default)}
    if name not in offered:
        raise UsageError(
            f"uniface has no detector with five points named {printable(name)!r}: {', '.join(offered)}"
        )
    return offered[name]


@contextlib.contextmanager
def _no_downloads(module: Any, path: Path) -> Iterator[None]:
    """Let a detector's module take this file for its weights, in a session of one thread."""
    import onnxruntime as ort

    def session(model: str, providers: list[str]) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        return ort.InferenceSession(model, options, providers=providers)

    replaced = {"verify_model_weights": lambda *_: str(path), "create_onnx_session": session}
    kept = {name: getattr(module, name) for name in replaced}
    vars(module).update(replaced)
    try:
        yield
    finally:
        vars(module).update(kept)
