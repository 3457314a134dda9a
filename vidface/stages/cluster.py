"""Features -> embeddings: the noise frames of every video removed, the others averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed

import vidface
from vidface.clustering import cluster_frames, normalise_rows
from vidface.machine import cpu_count
from vidface.pooling import pool_frames
from vidface.progress import progress
from vidface.stages.outputs import exclusive, refuse_changed
from vidface.stages.shards import Shard, shard_range, shard_text
from vidface.stages.thresholds import threshold_text
from vidface.store import (
    EmbeddingRows,
    Embeddings,
    FeaturesInfo,
    read_attributes,
    read_embeddings,
    read_features,
    read_rows,
    write_embeddings,
)

RUN_ROWS = 65_536  # frames a task: 134 MB of float32 at 512 values, and some 2,000 videos
POOLING = "mean of L2-normalised frames, L2-normalised"

Result = TypeVar("Result")


@dataclass(frozen=True)
class ClusterResult:
    """The embeddings file's content, and whether it was there already."""

    embeddings: Embeddings
    already_done: bool


def cluster(
    features: Path,
    output: Path,
    *,
    threshold: float | None,
    workers: int | None = None,
    shard: Shard | None = None,
) -> ClusterResult:
    """Keep the largest cluster of every video's frames, average it, and write the embeddings file.

    Args:
        features: a features file.
        output: the embeddings file to write.
        threshold: cosine from which two frames are joined; None keeps every frame.
        workers: processes, None for as many as there are cores and work; the result does not depend on it.
        shard: (I, N): only the I-th of N shares of the videos, for `vidface.stages.merge`.

    Raises:
        ChangedError: the output was made from other features or with another threshold.
        UsageError: another run writes this output now, or there are fewer videos than shares.
    """
    source = read_features(features)
    share = shard_range(len(source.video_ids), shard, "videos")
    source = replace(
        source,
        video_ids=source.video_ids[share.start : share.stop],
        offsets=source.offsets[share.start : share.stop + 1],
        status=source.status[share.start : share.stop],
    )
    identity = {
        "features_sha256": source.attributes["content_sha256"],
        "threshold": threshold_text(threshold),
        "pooling": POOLING,
        "shard": shard_text(shard),
    }
    with exclusive(output):
        if output.exists():
            refuse_changed(output, read_attributes(output, "embeddings"), identity)
            return ClusterResult(read_embeddings(output), already_done=True)
        carried = ("manifest_sha256", "model_name", "model_sha256", "flip", "fps", "decoder")
        made_with = {
            **identity,
            **{name: source.attributes[name] for name in carried},
            "features_shard": source.attributes.get("shard"),
            "program_version": vidface.__version__,
        }
        attributes = {name: value for name, value in made_with.items() if value is not None}
        runs = over_videos(source, _cluster_run, threshold, workers=workers, label="cluster")
        write_embeddings(output, source, runs, attributes)
    return ClusterResult(read_embeddings(output), already_done=False)


def over_videos(
    source: FeaturesInfo,
    function: Callable[[Path, npt.NDArray[np.int64], Any], Result],
    argument: Any,
    *,
    workers: int | None,
    label: str,
) -> Iterator[Result]:
    """Call ``function(path, offsets, argument)`` over runs of consecutive videos; results in order.

    Workers read their own rows from the file, so only results travel, and memory is bounded by the runs in flight.
    """
    runs = list(_runs(source.offsets))
    workers = min(workers or cpu_count(), len(runs)) or 1
    tasks = (delayed(function)(source.path, source.offsets[a : b + 1], argument) for a, b in runs)
    with progress(label, len(source.video_ids), "videos") as advance:
        results = Parallel(n_jobs=workers, return_as="generator", pre_dispatch="2*n_jobs")(tasks)
        for (start, stop), result in zip(runs, results, strict=True):
            yield result
            advance(stop - start)


def unit_videos(path: Path, offsets: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.float32]]:
    """The L2-normalised frames, float32 [f, D], of consecutive videos; ``offsets`` [v+1] are rows of the file."""
    rows = normalise_rows(read_rows(path, int(offsets[0]), int(offsets[-1])))
    bounds = offsets - offsets[0]
    return (rows[a:b] for a, b in pairwise(bounds))


def _runs(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Consecutive videos of together at most `RUN_ROWS` frames, or one longer video."""
    start, n_videos = 0, len(offsets) - 1
    while start < n_videos:
        stop = int(np.searchsorted(offsets, offsets[start] + RUN_ROWS, side="right")) - 1
        stop = min(max(stop, start + 1), n_videos)
        yield start, stop
        start = stop


def _cluster_run(path: Path, offsets: npt.NDArray[np.int64], threshold: float | None) -> EmbeddingRows:
    embeddings, kept, labels = [], [], []
    for frames in unit_videos(path, offsets):
        labels.append(cluster_frames(frames, threshold))
        embeddings.append(pool_frames(frames, labels[-1] == 0))
        kept.append(np.count_nonzero(labels[-1] == 0))
    return EmbeddingRows(np.stack(embeddings), np.array(kept, np.int64), np.concatenate(labels))
