"""Features -> embeddings: the noise frames of every video removed, the others averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

import vidface
from vidface.embeddings.embed import embed_videos
from vidface.embeddings.options import MADE_FROM, ClusterOptions
from vidface.embeddings.thresholds import threshold_text
from vidface.errors import StoreError, UsageError
from vidface.features.engines import Engine
from vidface.features.engines.local import local_engine
from vidface.features.options import CARRIED
from vidface.files.shares import shard_range, shard_text
from vidface.files.software import software_text
from vidface.files.stage_output import stage_output
from vidface.files.store import (
    EmbeddingRows,
    Embeddings,
    FeaturesInfo,
    attribute_of,
    read_attributes,
    read_embeddings,
    read_features,
    read_tracks,
    refuse_not_finite,
    row_blocks,
    verify_file,
    warnings_of,
    write_embeddings,
)
from vidface.runtime import progress

CHUNK_ROWS = 16_384  # frames a task, of some 500 videos: every core of a large machine gets several tasks
BLOCK_ROWS = 2_048  # frames read at a time: they are still in the cache when they are clustered
POOLING = {
    "largest": "mean of L2-normalised frames, L2-normalised",
    "size": "mean of L2-normalised frames, weighted by cluster size, L2-normalised",
    "size-norm": "mean of L2-normalised frames, weighted by cluster size and norm, L2-normalised",
}

Result = TypeVar("Result")


@dataclass(frozen=True)
class ClusterResult:
    """The embeddings file's content, and whether it was there already."""

    embeddings: Embeddings
    already_done: bool


def cluster(
    features: Path,
    output: Path,
    options: ClusterOptions,
    *,
    engine: Engine | None = None,
    overwrite: bool = False,
) -> ClusterResult:
    """Cluster every video's frames, average the largest cluster, or all by weight, and write the embeddings file.

    Args:
        features: a features file.
        output: the embeddings file to write.
        options: what `vidface cluster` takes. ``threshold`` is the cosine from which two frames are joined. ``pool``:
            ``size`` and ``size-norm`` average all frames, weighted as in `vidface.embeddings.pooling.weigh_frames`;
            the clusters are the same. ``by``: tracks are those of `tracks_of`.
        engine: where the work runs, from `vidface.features.engines.open_engine`; None: every core of this machine. The
            file does not depend on it.
        overwrite: replace an output that was made otherwise.

    Raises:
        ChangedError: the output was made from other features, or with another threshold or rule.
        UsageError: another run writes this output now, there are fewer videos than shares, or no tracks.
    """
    source = read_features(features)
    share = shard_range(len(source.video_ids), options.shard, "videos")
    source = replace(
        source,
        video_ids=source.video_ids[share.start : share.stop],
        offsets=source.offsets[share.start : share.stop + 1],
        status=source.status[share.start : share.stop],
    )
    if options.by == "track":
        source = tracks_of(source)
    made_from = _made_from(source, options)
    with stage_output(output, made_from, _read_made_from, inputs=[features], overwrite=overwrite) as out:
        if out.already_done:
            return ClusterResult(read_embeddings(output), already_done=True)
        of_features = {name: source.attributes.get(name) for name in CARRIED}
        of_features["features_shard"] = source.attributes.get("shard")
        attributes = {
            **ClusterOptions.written(made_from),
            **{name: value for name, value in of_features.items() if value is not None},
            "program_version": vidface.__version__,
            **({} if options.shard is None else {"software": software_text()}),
            **attribute_of(warnings_of(features, source.attributes)),
        }
        how, what = (options.cosine(), options.pool), f"{options.by}s"
        chunks = over_videos(source, _cluster_chunk, how, engine=engine, label="cluster", what=what)
        write_embeddings(output, source, chunks, attributes)
    return ClusterResult(read_embeddings(output), already_done=False)


def _made_from(source: FeaturesInfo, options: ClusterOptions) -> dict[str, Any]:
    values = {
        **options.in_file(),
        "features_sha256": source.attributes["content_sha256"],
        "threshold": threshold_text(options.cosine()),
        "pooling": POOLING[options.pool],
        "shard": shard_text(options.shard),
    }
    return {name: values[name] for name in MADE_FROM}


def _read_made_from(embeddings: Path) -> dict[str, Any]:
    return ClusterOptions.where_absent() | read_attributes(embeddings, "embeddings")


def tracks_of(source: FeaturesInfo) -> FeaturesInfo:
    """Every track of the videos as if it were a video: its id is ``VIDEO#TRACK``, its status that of its video.

    A video without faces stays, as its track 0 without rows.

    Raises:
        UsageError: the rows of the file are frames, not faces of tracks.
        StoreError: the tracks of a video are not in order.
    """
    tracks = read_tracks(source.path)
    if tracks is None:
        raise UsageError(
            f"{source.path}: has no tracks: --by track needs features of `vidface extract --faces detect`"
        )
    ids: list[str] = []
    status: list[str] = []
    ends = [int(source.offsets[0])]
    for video, (start, stop) in enumerate(pairwise(source.offsets.tolist())):
        own = tracks[start:stop]  # rows of a track lie together
        if (np.diff(own, prepend=0) < 0).any():
            raise StoreError(f"{source.path}: damaged (tracks of a video are not in order)")
        ends += [*(start + 1 + np.flatnonzero(np.diff(own))).tolist(), stop]
        for track in own[np.flatnonzero(np.diff(own, prepend=-1))].tolist() or [0]:
            ids.append(f"{source.video_ids[video]}#{track}")
            status.append(source.status[video])
    return replace(source, video_ids=ids, offsets=np.array(ends, np.int64), status=status)


def over_videos(
    source: FeaturesInfo,
    function: Callable[[Path, npt.NDArray[np.int64], Any], Result],
    argument: Any,
    *,
    engine: Engine | None,
    label: str,
    what: str = "videos",
) -> Iterator[Result]:
    """Call ``function(path, offsets, argument)`` over chunks of consecutive videos; results in order.

    The file is compared with its digests meanwhile, so results count only once the iterator has ended.

    Workers read their own rows from the file, so only results travel, and memory is bounded by the chunks in flight.
    Here they are threads: what the functions do is compiled and lets go of the interpreter's lock.
    """
    stamp = _stamp(source.path)
    chunks = list(_chunks(source.offsets, CHUNK_ROWS))
    content = str(source.attributes["content_sha256"])
    tasks = ((function, source.path, content, source.offsets[a : b + 1], argument) for a, b in chunks)
    map_ordered = (engine or local_engine()).map_ordered
    with progress(label, len(source.video_ids), what) as advance, ThreadPoolExecutor(1) as aside:
        # Beside the work, which leaves the file in memory: of both, hashing is the shorter.
        verified = aside.submit(verify_file, source.path, source.attributes)
        for (start, stop), result in zip(chunks, map_ordered(_of_content, tasks), strict=True):
            yield result
            advance(stop - start)
        verified.result()
        if _stamp(source.path) != stamp:
            raise StoreError(f"{source.path}: was changed while it was read; run again")


def _of_content(
    function: Callable[[Path, npt.NDArray[np.int64], Any], Result],
    path: Path,
    content: str,
    offsets: npt.NDArray[np.int64],
    argument: Any,
) -> Result:
    """The task itself, wherever it runs: on another machine another file may lie at that path.

    Raises:
        StoreError: it does.
    """
    if _content(path, _stamp(path)) != content:
        raise StoreError(
            f"{path}: not the features that the command started with: keep the same file on all machines, and leave it "
            "as it is while it is read"
        )
    return function(path, offsets, argument)


@lru_cache(maxsize=16)
def _content(path: Path, _version: tuple[int, ...]) -> str:
    """What a features file says that it holds; ``_version`` tells one state of it from the next."""
    return str(read_attributes(path, "features").get("content_sha256"))


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def video_blocks(
    path: Path, offsets: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
    """The features of consecutive videos and their own offsets, a few videos at a time, so that they stay in the cache.

    Args:
        path: a features file.
        offsets: int64 [v+1], rows of the file.

    Yields:
        ([F, D], int64 [w+1]) as `vidface.embeddings.embed.embed_videos` takes them, valid until the next is asked for.

    Raises:
        StoreError: a row is not finite.
    """
    cuts = [0, *(stop for _, stop in _chunks(offsets, BLOCK_ROWS))]
    blocks = row_blocks(path, [int(offsets[cut]) for cut in cuts])
    for start, stop, block in zip(cuts[:-1], cuts[1:], blocks, strict=True):
        refuse_not_finite(path, block, int(offsets[start]))
        yield block, offsets[start : stop + 1] - offsets[start]


def _chunks(offsets: npt.NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Consecutive videos of together at most so many frames, or one longer video."""
    start, n_videos = 0, len(offsets) - 1
    while start < n_videos:
        stop = int(np.searchsorted(offsets, offsets[start] + rows, side="right")) - 1
        stop = min(max(stop, start + 1), n_videos)
        yield start, stop
        start = stop


def _cluster_chunk(
    path: Path, offsets: npt.NDArray[np.int64], how: tuple[float | None, str]
) -> EmbeddingRows:
    """The embeddings of a chunk of videos, by a threshold and a way of pooling."""
    threshold, pool = how
    blocks = [
        embed_videos(block, bounds, threshold, pool=pool) for block, bounds in video_blocks(path, offsets)
    ]
    embeddings, kept, labels, weights = zip(*blocks, strict=True)
    rows = map(np.concatenate, (embeddings, kept, labels))
    return EmbeddingRows(*rows, None if pool == "largest" else np.concatenate(weights))
