"""Blocks of faces -> rows of features: batches are filled across the videos of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.backbones import Backbone
from vidface.engines.contract import Embed
from vidface.engines.reading import Block, Message, VideoEnd
from vidface.errors import printable
from vidface.frames.frame import Pixels
from vidface.store import Fault, VideoRows


def face_embedder(backbone: Backbone, *, flip: bool) -> Embed:
    """The function from faces to features: with ``flip`` the sum of a face's and its mirrored face's, unnormalised."""

    def embed(pixels: Pixels) -> npt.NDArray[np.float32]:
        features = backbone.embed(pixels)
        return features + backbone.embed(pixels[:, :, ::-1]) if flip else features

    return embed


def embed_run(
    video_ids: Sequence[str],
    messages: Iterator[Message],
    embed: Embed,
    *,
    dimension: int,
    dtype: str,
    batch_size: int,
    advance: Callable[[int], None],
) -> list[VideoRows]:
    """The features of a run of videos, from their messages in order.

    Memory holds one batch, and the features of the run.
    """
    features = [np.empty((0, dimension), dtype)]
    times: list[list[float]] = []
    ends: list[VideoEnd] = []
    batch: Pixels | None = None
    filled = 0
    for _ in video_ids:
        times.append([])
        while isinstance(message := next(messages), Block):
            times[-1] += message.times
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
    bounds = np.cumsum([0, *(len(seconds) for seconds in times)])
    rows = np.concatenate(features)
    return [
        _video_rows(video_id, rows[bounds[i] : bounds[i + 1]], np.array(times[i], np.float32), ends[i])
        for i, video_id in enumerate(video_ids)
    ]


def _stored(features: npt.NDArray[np.float32], dtype: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # beyond float16: becomes infinite here, and a fault below
        return features.astype(dtype)


def _video_rows(
    video_id: str, features: npt.NDArray[Any], timestamps: npt.NDArray[np.float32], end: VideoEnd
) -> VideoRows:
    """Drop what the network could not embed and what a lost decoder had handed out, and say so."""
    faults = end.faults
    if end.lost:
        features, timestamps = features[:0], timestamps[:0]
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        detail = (
            f"{np.count_nonzero(~finite)} of {len(finite)} frames gave NaN or infinite features: left out"
        )
        faults = [*faults, ("not-finite", detail)]
    if not finite.any() and not faults:
        faults = [("no-frames", "no frame could be read")]
    status = "failed" if not finite.any() else "partial" if faults else "ok"
    listed: list[Fault] = [
        {"video": video_id, "stage": "extract", "kind": kind, "detail": printable(detail)}
        for kind, detail in faults
    ]
    return VideoRows(video_id, features[finite], timestamps[finite], status, listed)
