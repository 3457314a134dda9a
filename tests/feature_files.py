"""Features files for tests: written by h5py alone, or by the store as a stage writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from vidface.files import store
from vidface.files.faces import FACE_COUNTS, NO_FACES
from vidface.manifest.manifest import Manifest

ATTRIBUTES = {"kind": "features", "schema_version": 1, "content_sha256": "c", "manifest_sha256": "m"}
ATTRIBUTES |= {"model_name": "m", "model_sha256": "f0", "flip": False, "decoder": "pyav", "fps": "8"}
# Where the five points of an aligned face of 112x112 lie.
POINTS = np.float32(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def features_file(
    path: Path,
    videos: Mapping[str, np.ndarray],
    *,
    times: Mapping[str, Any] | None = None,
    faces: Mapping[str, Any] | None = None,
    **attributes: Any,
) -> Path:
    """Rows of features a video, 8 a second; with ``faces``, columns of `FaceRows`, as of detected ones."""
    counts = [len(rows) for rows in videos.values()]
    seconds = times or {video: np.arange(len(rows)) / 8 for video, rows in videos.items()}
    text = h5py.string_dtype("utf-8", 60)
    with h5py.File(path, "w") as file:
        file["features"] = np.concatenate([np.float32(rows) for rows in videos.values()])
        file["timestamps"] = np.concatenate([np.float32(seconds[video]) for video in videos])
        file["offsets"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        file["video_ids"] = np.array([name.encode() for name in videos], text)
        file["status"] = np.array([b"ok" if count else b"failed" for count in counts], text)
        file.attrs.update(ATTRIBUTES | {"dimension": file["features"].shape[1]} | attributes)
        if faces is not None:
            file.attrs.update({"faces": "detect", "track": "all"})
            file["face_counts"] = np.zeros((len(counts), len(FACE_COUNTS)), np.int64)
            for name, like in NO_FACES._asdict().items():
                values = faces.get(name, np.ones((sum(counts), *like.shape[1:])))
                file[name] = np.asarray(values, like.dtype)
    return path


def stored_features(
    path: Path, truth: Manifest, rows: Mapping[str, np.ndarray], times: Mapping[str, Any] | None = None
) -> None:
    """The features of a manifest's videos, with all digests."""
    videos = []
    for video in truth.video_ids:
        seconds = np.arange(len(rows[video])) if times is None else times[video]
        status = "ok" if len(rows[video]) else "failed"
        videos.append(store.VideoRows(video, np.float32(rows[video]), np.float32(seconds), status, []))
    store.write_shard(path.with_suffix(".shard"), videos, videos[0].features.shape[1], "float32")
    made_with = {"manifest_sha256": truth.sha256, "model_name": "<script>", "model_sha256": "1" * 64}
    made_with |= {"flip": False, "fps": "8", "decoder": "pyav"}
    store.join_shards([path.with_suffix(".shard")], path, made_with)
