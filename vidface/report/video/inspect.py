"""One video of a features file, looked at closely: its clusters, which one is kept and why, what would change it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vidface.embeddings.exact import normalise_rows
from vidface.embeddings.pooling import POOLING, weigh_frames, weighted_mean
from vidface.embeddings.thresholds import threshold_text
from vidface.embeddings.union_find import cluster_frames, cluster_sweep
from vidface.errors import ChangedError, StoreError, UsageError, printable
from vidface.files import store
from vidface.files.hdf5 import open_file
from vidface.files.store import FaceRows, FeaturesInfo, read_features, read_info, read_rows, read_timestamps
from vidface.report.video.video_names import find_video

THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
PAIR_ROWS = 4096  # of a longer video only so many rows, evenly spread, are compared for the histogram
EDGES = np.linspace(-1, 1, 21)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]


class Cluster(NamedTuple):
    label: int  # 0 is the kept one
    rows: Counts  # numbers within the video, ascending
    inside: float | None  # mean cosine of its pairs; None for a single frame
    to_video: float  # mean cosine of its frames to the video's embedding
    norm: float  # mean length of its features, as the network gave them
    weight: float  # share of the video's embedding that its frames have


class Level(NamedTuple):
    """What another threshold would do: clusters, frames that are kept, and how many of those are kept now."""

    threshold: float | None
    clusters: int
    kept: int
    same: int


@dataclass(frozen=True)
class Inspection:
    """Everything about one video, one row per frame (per face, if faces were detected)."""

    info: FeaturesInfo
    video: int  # its place in the file
    video_id: str  # of one track, with ``#`` and the track's number
    first: int  # the first of these rows within the video: 0, or where the track begins
    threshold: str  # as text, or as the embeddings file says it
    pool: str | None  # one of `vidface.embeddings.pooling.POOLS`; None: a rule that is not known here
    pooling: str | None  # the rule in words, if an embeddings file says it
    times: Rows  # [n], seconds
    norms: Floats  # [n], of the features
    labels: Labels  # [n], 0 is kept
    cosines: Floats  # [n], to the video's embedding; 0 for a row without direction
    weights: Floats  # [n], shares of the embedding that add up to 1
    embedding: Rows  # [D]
    faces: FaceRows | None
    counts: dict[str, int]  # what became of all faces, by `vidface.files.store.FACE_COUNTS`; else empty
    clusters: list[Cluster]  # by label
    tracks: list[Cluster]  # by number, as if they were clusters; empty if no faces were detected
    why: str  # which cluster is kept, in a sentence
    levels: list[Level]  # other thresholds
    edges: Floats  # [B+1], of cosine bins
    together: Counts  # [B], pairs in one cluster
    apart: Counts  # [B], pairs in two
    compared: int  # of how many rows the pairs are

    @cached_property
    def sizes(self) -> dict[int, int]:
        return {cluster.label: len(cluster.rows) for cluster in self.clusters}

    @property
    def weighted(self) -> bool:
        """Whether all frames count, each by its weight; else one cluster does."""
        return self.pool not in (None, "largest")

    @property
    def what(self) -> str:
        return "frames" if self.faces is None else "faces"

    @property
    def rule(self) -> str:
        """The threshold, and which cluster is kept and why."""
        together = ", all tracks together" if len(self.tracks) > 1 else ""
        return f"threshold {printable(self.threshold)}{together}: {self.why}"

    @cached_property
    def kept(self) -> npt.NDArray[np.bool_]:
        """The rows of the kept cluster, bool [n]; if all count, those with at least an equal share."""
        if self.weighted:
            return np.asarray(self.weights >= (1 - 1e-9) / max(len(self.weights), 1))
        return np.asarray(self.labels == 0)


def inspect(
    features: Path,
    video: str,
    *,
    threshold: float | None = 0.4,
    pool: str = "largest",
    embeddings: Path | None = None,
) -> Inspection:
    """Look at one video; only its rows are read.

    Args:
        features: a features file.
        video: its id; ``ID#TRACK`` for one track, if faces were detected.
        threshold: as in `vidface.embeddings.union_find.cluster_frames`.
        pool: as in `vidface.embeddings.cluster.cluster`.
        embeddings: take clusters and embedding from this file, whatever its threshold and rule.

    Raises:
        UsageError: there is no such video; close ones are named.
        ChangedError: the embeddings were made from other features.
        StoreError: a file is missing or damaged, or the embeddings lack the video.
    """
    info = read_features(features)
    place, track = find_video(info, video)
    video = info.video_ids[place] + ("" if track is None else f"#{track}")  # as the file spells it
    start, stop = (int(bound) for bound in info.offsets[place : place + 2])
    faces = store.read_faces(features, start, stop) if "faces" in info.attributes else None
    first, last = 0, stop - start
    if track is not None:
        mine = np.flatnonzero(faces.tracks == track) if faces is not None else np.empty(0, np.int64)
        if not len(mine) and (track or last):  # track 0 of a video without faces is there, and empty
            raise UsageError(f"{printable(video)}: the video has no track {track}")
        first, last = (int(mine[0]), int(mine[-1]) + 1) if len(mine) else (0, 0)
        faces = store.read_faces(features, start + first, start + last)
    rows = np.asarray(read_rows(features, start + first, start + last))
    unit = normalise_rows(rows)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    rule: str | None = pool
    pooling = None
    if embeddings is None:
        labels, told = cluster_frames(unit, threshold), threshold_text(threshold)
        weights = _weights(pool, norms, labels)
        embedding = np.empty(unit.shape[1], np.float32)
        weighted_mean(unit, weights, embedding)
    else:
        labels, embedding, attributes = _stored(embeddings, info, video, last - first)
        told, pooling = str(attributes["threshold"]), str(attributes["pooling"])
        rule = next((name for name, words in POOLING.items() if words == pooling), None)
        weights = _weights(rule, norms, labels)
    cosines = np.einsum("ij,j->i", unit, embedding, dtype=np.float64)
    clusters = _clusters(unit, labels, cosines, norms, weights)
    counts = store.read_face_counts(features)
    together, apart, compared = _pairs(unit, labels)
    return Inspection(
        info=info,
        video=place,
        video_id=video,
        first=first,
        threshold=told,
        pool=rule,
        pooling=pooling,
        times=read_timestamps(features, start + first, start + last),
        norms=norms,
        labels=labels,
        cosines=cosines,
        weights=weights,
        embedding=embedding,
        faces=faces,
        counts={} if counts is None else dict(zip(store.FACE_COUNTS, counts[place].tolist(), strict=True)),
        clusters=clusters,
        tracks=[] if faces is None else _clusters(unit, faces.tracks, cosines, norms, weights),
        why=_why(clusters, told, rule, pooling),
        levels=_levels(unit, labels, told),
        edges=EDGES,
        together=together,
        apart=apart,
        compared=compared,
    )


def _stored(path: Path, info: FeaturesInfo, video: str, rows: int) -> tuple[Labels, Rows, dict[str, Any]]:
    """Labels and embedding of a video (or track) of so many rows from an embeddings file, and its attributes."""
    made, shown = read_info(path, "embeddings"), printable(video)
    if made.attributes.get("features_sha256") != info.attributes["content_sha256"]:
        raise ChangedError(f"{path}: made from other features than {info.path}: run vidface cluster again")
    if unsaid := [name for name in ("threshold", "pooling") if name not in made.attributes]:
        words = f"does not say how it was made ({', '.join(unsaid)})"
        raise StoreError(f"{path}: {words}: run vidface cluster again")
    if video not in made.video_ids:
        by_track = any(name.startswith(f"{video}#") for name in made.video_ids)
        what = f"its tracks have embeddings of their own: say {shown}#0" if by_track else "not in it"
        raise StoreError(f"{path}: {shown}: {what}")
    place = made.video_ids.index(video)
    start, stop = made.offsets[place : place + 2]
    with open_file(path, "embeddings") as file:
        labels: Labels = file["labels"][start:stop]
        embedding: Rows = file["embeddings"][place]
    if len(labels) != rows:
        raise StoreError(f"{path}: {shown}: {len(labels)} labels for {rows} rows")
    if (labels < 0).any():
        raise StoreError(f"{path}: damaged (labels below 0)")
    return labels, embedding, made.attributes


def _weights(pool: str | None, norms: Floats, labels: Labels) -> Floats:
    if pool not in (None, "largest"):
        return weigh_frames(norms, labels, by_norm=pool == "size-norm")
    kept = (labels == 0).astype(np.float64)
    return np.asarray(kept / max(kept.sum(), 1))


def _clusters(unit: Rows, labels: Labels, cosines: Floats, norms: Floats, weights: Floats) -> list[Cluster]:
    clusters = []
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order])) + 1
    for rows in np.split(order, starts) if len(order) else []:
        count = len(rows)
        mine = unit[rows]
        total = mine.sum(axis=0, dtype=np.float64)
        own = np.einsum("ij,ij->", mine, mine, dtype=np.float64)  # not quite the count: rows may be zero
        inside = float((total @ total - own) / (count * (count - 1))) if count > 1 else None
        label, to_video, norm = int(labels[rows[0]]), float(cosines[rows].mean()), float(norms[rows].mean())
        clusters.append(Cluster(label, rows, inside, to_video, norm, float(weights[rows].sum())))
    return clusters


def _why(clusters: Sequence[Cluster], threshold: str, pool: str | None, pooling: str | None) -> str:
    """Why the kept cluster is kept, by the rule of `vidface.embeddings.union_find`; or what counts how much."""
    if not clusters:
        return "nothing is kept: the video has no usable frame"
    total = sum(len(cluster.rows) for cluster in clusters)
    kept = clusters[0]
    size = len(kept.rows)
    if pool not in (None, "largest"):
        rule = "the size of their cluster" + (" and their norm" if pool == "size-norm" else "")
        return f"all {total} count, by {rule}: A, {size} of {total}, has {kept.weight:.1%} of the weight"
    if threshold == "none":
        return f"all {total} are kept: without a threshold nothing is clustered"
    if kept.label != 0:
        return "nothing is kept"
    if len(clusters) == 1:
        return f"all {total} are kept: they are one cluster"
    second = clusters[1]
    if size == 1:
        return f"no two of {total} are joined: the first is kept"
    if len(second.rows) < size:
        others = f"{len(clusters)} clusters, {size} of {total} (the next has {len(second.rows)})"
        return f"A is kept: the largest of {others}"
    if len(second.rows) > size:
        return f"A is kept, {size} of {total}, though a larger cluster is there: by the rule {printable(pooling or '')}"
    assert kept.inside is not None and second.inside is not None
    if kept.inside > second.inside:
        reason = f"its pairs have the larger cosine ({kept.inside:.4f}, B {second.inside:.4f})"
    else:
        reason = "it begins earlier"
    return f"A is kept: as large as B, {size} of {total}, but {reason}"


def _levels(unit: Rows, labels: Labels, threshold: str) -> list[Level]:
    """What the usual thresholds would do, and the one in use if it is a cosine."""
    thresholds: list[float | None] = [None, *THRESHOLDS]
    with contextlib.suppress(ValueError):
        if -1 <= (value := float(threshold)) <= 1:
            thresholds = [None, *sorted({*THRESHOLDS, value})]
    found = cluster_sweep(unit, thresholds) if len(unit) else np.zeros((len(thresholds), 0), np.int32)
    levels = []
    for level, others in zip(thresholds, found, strict=True):
        kept = others == 0
        same = kept & (labels == 0)
        levels.append(Level(level, len(np.unique(others)), int(kept.sum()), int(same.sum())))
    return levels


def _pairs(unit: Rows, labels: Labels) -> tuple[Counts, Counts, int]:
    """Counts of pairs by cosine, of those in one cluster and of those in two; row by row, so memory stays small."""
    if len(unit) > PAIR_ROWS:
        chosen = np.linspace(0, len(unit) - 1, PAIR_ROWS).astype(np.int64)
        unit, labels = unit[chosen], labels[chosen]
    bins = len(EDGES) - 1
    counts = np.zeros(2 * bins, np.int64)
    for row in range(1, len(unit)):
        places = np.searchsorted(EDGES, unit[:row] @ unit[row], side="right") - 1
        apart = labels[:row] != labels[row]
        counts += np.bincount(np.clip(places, 0, bins - 1) + bins * apart, minlength=2 * bins)
    return counts[:bins], counts[bins:], len(unit)
