"""Features -> embeddings: the noise frames of every video removed, the others averaged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import vidface
from vidface.embeddings.embed import embed_videos
from vidface.embeddings.options import MADE_FROM, ClusterOptions
from vidface.embeddings.pooling import POOLING
from vidface.embeddings.thresholds import threshold_text
from vidface.errors import StoreError, UsageError
from vidface.features.chunks import over_blocks, over_videos
from vidface.features.engines import Engine
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
    warnings_of,
    write_embeddings,
)


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


def _cluster_chunk(
    path: Path, offsets: npt.NDArray[np.int64], how: tuple[float | None, str]
) -> EmbeddingRows:
    """The embeddings of a chunk of videos, by a threshold and a way of pooling."""
    threshold, pool = how
    blocks = over_blocks(path, offsets, partial(embed_videos, threshold=threshold, pool=pool))
    embeddings, kept, labels, weights = zip(*blocks, strict=True)
    return EmbeddingRows(
        *(np.concatenate(embeddings), np.concatenate(kept), np.concatenate(labels)),
        None if pool == "largest" else np.concatenate(weights),
    )
