"""The HDF5 files: features (a row a frame) and embeddings (a row a video); one schema, written whole or not at all.

Features file: ``features`` float16 or float32 [F, D], contiguous; ``offsets`` int64 [V+1], rows of video v are
``features[offsets[v]:offsets[v+1]]``; ``video_ids`` [V]; ``timestamps`` float32 [F], seconds; ``status`` [V].
Where faces were detected, a row is a face, and the arrays of `FaceRows` lie beside the rows, in order of (track, time)
within a video; ``face_counts`` int64 [V, 8] says what became of all faces, in the columns `FACE_COUNTS`.
Embeddings file: ``embeddings`` float32 [V, D], L2-normalised or all zero; ``video_ids``, ``status`` [V];
``frames`` and ``kept`` int64 counts [V]; ``labels`` int32 [F], the cluster of every frame, 0 is the kept one.
Where all frames count by their weight: ``weights`` float32 [F], the share of every frame in its video's embedding;
``kept`` then counts the frames with a share.
What the rows were made from stands in the attributes of the file, ``content_sha256`` among them, so that every later
file can name its input exactly, what was to be said of them all in ``warnings``, a JSON list that is there if it holds
something, and ``rest_sha256`` of all but the rows, in features ``rows_sum`` of those: they are
compared when a whole file is read, see `vidface.files.store.checksums`. A file with share I of N of the videos has the
attributes ``shard``, "I/N", and ``software``, which made it; if it holds features, also ``faults``, a JSON text for
each. A file is written beside its name, synced and renamed: HDF5 that is killed while being appended to cannot be
opened again.
"""

from __future__ import annotations

from vidface.files.faces import FACE_COUNTS, NO_FACES, FaceRows
from vidface.files.store.checksums import verify_file
from vidface.files.store.embeddings import embedding_chunks, read_embeddings, write_embeddings
from vidface.files.store.features import (
    face_totals,
    not_finite,
    read_attributes,
    read_face_counts,
    read_faces,
    read_features,
    read_info,
    read_rows,
    read_timestamps,
    read_tracks,
    row_blocks,
)
from vidface.files.store.schema import (
    UNIT_TOLERANCE,
    EmbeddingRows,
    Embeddings,
    Fault,
    FeaturesInfo,
    VideoRows,
    attribute_of,
    offsets_of,
    warnings_of,
)
from vidface.files.store.shards import join_shards, joined_sha256, shard_faults, write_shard

__all__ = [
    "FACE_COUNTS",
    "NO_FACES",
    "UNIT_TOLERANCE",
    "EmbeddingRows",
    "Embeddings",
    "FaceRows",
    "Fault",
    "FeaturesInfo",
    "VideoRows",
    "attribute_of",
    "embedding_chunks",
    "face_totals",
    "join_shards",
    "joined_sha256",
    "not_finite",
    "offsets_of",
    "read_attributes",
    "read_embeddings",
    "read_face_counts",
    "read_faces",
    "read_features",
    "read_info",
    "read_rows",
    "read_timestamps",
    "read_tracks",
    "row_blocks",
    "shard_faults",
    "verify_file",
    "warnings_of",
    "write_embeddings",
    "write_shard",
]
