"""Blocks of faces -> rows of features: batches are filled across the videos of a chunk.

Where faces were detected, the tracklets of a video are linked to tracks here, since that takes features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.backbones import Backbone
from vidface.errors import printable
from vidface.features.engines.contract import Embed
from vidface.features.engines.reading import Block, Message, VideoEnd
from vidface.features.options import ExtractOptions
from vidface.features.rows import left_out, usable_rows
from vidface.files.faces import FILTERED, NO_FACES, FaceCounts, FaceRows, join_faces
from vidface.files.store import Fault, VideoRows
from vidface.frames.faces.link import MOST_JOINED, face_weights, link_tracks
from vidface.frames.frame import NOTES, Pixels


def face_embedder(backbone: Backbone, options: ExtractOptions) -> Embed:
    """The function from faces to features: with ``flip`` the sum of a face's and its mirrored face's, unnormalised."""

    def embed(pixels: Pixels) -> npt.NDArray[np.float32]:
        features = backbone.embed(pixels)
        return features + backbone.embed(pixels[:, :, ::-1]) if options.flip else features

    return embed


def embed_chunk(
    video_ids: Sequence[str],
    messages: Iterator[Message],
    embed: Embed,
    *,
    dimension: int,
    dtype: str,
    batch_size: int,
    advance: Callable[[int], None],
    track: str | None = None,
) -> list[VideoRows]:
    """The features of a chunk of videos, from their messages in order.

    With ``track`` rows are faces that were detected, of which ``main`` and ``centre`` keep each video's main person and
    ``all`` everybody; with None rows are frames. Memory holds one batch, and the features of the chunk.
    """
    features = [np.empty((0, dimension), dtype)]
    times: list[list[float]] = []
    faces: list[list[FaceRows]] = []
    ends: list[VideoEnd] = []
    batch: Pixels | None = None
    filled = 0
    for _ in video_ids:
        times.append([])
        faces.append([NO_FACES])
        while isinstance(message := next(messages), Block):
            times[-1] += message.times
            if message.faces is not None:
                faces[-1].append(message.faces)
            if batch is None:
                batch = np.empty((batch_size, *message.pixels.shape[1:]), np.uint8)
            rest = message.pixels
            while len(rest):
                taken = rest[: batch_size - filled]
                batch[filled : filled + len(taken)] = taken
                filled, rest = filled + len(taken), rest[len(taken) :]
                if filled == batch_size:
                    features.append(_stored(embed(batch), dtype))
                    filled = 0
        ends.append(message)
        advance(1)
    if batch is not None and filled:
        features.append(_stored(embed(batch[:filled]), dtype))
    bounds = np.cumsum([0, *map(len, times)])
    rows = np.concatenate(features)
    return [
        _video_rows(
            video_id,
            rows[start:stop],
            np.array(times[i], np.float32),
            None if track is None else join_faces(faces[i]),
            ends[i],
            track,
        )
        for i, (video_id, (start, stop)) in enumerate(zip(video_ids, pairwise(bounds), strict=True))
    ]


def _stored(features: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # beyond float16: becomes infinite here, and a fault below
        return features.astype(dtype)


def _video_rows(
    video_id: str,
    features: npt.NDArray[Any],
    timestamps: npt.NDArray[np.float32],
    faces: FaceRows | None,
    end: VideoEnd,
    track: str | None,
) -> VideoRows:
    """Drop what the network could not embed and what a lost decoder had handed out, and say so.

    The tracklets of faces are linked, and the rows of a track come together, in order of time. A fault of kind
    ``filtered`` lists what the filters left out; it does not make a video partial.
    """
    faults = list(end.faults)
    if end.lost:
        features = features[:0]
    usable, lost = usable_rows(features)
    faults += left_out(lost, len(features), "frames gave" if faces is None else "faces gave")
    timestamps, features = timestamps[: len(usable)][usable], features[usable]
    counts = None
    if faces is not None:
        faces, counts = faces.rows(slice(len(usable))).rows(usable), end.counts or FaceCounts()
        rule = "centre" if track == "centre" else "still" if counts.frames == 1 else "large"
        weights = face_weights(faces.boxes, timestamps, end.size, rule)
        tracks = link_tracks(faces.tracks, timestamps, weights, features)
        tracklets = len(np.unique(faces.tracks))
        if tracklets > MOST_JOINED:
            detail = f"the {MOST_JOINED} largest were joined to tracks, the others are tracks each"
            faults.append(("not-joined", f"{tracklets} tracklets: {detail}"))
        order = np.lexsort((timestamps, tracks))
        if track != "all":
            order = order[tracks[order] == 0]
        counts = counts._replace(not_finite=sum(lost.values()), other_track=len(tracks) - len(order))
        faces = faces._replace(tracks=tracks).rows(order)
        features, timestamps = features[order], timestamps[order]
    partial = any(kind not in NOTES for kind, _ in faults)
    status = "failed" if not len(features) else "partial" if partial else "ok"
    named = counts._asdict() if counts else {}
    filtered = ", ".join(f"{named[name]} {reason}" for name, reason in FILTERED.items() if named.get(name))
    if counts and counts.frames and not len(features):
        kept = f"none of the {counts.found} faces" if counts.found else "no face"
        faults.append(
            ("no-faces", f"{kept} in {counts.frames} frames{filtered and f' was kept: {filtered}'}")
        )
    elif filtered:
        assert counts is not None
        faults.append(("filtered", f"of {counts.found} faces left out: {filtered}"))
    elif not len(features) and not faults:
        faults.append(("no-frames", "no frame could be read"))
    listed: list[Fault] = [
        {"video": video_id, "stage": "extract", "kind": kind, "detail": printable(detail)}
        for kind, detail in faults
    ]
    return VideoRows(video_id, features, timestamps, status, listed, faces, counts or ())
