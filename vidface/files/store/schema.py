"""What the files hold, as Python sees it; `vidface.files.store` says what each array is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, Warned, printable
from vidface.files.faces import FaceRows

COPY_ROWS = 8192  # rows moved at a time when a file is joined or hashed: 17 MB at 512 x float32
# How far the length of a unit row may be from 1: float16 keeps it, a forgotten normalisation does not.
UNIT_TOLERANCE = 1e-3

Fault = dict[str, str]

FACE_DATASETS = (*FaceRows._fields, "face_counts")


class VideoRows(NamedTuple):
    """The features of one video.

    Attributes:
        video_id: its id.
        features: [f, D].
        timestamps: float32 [f], seconds.
        status: ``ok``, ``partial`` or ``failed``.
        faults: what was wrong with it.
        faces: if rows are detected faces, those; all videos of a file have them, or none.
        face_counts: as `vidface.files.faces.FaceCounts`, if there are ``faces``.
    """

    video_id: str
    features: npt.NDArray[Any]
    timestamps: npt.NDArray[np.float32]
    status: str
    faults: list[Fault]
    faces: FaceRows | None = None
    face_counts: tuple[int, ...] = ()


class EmbeddingRows(NamedTuple):
    """A chunk of consecutive videos after clustering; shapes as in the embeddings file."""

    embeddings: npt.NDArray[np.float32]
    kept: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class FeaturesInfo:
    """What a features file holds, without its rows; or what an embeddings file says of the features it is made from."""

    path: Path
    video_ids: list[str]
    offsets: npt.NDArray[np.int64]
    status: list[str]
    attributes: dict[str, Any]

    @property
    def dimension(self) -> int:
        """Length of a feature vector."""
        return int(self.attributes["dimension"])


@dataclass(frozen=True)
class Embeddings:
    """A whole embeddings file in memory."""

    path: Path
    video_ids: list[str]
    embeddings: npt.NDArray[np.float32]
    frames: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]
    status: list[str]
    attributes: dict[str, Any]
    weights: npt.NDArray[np.float32] | None = None

    def kept_frames(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Which of the frames of one video, rows ``start`` to ``stop``, its embedding was made of.

        Those of cluster 0; if all count by weight, those with at least an equal share.
        """
        if self.weights is None:
            return np.asarray(self.labels[start:stop] == 0)
        equal = (1 - 1e-6) / max(stop - start, 1)  # the shares are rounded
        return np.asarray(self.weights[start:stop] >= equal)


def attribute_of(warnings: Sequence[str]) -> dict[str, str]:
    """The attribute ``warnings`` of a file, a JSON list; without any there is none."""
    return {"warnings": json.dumps(list(warnings), ensure_ascii=False)} if warnings else {}


def warnings_of(path: Path, attributes: Mapping[str, Any]) -> list[str]:
    """What was to be said when the features of a features or embeddings file were made: it touches all of them."""
    try:
        found = json.loads(attributes.get("warnings", "[]"))
    except (TypeError, ValueError, RecursionError):
        found = None
    if not (isinstance(found, list) and all(isinstance(text, str) for text in found)):
        raise StoreError(f"{path}: damaged (its warnings are not a list of texts): make or fetch it again")
    return [Warned(printable(text), 1.0) for text in found]


def offsets_of(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """int64 [n+1]: where each of n things that lie back to back begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
