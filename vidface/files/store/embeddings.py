"""Writing and reading embeddings files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError, printable
from vidface.files.hdf5 import create, open_file, texts_of
from vidface.files.store.checksums import verify, write_attributes
from vidface.files.store.features import info_of
from vidface.files.store.schema import (
    COPY_ROWS,
    UNIT_TOLERANCE,
    EmbeddingRows,
    Embeddings,
    FeaturesInfo,
    offsets_of,
)


def write_embeddings(
    path: Path, source: FeaturesInfo, chunks: Iterable[EmbeddingRows], attributes: Mapping[str, Any]
) -> None:
    """Write the embeddings file of the source's videos from consecutive chunks of them, whole or not at all."""
    frames = np.diff(source.offsets)
    n_videos, n_frames = len(frames), int(source.offsets[-1] - source.offsets[0])
    digest = hashlib.sha256()
    texts = {"video_ids": texts_of(source.video_ids), "status": texts_of(source.status)}
    chunks = iter(chunks)
    first = next(chunks, None)
    weighted = first is not None and first.weights is not None
    n_bytes = (
        n_videos * (4 * source.dimension + 16)
        + (8 if weighted else 4) * n_frames
        + sum(text.nbytes for text in texts.values())
    )
    with create(path, n_bytes) as file:
        embeddings = file.create_dataset("embeddings", (n_videos, source.dimension), np.float32)
        kept = file.create_dataset("kept", (n_videos,), np.int64)
        labels = file.create_dataset("labels", (n_frames,), np.int32)
        weights = file.create_dataset("weights", (n_frames,), np.float32) if weighted else None
        video = frame = 0
        for chunk in chain([] if first is None else [first], chunks):
            embeddings[video : video + len(chunk.kept)] = chunk.embeddings
            kept[video : video + len(chunk.kept)] = chunk.kept
            labels[frame : frame + len(chunk.labels)] = chunk.labels
            if weights is not None:
                weights[frame : frame + len(chunk.labels)] = chunk.weights
            digest.update(chunk.embeddings.tobytes())
            video += len(chunk.kept)
            frame += len(chunk.labels)
        if (video, frame) != (n_videos, n_frames):
            raise StoreError(f"{path}: {video} of {n_videos} videos arrived; nothing was written")
        file["frames"] = frames
        for name, text in texts.items():
            file[name] = text
        digest.update("\0".join(source.video_ids).encode())
        write_attributes(
            file, "embeddings", {**attributes, "dimension": source.dimension}, digest.hexdigest()
        )


def read_embeddings(path: Path) -> Embeddings:
    """Read an embeddings file into memory.

    Raises:
        StoreError: missing, damaged, not an embeddings file, or of another schema version.
    """
    with open_file(path, "embeddings") as file:
        info = info_of(path, file)
        verify(path, file, info.attributes)
        if (file["labels"][:] < 0).any():
            raise ValueError("labels below 0")
        embeddings = file["embeddings"][:]
        _refuse_lengths(path, embeddings, info.video_ids)
        return Embeddings(
            path=path,
            video_ids=info.video_ids,
            embeddings=embeddings,
            frames=file["frames"][:],
            kept=file["kept"][:],
            labels=file["labels"][:],
            status=info.status,
            attributes=info.attributes,
            weights=file["weights"][:] if "weights" in file else None,
        )


def _refuse_lengths(path: Path, embeddings: npt.NDArray[np.float32], video_ids: Sequence[str]) -> None:
    """Refuse rows that are neither of length 1 nor zero: every cosine of theirs would be wrong."""
    for start in range(0, len(embeddings), COPY_ROWS):
        norms = np.linalg.norm(embeddings[start : start + COPY_ROWS].astype(np.float64), axis=1)
        wrong = np.flatnonzero(~((np.abs(norms - 1) <= UNIT_TOLERANCE) | (norms == 0)))
        if len(wrong):
            name, length = printable(video_ids[start + wrong[0]]), norms[wrong[0]]
            raise StoreError(
                f"{path}: damaged (the embedding of video {name} has length {length:.4g}, not 1 or 0)"
            )


def embedding_chunks(path: Path) -> Iterator[EmbeddingRows]:
    """The content of an embeddings file in chunks of videos: memory does not grow with their number."""
    with open_file(path, "embeddings") as file:
        offsets = offsets_of(file["frames"][:])
        for start in range(0, len(offsets) - 1, COPY_ROWS):
            stop = min(start + COPY_ROWS, len(offsets) - 1)
            yield EmbeddingRows(
                file["embeddings"][start:stop],
                file["kept"][start:stop],
                file["labels"][offsets[start] : offsets[stop]],
                file["weights"][offsets[start] : offsets[stop]] if "weights" in file else None,
            )
