"""The frames of chosen videos: what clustering kept and dropped, as in figures 3 and 4 of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.embeddings.embed import embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.features.chunks import over_videos, video_blocks
from vidface.files import store
from vidface.files.store import Embeddings, FeaturesInfo, offsets_of
from vidface.report.run.content import Strip, StripFrame

__all__ = ["Choice", "choose", "cosines_to_plain", "nearest_frame", "strip_of"]

MOST_FRAMES = 96  # of a strip: a longer video is shown by an even sample
SEED = 0

Choice = tuple[int, str, str]  # row of the embeddings file, why, in words


def cosines_to_plain(info: FeaturesInfo, found: Embeddings) -> npt.NDArray[np.float64]:
    """float64 [V]: the cosine of each video's embedding and the plain average of all its frames; NaN if one is zero."""
    parts = over_videos(info, _plain_chunk, None, engine=None, label="plain averages")
    cosines = np.full(len(found.video_ids), np.nan)
    at = 0
    for plain in parts:
        own = found.embeddings[at : at + len(plain)]
        products = np.einsum("ij,ij->i", plain, own, dtype=np.float64)
        usable = plain.any(axis=1) & own.any(axis=1)
        cosines[at : at + len(plain)][usable] = products[usable]
        at += len(plain)
    return cosines


def _plain_chunk(path: Path, offsets: npt.NDArray[np.int64], _: Any) -> npt.NDArray[np.float32]:
    blocks = [embed_videos(block, bounds, None)[0] for block, bounds in video_blocks(path, offsets)]
    return np.concatenate(blocks)


def choose(
    found: Embeddings,
    rows: npt.NDArray[np.int64],
    changed: npt.NDArray[np.float64] | None,
    asked: Sequence[str],
    each: int,
) -> list[Choice]:
    """Which videos are shown: those asked for, the most changed, the most fragmented, and a random sample.

    No video is shown twice; ties go by video id, and the sample does not depend on the order of the file.

    Args:
        found: the embeddings file.
        rows: int64, the rows of it to choose from.
        changed: from `cosines_to_plain`; None where the features are not there.
        asked: ids, all of them among these rows.
        each: videos of every other kind.
    """
    ids = np.array(sorted(rows.tolist(), key=found.video_ids.__getitem__), np.int64)
    places = {found.video_ids[place]: place for place in ids.tolist()}
    choices: list[Choice] = []
    for video in dict.fromkeys(asked):
        choices.append((places[video], "asked for", ""))
    taken = {place for place, _, _ in choices}
    if changed is not None:
        values = changed[ids]
        moved = ids[np.argsort(values, kind="stable")]
        moved = moved[changed[moved] < 1 - 1e-6][: each + len(taken)].tolist()
        for place in [place for place in moved if place not in taken][:each]:
            words = (
                f"cosine {changed[place]:.3f} between the plain average of all its frames and its embedding"
            )
            choices.append((place, "most changed", words))
    taken = {place for place, _, _ in choices}
    clusters = _clusters(found)
    frames, kept = found.frames[ids], found.kept[ids]
    order = ids[np.lexsort((kept / np.maximum(frames, 1), -clusters[ids]))]
    split = order[clusters[order] > 1][: each + len(taken)].tolist()
    for place in [place for place in split if place not in taken][:each]:
        choices.append((place, "most fragmented", ""))  # a strip says its clusters itself
    taken = {place for place, _, _ in choices}
    others = [place for place in ids[frames > 0].tolist() if place not in taken]
    drawn = np.random.default_rng(SEED).permutation(len(others))[:each].tolist()
    return choices + [(others[number], "random", "") for number in sorted(drawn)]


def strip_of(choice: Choice, found: Embeddings, info: FeaturesInfo | None, identity: str) -> Strip:
    """The frames of one video in the order of time, where faces were tracked track by track; without pictures."""
    place, why, words = choice
    start, stop = offsets_of(found.frames)[place : place + 2].tolist()
    labels, kept = found.labels[start:stop], found.kept_frames(start, stop)
    rows = np.arange(len(labels))
    times = cosines = tracks = None
    if info is not None:
        times = store.read_timestamps(info.path, start, stop)
        faces = store.read_faces(info.path, start, stop)
        tracks = None if faces is None else faces.tracks
        rows = np.lexsort((times,) if tracks is None else (times, tracks))
        embedding = found.embeddings[place]
        unit = normalise_rows(store.read_rows(info.path, start, stop))
        if embedding.any():
            products = np.einsum("ij,j->i", unit, embedding, dtype=np.float64)
            cosines = np.where(unit.any(axis=1), products, np.nan)
    if len(rows) > MOST_FRAMES:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_FRAMES).round().astype(np.int64)]
    frames = [
        StripFrame(
            row,
            None if times is None else float(times[row]),
            int(labels[row]),
            None if cosines is None or np.isnan(cosines[row]) else float(cosines[row]),
            bool(kept[row]),
            None,
            None if tracks is None else int(tracks[row]),
        )
        for row in rows.tolist()
    ]
    return Strip(
        found.video_ids[place],
        identity,
        why,
        words,
        frames,
        len(labels),
        int(np.count_nonzero(kept)),
        len(np.unique(labels)),
    )


def nearest_frame(place: int, found: Embeddings, info: FeaturesInfo) -> int | None:
    """The kept frame that is nearest to the video's embedding, the earlier of equals; None where nothing is kept."""
    start, stop = offsets_of(found.frames)[place : place + 2].tolist()
    kept = np.flatnonzero(found.kept_frames(start, stop))
    if not len(kept):
        return None
    unit = normalise_rows(store.read_rows(info.path, start, stop))
    products = np.einsum("ij,j->i", unit, found.embeddings[place], dtype=np.float64)
    return int(kept[np.argmax(products[kept])])


def _clusters(found: Embeddings) -> npt.NDArray[np.int64]:
    """int64 [V]: the highest label of every video and one; labels have no gaps."""
    clusters = np.zeros(len(found.frames), np.int64)
    filled = np.flatnonzero(found.frames)
    if len(filled):
        clusters[filled] = np.maximum.reduceat(found.labels, offsets_of(found.frames)[filled]) + 1
    return clusters
