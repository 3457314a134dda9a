"""Runs of videos as small features files, and their joining into one: rows are moved in blocks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from vidface.files.faces import FACE_COUNTS, NO_FACES, FaceRows
from vidface.files.hdf5 import create, open_file, read_texts, texts_of
from vidface.files.store.checksums import sum_of_rows, write_attributes
from vidface.files.store.schema import COPY_ROWS, FACE_DATASETS, Fault, VideoRows, offsets_of

_FACE_BYTES = sum(like.itemsize * int(np.prod(like.shape[1:])) for like in NO_FACES)


def write_shard(path: Path, videos: Sequence[VideoRows], dimension: int, dtype: str) -> None:
    """Write a chunk of consecutive videos as one small features file, whole or not at all."""
    counts = [len(video.features) for video in videos]
    features = np.concatenate([np.empty((0, dimension), dtype), *(video.features for video in videos)])
    arrays = {
        "features": features.astype(dtype, copy=False),
        "timestamps": np.concatenate(
            [np.empty(0, np.float32), *(video.timestamps for video in videos)], dtype=np.float32
        ),
        "offsets": offsets_of(counts),
        "video_ids": texts_of([video.video_id for video in videos]),
        "status": texts_of([video.status for video in videos]),
        "faults": texts_of([json.dumps(video.faults, ensure_ascii=False) for video in videos]),
    }
    faces = [video.faces for video in videos if video.faces is not None]
    if faces:
        arrays |= {name: np.concatenate(parts) for name, *parts in zip(FaceRows._fields, *faces, strict=True)}
        arrays["face_counts"] = np.array([video.face_counts for video in videos], np.int64)
    with create(path, sum(array.nbytes for array in arrays.values())) as file:
        for name, array in arrays.items():
            file[name] = array


def shard_faults(shards: Sequence[Path]) -> Iterator[Fault]:
    """The faults of all videos of the shards, in order."""
    for shard in shards:
        with open_file(shard) as file:
            faults = [json.loads(text) for text in read_texts(file, "faults")]
        for of_video in faults:
            yield from of_video


def join_shards(
    shards: Sequence[Path], output: Path, attributes: Mapping[str, Any], *, keep_faults: bool = False
) -> None:
    """Join shards, in order, into one features file; with ``keep_faults`` it holds their faults, as shards do.

    Rows are moved in blocks: memory does not grow with the number of frames.
    """
    ids: list[str] = []
    status: list[str] = []
    counts: list[npt.NDArray[np.int64]] = []
    for shard in shards:
        with open_file(shard) as file:
            ids += read_texts(file, "video_ids")
            status += read_texts(file, "status")
            counts.append(np.diff(file["offsets"][:]))
            dimension, dtype = file["features"].shape[1], file["features"].dtype
            detected = "face_counts" in file
    offsets = offsets_of(np.concatenate(counts))
    digest = hashlib.sha256()
    texts = {"video_ids": texts_of(ids), "status": texts_of(status)}
    if keep_faults:
        faults = shard_faults(shards)
        texts["faults"] = texts_of([json.dumps([fault], ensure_ascii=False) for fault in faults])
    row_bytes = dimension * dtype.itemsize + 4
    n_bytes = int(offsets[-1]) * row_bytes + offsets.nbytes + sum(text.nbytes for text in texts.values())
    if detected:
        n_bytes += int(offsets[-1]) * _FACE_BYTES + len(ids) * 8 * len(FACE_COUNTS)
    with create(output, n_bytes) as joined:
        features = joined.create_dataset("features", (offsets[-1], dimension), dtype)
        timestamps = joined.create_dataset("timestamps", (offsets[-1],), np.float32)
        row = total = 0
        for block, times in _blocks(shards, "features", "timestamps"):
            features[row : row + len(block)] = block
            timestamps[row : row + len(block)] = times
            digest.update(block.data)
            total += sum_of_rows(block, row)
            row += len(block)
        if detected:
            _join_faces(shards, joined, int(offsets[-1]), len(ids), digest)
        joined["offsets"] = offsets
        for name, text in texts.items():
            joined[name] = text
        sha256 = _features_sha256(digest, offsets, ids)
        made = {**attributes, "dimension": dimension}
        write_attributes(joined, "features", made, sha256, rows_sum=total % 2**64)


def joined_sha256(shards: Sequence[Path], offsets: npt.NDArray[np.int64], video_ids: Sequence[str]) -> str:
    """The ``content_sha256`` of the features file that `join_shards` makes of the shards."""
    digest = hashlib.sha256()
    for name in ("features", *FACE_DATASETS):
        for (block,) in _blocks(shards, name):
            digest.update(block.data)
    return _features_sha256(digest, offsets, video_ids)


def _join_faces(shards: Sequence[Path], joined: h5py.File, n_rows: int, n_videos: int, digest: Any) -> None:
    """Join what the shards hold of detected faces."""
    for name, like in zip(FaceRows._fields, NO_FACES, strict=True):
        joined.create_dataset(name, (n_rows, *like.shape[1:]), like.dtype)
    joined.create_dataset("face_counts", (n_videos, len(FACE_COUNTS)), np.int64)
    joined["face_counts"].attrs["columns"] = ",".join(FACE_COUNTS)
    for name in FACE_DATASETS:
        filled = 0
        for (block,) in _blocks(shards, name):
            joined[name][filled : filled + len(block)] = block
            filled += len(block)
            digest.update(block.data)


def _blocks(shards: Sequence[Path], *names: str) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Blocks of rows of datasets of one length, in order; nothing of a dataset that is not there."""
    for shard in shards:
        with open_file(shard) as file:
            for start in range(0, len(file[names[0]]) if names[0] in file else 0, COPY_ROWS):
                yield tuple(file[name][start : start + COPY_ROWS] for name in names)


def _features_sha256(rows: Any, offsets: npt.NDArray[np.int64], video_ids: Sequence[str]) -> str:
    """Of the rows and faces, whose digest is given and used up, then of offsets and ids."""
    rows.update(offsets.tobytes())
    rows.update("\0".join(video_ids).encode())
    return str(rows.hexdigest())
