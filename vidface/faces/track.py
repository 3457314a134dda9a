"""Faces of one frame after the other joined to tracklets: one person, seen without a cut.

Frames come a few times a second, so a face may move by its own size between two. What joins two faces is how much
their boxes agree once the motion is taken off, and that their aligned pictures are alike: after a cut another face
may be where the last one was. Persons are joined across cuts later, by their features (`vidface.faces.link`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vidface.errors import UsageError
from vidface.faces.detector import Faces
from vidface.frames.frame import Pixels

__all__ = ["Tracker"]

Array = npt.NDArray[np.float64]


class Tracker:
    """Joins faces to tracklets, frame by frame; one for each video.

    Args:
        patience: seconds for which a tracklet may be without a face and still go on.
    """

    def __init__(self, *, patience: float = 0.6) -> None:
        self._patience = patience
        self._time = -np.inf
        self._next = 0
        self._numbers: list[int] = []
        self._times: list[float] = []
        self._boxes: list[Array] = []
        self._patches: list[Array] = []

    def step(self, faces: Faces, crops: Pixels, time: float) -> npt.NDArray[np.int32]:
        """Take the faces of the next frame.

        Call it for every sampled frame, also one without faces, and before faces are filtered: a face that is too
        blurred to keep still carries its tracklet.

        Args:
            faces: n faces, n >= 0.
            crops: uint8 [n, h, w, 3], RGB, those faces aligned (`vidface.faces.align.align_faces`).
            time: of the frame in seconds, not before the last one's.

        Returns:
            int32 [n]: the tracklet of every face. Numbers count up from 0 in order of appearance; those that appear
            together, in the order of ``faces``. A tracklet has at most one face in a frame.
        """
        if time < self._time:
            raise UsageError(f"frames must come in order of time: {time} after {self._time}")
        self._time = time
        boxes = np.asarray(faces.boxes, np.float64)
        patches = [_patch(crop) for crop in crops]
        alive = [row for row in range(len(self._numbers)) if time - self._times[row] <= self._patience]
        affinity = np.zeros((len(alive), len(boxes)))
        for a, row in enumerate(alive):
            for b in range(len(boxes)):
                alike = float(self._patches[row] @ patches[b])
                affinity[a, b] = _iou(self._boxes[row], boxes[b]) + alike if alike > 0.5 else 0
        out = np.full(len(boxes), -1, np.int32)
        while affinity.size and affinity.max() > 0.7:
            a, b = map(int, np.unravel_index(int(affinity.argmax()), affinity.shape))
            row = alive[a]
            out[b] = self._numbers[row]
            self._boxes[row], self._patches[row], self._times[row] = boxes[b], patches[b], time
            affinity[a, :] = affinity[:, b] = 0
        for b in np.flatnonzero(out < 0).tolist():
            out[b] = self._next
            self._numbers.append(self._next)
            self._boxes.append(boxes[b])
            self._patches.append(patches[b])
            self._times.append(time)
            self._next += 1
        return out


def _patch(crop: Pixels) -> Array:
    grey = crop.mean(axis=2)[::4, ::4].ravel()
    grey = grey - grey.mean()
    return np.asarray(grey / max(float(np.linalg.norm(grey)), 1e-9))


def _iou(a: Array, b: Array) -> float:
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))
