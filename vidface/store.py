"""The HDF5 files: features (a row a frame) and embeddings (a row a video); one schema, written whole or not at all.

Features file: ``features`` float16 or float32 [F, D], contiguous; ``offsets`` int64 [V+1], rows of video v are
``features[offsets[v]:offsets[v+1]]``; ``video_ids`` [V]; ``timestamps`` float32 [F], seconds; ``status`` [V].
Where faces were detected, a row is a face, and the arrays of `FaceRows` lie beside the rows, in order of (track, time)
within a video; ``face_counts`` int64 [V, 8] says what became of all faces, in the columns `FACE_COUNTS`.
Embeddings file: ``embeddings`` float32 [V, D], L2-normalised or all zero; ``video_ids``, ``status`` [V];
``frames`` and ``kept`` int64 counts [V]; ``labels`` int32 [F], the cluster of every frame, 0 is the kept one.
Where all frames count by their weight: ``weights`` float32 [F], the share of every frame in its video's embedding;
``kept`` then counts the frames with a share.
What the rows were made from stands in the attributes of the file, ``content_sha256`` among them, so that every
later file can name its input exactly. A file with share I of N of the videos has the attribute ``shard``, "I/N"; if it
holds features, also ``faults``, a JSON text for each. A file is written beside its name, synced and renamed: HDF5 that
is killed while being appended to cannot be opened again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from vidface.errors import StoreError
from vidface.hdf5 import SCHEMA_VERSION, create, open_file, read_texts, texts_of

COPY_ROWS = 8192  # rows moved at a time where a file is joined or hashed: 17 MB at 512 x float32

# Of a video in which faces were detected: frames read, those without a face, faces found, and those of them that are no
# rows, each for one reason. Rows are the faces found, less the rest.
FACE_COUNTS = (
    *("frames", "without_face", "found"),
    *("too_small", "turned", "blurred", "not_finite", "other_track"),
)

Fault = dict[str, str]


class FaceRows(NamedTuple):
    """The faces that rows of features are of, as detected.

    Attributes:
        boxes: float32 [f, 4], x0, y0, x1, y1 in pixels of the upright frame.
        points: float32 [f, 5, 2], x, y: image-left eye, image-right eye, nose, image-left and image-right mouth corner.
        scores: float32 [f], the detector's.
        sharpness: float32 [f], of the aligned face; see `vidface.faces.quality`.
        tracks: int32 [f], number of the face's track within its video, 0 is the main person.
    """

    boxes: npt.NDArray[np.float32]
    points: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    tracks: npt.NDArray[np.int32]


NO_FACES = FaceRows(
    np.empty((0, 4), np.float32),
    np.empty((0, 5, 2), np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.float32),
    np.empty(0, np.int32),
)


_FACE_DATASETS = (*FaceRows._fields, "face_counts")
_FACE_BYTES = sum(like.itemsize * int(np.prod(like.shape[1:])) for like in NO_FACES)


class VideoRows(NamedTuple):
    """The features of one video.

    Attributes:
        video_id: its id.
        features: [f, D].
        timestamps: float32 [f], seconds.
        status: ``ok``, ``partial`` or ``failed``.
        faults: what was wrong with it.
        faces: where rows are detected faces, those; all videos of a file have them, or none.
        face_counts: as `FACE_COUNTS`, where there are ``faces``.
    """

    video_id: str
    features: npt.NDArray[Any]
    timestamps: npt.NDArray[np.float32]
    status: str
    faults: list[Fault]
    faces: FaceRows | None = None
    face_counts: tuple[int, ...] = ()


class EmbeddingRows(NamedTuple):
    """A run of consecutive videos after clustering; shapes as in the embeddings file."""

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

        Those of cluster 0; where all count by weight, those with at least an equal share.
        """
        if self.weights is None:
            return np.asarray(self.labels[start:stop] == 0)
        equal = (1 - 1e-6) / max(stop - start, 1)  # the shares are rounded
        return np.asarray(self.weights[start:stop] >= equal)


def write_shard(path: Path, videos: Sequence[VideoRows], dimension: int, dtype: str) -> None:
    """Write a run of consecutive videos as one small features file, whole or not at all."""
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
            texts = read_texts(file, "faults")
        for text in texts:
            yield from json.loads(text)


def join_shards(
    shards: Sequence[Path], output: Path, attributes: Mapping[str, Any], *, keep_faults: bool = False
) -> None:
    """Join shards, in order, into one features file; with ``keep_faults`` it holds their faults, as shards do.

    Rows are moved in blocks: memory does not grow with the number of frames.

    Raises:
        StoreError: a shard is damaged (delete it; it is made again).
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
        row = 0
        for shard in shards:
            for block, times in _shard_blocks(shard):
                features[row : row + len(block)] = block
                timestamps[row : row + len(block)] = times
                digest.update(block.data)
                row += len(block)
        if detected:
            _join_faces(shards, joined, int(offsets[-1]), len(ids), digest)
        joined["offsets"] = offsets
        for name, text in texts.items():
            joined[name] = text
        sha256 = _features_sha256(digest, offsets, ids)
        _write_attributes(joined, "features", {**attributes, "dimension": dimension}, sha256)


def joined_sha256(shards: Sequence[Path], offsets: npt.NDArray[np.int64], video_ids: Sequence[str]) -> str:
    """The ``content_sha256`` of the features file that `join_shards` makes of the shards."""
    digest = hashlib.sha256()
    for shard in shards:
        for block, _ in _shard_blocks(shard):
            digest.update(block.data)
    for _, block in _face_blocks(shards):
        digest.update(block.data)
    return _features_sha256(digest, offsets, video_ids)


def _join_faces(shards: Sequence[Path], joined: h5py.File, n_rows: int, n_videos: int, digest: Any) -> None:
    """Join what the shards hold of detected faces."""
    for name, like in zip(FaceRows._fields, NO_FACES, strict=True):
        joined.create_dataset(name, (n_rows, *like.shape[1:]), like.dtype)
    joined.create_dataset("face_counts", (n_videos, len(FACE_COUNTS)), np.int64)
    joined["face_counts"].attrs["columns"] = ",".join(FACE_COUNTS)
    filled = dict.fromkeys(_FACE_DATASETS, 0)
    for name, block in _face_blocks(shards):
        joined[name][filled[name] : filled[name] + len(block)] = block
        filled[name] += len(block)
        digest.update(block.data)


def _face_blocks(shards: Sequence[Path]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Of each dataset of detected faces its blocks, in order; nothing where the rows are frames."""
    for name in _FACE_DATASETS:
        for shard in shards:
            with open_file(shard) as file:
                if "face_counts" not in file:
                    return
                for start in range(0, len(file[name]), COPY_ROWS):
                    yield name, file[name][start : start + COPY_ROWS]


def _features_sha256(rows: Any, offsets: npt.NDArray[np.int64], video_ids: Sequence[str]) -> str:
    """Of the rows and faces, whose digest is given and used up, then of offsets and ids."""
    rows.update(offsets.tobytes())
    rows.update("\0".join(video_ids).encode())
    return str(rows.hexdigest())


def read_features(path: Path) -> FeaturesInfo:
    """Open a features file and check it; rows are read later, in blocks.

    Raises:
        StoreError: missing, damaged, not a features file, or of another schema version.
    """
    return read_info(path, "features")


def read_info(path: Path, *kinds: str) -> FeaturesInfo:
    """Open a file of one of these kinds, ``features`` and ``embeddings``, and check it; its rows stay there.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, *kinds) as file:
        if file.attrs["kind"] == "features":
            offsets = file["offsets"][:]
        else:
            offsets = offsets_of(file["frames"][:])
        return FeaturesInfo(
            path=path,
            video_ids=read_texts(file, "video_ids"),
            offsets=offsets,
            status=read_texts(file, "status"),
            attributes=dict(file.attrs),
        )


def read_rows(path: Path, start: int, stop: int) -> npt.NDArray[Any]:
    """Rows ``start`` to ``stop`` (exclusive) of a features file, [rows, D], in the file's own dtype.

    Raises:
        StoreError: as in `read_features`.
    """
    return next(row_blocks(path, [start, stop]))


def read_timestamps(path: Path, start: int, stop: int) -> npt.NDArray[np.float32]:
    """The times of rows ``start`` to ``stop`` (exclusive) of a features file, float32 [rows], seconds.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        times: npt.NDArray[np.float32] = file["timestamps"][start:stop]
        return times


def read_faces(path: Path, start: int, stop: int) -> FaceRows | None:
    """The faces that rows ``start`` to ``stop`` (exclusive) of a features file are of; None: the rows are frames.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        if "faces" not in file.attrs:
            return None
        return FaceRows(*(file[name][start:stop] for name in FaceRows._fields))


def read_tracks(path: Path) -> npt.NDArray[np.int32] | None:
    """The track of every row of a features file, int32 [F]; None: the rows are frames.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        return file["tracks"][:] if "faces" in file.attrs else None


def read_face_counts(path: Path) -> npt.NDArray[np.int64] | None:
    """What became of the faces of every video of a features file, int64 [V, 8], columns as `FACE_COUNTS`, or None.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, "features") as file:
        return file["face_counts"][:] if "faces" in file.attrs else None


def face_totals(path: Path) -> dict[str, int] | None:
    """What became of the faces of all videos of a features file, by `FACE_COUNTS`; None: the rows are frames.

    Raises:
        StoreError: as in `read_features`.
    """
    counts = read_face_counts(path)
    return None if counts is None else dict(zip(FACE_COUNTS, counts.sum(axis=0).tolist(), strict=True))


def row_blocks(path: Path, bounds: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """Rows ``bounds[i]`` to ``bounds[i + 1]`` of a features file, for every i; all blocks may share their memory.

    Rows that lie in the file as they are, as those of our own files do, are read past HDF5: it lets one thread of a
    process read at a time.

    Args:
        path: a features file.
        bounds: row numbers, ascending.

    Yields:
        [rows, D] in the file's own dtype, valid until the next is asked for.

    Raises:
        StoreError: as in `read_features`, or the file ends before the rows do.
    """
    try:
        stat = path.stat()
    except OSError:
        raise StoreError(f"{path}: no such file") from None
    layout = _features_layout(path, (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    if not 0 <= bounds[0] <= bounds[-1] <= layout.rows:
        raise StoreError(f"{path}: damaged (rows {bounds[0]} to {bounds[-1]} of {layout.rows})")
    if layout.begin is None:
        with open_file(path) as file:
            for start, stop in pairwise(bounds):
                yield file["features"][start:stop]
        return
    longest = max((stop - start for start, stop in pairwise(bounds)), default=0)
    buffer = np.empty((longest, layout.dimension), layout.dtype)
    row_bytes = layout.dimension * layout.dtype.itemsize
    with path.open("rb", buffering=0) as raw:
        raw.seek(layout.begin + bounds[0] * row_bytes)
        for start, stop in pairwise(bounds):
            block = buffer[: stop - start]
            missing = block.reshape(-1).view(np.uint8).data
            while missing:  # one read brings 2 GB at most
                try:
                    count = raw.readinto(missing)
                except OSError as error:
                    raise StoreError(f"{path}: damaged ({error.strerror})") from None
                if not count:
                    raise StoreError(f"{path}: damaged (it ends before row {stop})")
                missing = missing[count:]
            yield block


class _Layout(NamedTuple):
    """Of the rows in a features file; ``begin`` is their first byte, None where they are not all in one piece."""

    rows: int
    dimension: int
    dtype: np.dtype[Any]
    begin: int | None


@lru_cache(maxsize=16)
def _features_layout(path: Path, version: tuple[int, ...]) -> _Layout:
    """``version`` tells one state of the file from the next: tasks ask again and again, and HDF5 takes its time."""
    with open_file(path) as file:
        features = file["features"]
        properties = features.id.get_create_plist()
        plain = properties.get_layout() == h5py.h5d.CONTIGUOUS and not properties.get_external_count()
        begin = features.id.get_offset() if plain else None  # None as well where nothing was ever written
        rows, dimension = features.shape
        return _Layout(rows, dimension, features.dtype, begin)


def write_embeddings(
    path: Path, source: FeaturesInfo, runs: Iterable[EmbeddingRows], attributes: Mapping[str, Any]
) -> None:
    """Write the embeddings file of the source's videos from consecutive runs of them, whole or not at all."""
    frames = np.diff(source.offsets)
    n_videos, n_frames = len(frames), int(source.offsets[-1] - source.offsets[0])
    digest = hashlib.sha256()
    texts = {"video_ids": texts_of(source.video_ids), "status": texts_of(source.status)}
    runs = iter(runs)
    first = next(runs, None)
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
        for run in chain([] if first is None else [first], runs):
            embeddings[video : video + len(run.kept)] = run.embeddings
            kept[video : video + len(run.kept)] = run.kept
            labels[frame : frame + len(run.labels)] = run.labels
            if weights is not None:
                weights[frame : frame + len(run.labels)] = run.weights
            digest.update(run.embeddings.tobytes())
            video += len(run.kept)
            frame += len(run.labels)
        if (video, frame) != (n_videos, n_frames):
            raise StoreError(f"{path}: {video} of {n_videos} videos arrived; nothing was written")
        file["frames"] = frames
        for name, text in texts.items():
            file[name] = text
        digest.update("\0".join(source.video_ids).encode())
        _write_attributes(
            file, "embeddings", {**attributes, "dimension": source.dimension}, digest.hexdigest()
        )


def read_embeddings(path: Path) -> Embeddings:
    """Read an embeddings file into memory.

    Raises:
        StoreError: missing, damaged, not an embeddings file, or of another schema version.
    """
    with open_file(path, "embeddings") as file:
        return Embeddings(
            path=path,
            video_ids=read_texts(file, "video_ids"),
            embeddings=file["embeddings"][:],
            frames=file["frames"][:],
            kept=file["kept"][:],
            labels=file["labels"][:],
            status=read_texts(file, "status"),
            attributes=dict(file.attrs),
            weights=file["weights"][:] if "weights" in file else None,
        )


def embedding_runs(path: Path) -> Iterator[EmbeddingRows]:
    """The content of an embeddings file in runs of videos: memory does not grow with their number.

    Raises:
        StoreError: as in `read_embeddings`.
    """
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


def read_attributes(path: Path, kind: str) -> dict[str, Any]:
    """The attributes of a features or embeddings file: what it was made from.

    Raises:
        StoreError: as in `read_features`.
    """
    with open_file(path, kind) as file:
        return dict(file.attrs)


def _shard_blocks(shard: Path) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.float32]]]:
    with open_file(shard) as file:
        for start in range(0, len(file["features"]), COPY_ROWS):
            rows = slice(start, start + COPY_ROWS)
            yield file["features"][rows], file["timestamps"][rows]


def offsets_of(counts: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """int64 [n+1]: where each of n things that lie back to back begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _write_attributes(file: h5py.File, kind: str, attributes: Mapping[str, Any], content_sha256: str) -> None:
    file.attrs.update(
        {"kind": kind, "schema_version": SCHEMA_VERSION, **attributes, "content_sha256": content_sha256}
    )
