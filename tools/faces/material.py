"""Real faces for the measurements: photographs of LFW, the crops cut from them, and ways to make faces worse."""

from __future__ import annotations

import csv
import functools
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vidface.backbones import Backbone, load_backbone
from vidface.frames.faces.detector import Detector, open_detector
from vidface.frames.frame import Pixels

Array = npt.NDArray[np.float64]
Change = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Material:
    """A folder with lfw/, clips/ and models/."""

    folder: Path

    @functools.cached_property
    def backbone(self) -> Backbone:
        return load_backbone(self.folder / "models" / "mobilefacenet_128.onnx", device="cpu")

    @functools.cached_property
    def detector(self) -> Detector:
        return self.sure_detector(0.6)

    def sure_detector(self, min_score: float) -> Detector:
        return open_detector(self.folder / "models" / "yunet.onnx", min_score=min_score)

    def stored(self, name: str) -> dict[str, bytes]:
        """The images of a tar in lfw/, as they are stored."""
        with tarfile.open(self.folder / "lfw" / name) as tar:
            return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}

    @functools.cached_property
    def crops(self) -> dict[str, bytes]:
        return self.stored("aligned.tar")

    @functools.cached_property
    def points(self) -> dict[str, Array]:
        """Five points of every crop's photograph, two decimals."""
        with (self.folder / "lfw" / "landmarks.tsv").open(encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        return {
            row["file"]: np.array(row["landmarks_xy"].split(","), np.float64).reshape(5, 2) for row in rows
        }

    def people(
        self, least: int, most: int, shift: int = 0, step: int = 1
    ) -> tuple[Pixels, npt.NDArray[np.int64]]:
        """Crops of people with at least so many, at most so many of each; every ``step``-th person from ``shift``."""
        by_name: dict[str, list[bytes]] = {}
        for name, content in self.crops.items():
            by_name.setdefault(name.split("/")[0], []).append(content)
        kept = [files for _, files in sorted(by_name.items()) if len(files) >= least][shift::step]
        who = np.concatenate([np.full(min(len(files), most), k) for k, files in enumerate(kept)])
        return np.stack([pixels(content) for files in kept for content in files[:most]]), who

    def embed(self, faces: Pixels) -> Array:
        """Unit features."""
        return units(self.backbone.embed(faces).astype(np.float64))


def units(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def pixels(content: bytes) -> Pixels:
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def each(faces: Pixels, change: Change) -> Pixels:
    return np.stack([change(face) for face in faces])


def blurred(sigma: float) -> Change:
    return lambda face: cv2.GaussianBlur(face, (0, 0), sigma)


def was_small(side: int) -> Change:
    return lambda face: cv2.resize(cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA), (112, 112))


def moved(length: int) -> Change:
    """Blurred by motion across."""
    return lambda face: cv2.filter2D(face, -1, np.full((1, length), 1 / length, np.float32))


def dark(face: Pixels) -> Pixels:
    return (face * 0.12 + 4).astype(np.uint8)


def noisy(sigma: float) -> Change:
    """With the same noise on every face."""

    def change(face: Pixels) -> Pixels:
        noise = np.random.default_rng(0).normal(0, sigma, face.shape)
        return np.clip(face + noise, 0, 255).astype(np.uint8)

    return change


def same(face: Pixels) -> Pixels:
    return face


# How faces of films are worse than those of photographs.
WORSE: dict[str, Change] = {
    "as it is": same,
    "blurred, sigma 1": blurred(1),
    "blurred, sigma 2": blurred(2),
    "blurred, sigma 3": blurred(3),
    "moved by 9 pixels": moved(9),
    "moved by 15 pixels": moved(15),
    "was 40 pixels wide": was_small(40),
    "was 24 pixels wide": was_small(24),
    "was 16 pixels wide": was_small(16),
    "an eighth of the light": dark,
    "noise of 12 grey levels": noisy(12),
    "blurred, sigma 3, then noise of 6": lambda face: noisy(6)(blurred(3)(face)),
}
