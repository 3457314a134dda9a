"""The videos and people that a report shows: what clustering kept and dropped, who is found worst, small pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidface.embeddings.embed import embed_videos
from vidface.embeddings.exact import normalise_rows
from vidface.features.chunks import over_blocks, over_videos
from vidface.files import store
from vidface.files.store import Embeddings, FeaturesInfo, offsets_of
from vidface.frames.frame import Pixels
from vidface.manifest.manifest import Manifest
from vidface.report.run.content import Confused, Ranked, Strip, StripFrame
from vidface.report.video.pictures import open_pictures, spread
from vidface.runs.opened import Run
from vidface.runtime import cpu_count, map_ordered, progress
from vidface.scores.protocols.iqiyi import CUT_OFF
from vidface.scores.search.retrieval import identity_templates

MOST_FRAMES = 96  # of a strip: a longer video is shown by an even sample
LEAST, MOST = 10, 24  # answers of a ranking that are listed
SIZE = 64  # pixels on a side: some 2 kB each
SEED = 0

Choice = tuple[int, str, str]  # row of the embeddings file, why, in words


def cosines_to_plain(info: FeaturesInfo, found: Embeddings) -> npt.NDArray[np.float64]:
    """float64 [V]: the cosine of each video's embedding and the plain average of all its frames; NaN if one is zero."""
    cosines = np.full(len(found.video_ids), np.nan)
    at = 0
    for plain in over_videos(info, _plain_chunk, None, engine=None, label="plain averages"):
        own = found.embeddings[at : at + len(plain)]
        usable = plain.any(axis=1) & own.any(axis=1)
        products = np.einsum("ij,ij->i", plain, own, dtype=np.float64)
        cosines[at : at + len(plain)] = np.where(usable, products, np.nan)
        at += len(plain)
    return cosines


def _plain_chunk(path: Path, offsets: npt.NDArray[np.int64], _: Any) -> npt.NDArray[np.float32]:
    blocks = over_blocks(path, offsets, lambda block, bounds: embed_videos(block, bounds, None)[0])
    return np.concatenate(blocks)


def choose(
    found: Embeddings,
    rows: npt.NDArray[np.int64],
    changed: npt.NDArray[np.float64] | None,
    asked: Sequence[str],
    each: int,
) -> list[Choice]:
    """Up to ``each`` of the videos ``rows`` of a kind: those asked for, most changed, most fragmented, a random sample.

    No video is shown twice; ties go by video id, and the sample does not depend on the order of the file.
    """
    ids = np.array(sorted(rows.tolist(), key=found.video_ids.__getitem__), np.int64)
    places = {found.video_ids[place]: place for place in ids.tolist()}
    choices: dict[int, Choice] = {places[video]: (places[video], "asked for", "") for video in asked}

    def others(candidates: npt.NDArray[np.int64]) -> list[int]:
        return [place for place in candidates.tolist() if place not in choices]

    if changed is not None:
        moved = ids[np.argsort(changed[ids], kind="stable")]
        for place in others(moved[changed[moved] < 1 - 1e-6])[:each]:
            words = "between the plain average of all its frames and its embedding"
            choices[place] = (place, "most changed", f"cosine {changed[place]:.3f} {words}")
    clusters = _clusters(found)
    share_kept = found.kept[ids] / np.maximum(found.frames[ids], 1)
    order = ids[np.lexsort((share_kept, -clusters[ids]))]
    for place in others(order[clusters[order] > 1])[:each]:
        choices[place] = (place, "most fragmented", "")  # a strip says its clusters itself
    rest = others(ids[found.frames[ids] > 0])
    for number in sorted(np.random.default_rng(SEED).permutation(len(rest))[:each].tolist()):
        choices[rest[number]] = (rest[number], "random", "")
    return list(choices.values())


def strip_of(choice: Choice, found: Embeddings, info: FeaturesInfo | None, identity: str) -> Strip:
    """The frames of one video in the order of time, track by track if faces were tracked; without pictures."""
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
    frames = [
        StripFrame(
            row=row,
            seconds=None if times is None else float(times[row]),
            label=int(labels[row]),
            cosine=None if cosines is None or np.isnan(cosines[row]) else float(cosines[row]),
            kept=bool(kept[row]),
            picture=None,
            track=None if tracks is None else int(tracks[row]),
        )
        for row in spread(rows, MOST_FRAMES).tolist()
    ]
    clusters = len(np.unique(labels))
    return Strip(found.video_ids[place], identity, why, words, frames, len(labels), int(kept.sum()), clusters)


def nearest_frame(place: int, found: Embeddings, info: FeaturesInfo) -> int | None:
    """The kept frame that is nearest to the video's embedding, the earlier of equals; None if nothing is kept."""
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


def confused_people(
    run: Run,
    embeddings: npt.NDArray[np.float32],
    rankings: Mapping[str, Sequence[str]],
    per_identity: Mapping[str, float],
    count: int,
) -> list[Confused]:
    """At most ``count`` identities with the lowest AP below 1, ties by name; ``embeddings`` in the manifest's order.

    The first answers of each ranking are listed, up to the last right one, but at least 10 and at most 24.
    """
    manifest, options = run.manifest, run.options
    worst = sorted((ap, name) for name, ap in per_identity.items() if ap < 1)[:count]
    enrolled: dict[str, list[int]] = {name: [] for _, name in worst}
    gallery: dict[str, list[str]] = {name: [] for _, name in worst}
    for place, (identity, split) in enumerate(zip(manifest.identities, manifest.splits, strict=True)):
        if identity in enrolled and split == options.enrolment_split:
            enrolled[identity].append(place)
        if identity in gallery and split == options.gallery_split:
            gallery[identity].append(manifest.video_ids[place])
    shown = {video for _, name in worst for video in rankings.get(name, ())}
    places = {video: place for place, video in enumerate(manifest.video_ids) if video in shown}
    people = []
    for ap, name in worst:
        ranking = list(dict.fromkeys(rankings.get(name, ())))[:CUT_OFF]
        right = [manifest.identities[places[video]] == name for video in ranking]
        last = max((rank for rank, relevant in enumerate(right, 1) if relevant), default=0)
        _, templates = identity_templates(embeddings[enrolled[name]], [name] * len(enrolled[name]))
        template = templates[0].astype(np.float64) if len(templates) else np.zeros(embeddings.shape[1])
        ranked = []
        for rank, video in enumerate(ranking[: min(max(LEAST, last), MOST)], 1):
            place = places[video]
            cosine = float(embeddings[place].astype(np.float64) @ template)
            ranked.append(Ranked(rank, video, manifest.identities[place], cosine, right[rank - 1], None))
        missed = sorted(set(gallery[name]) - set(ranking))
        counts = len(enrolled[name]), len(gallery[name]), sum(right)
        people.append(Confused(name, ap, *counts, ranked, missed, None))
    return people


def read_thumbnails(
    manifest: Manifest, info: FeaturesInfo, wanted: Mapping[int, set[int]]
) -> tuple[dict[tuple[int, int], Pixels], dict[str, str]]:
    """Pictures by (place in the features file, row in the video), and by id why some are missing; each video once."""
    found: dict[tuple[int, int], Pixels] = {}
    row_of = {video: row for row, video in enumerate(manifest.video_ids)}
    # Of a set whose videos are elsewhere, no process need be asked.
    gone = {place for place in wanted if not manifest.video_path(row_of[info.video_ids[place]]).exists()}
    absent = {info.video_ids[place]: "no such file or folder" for place in gone}
    there = [(place, sorted(rows)) for place, rows in wanted.items() if place not in gone]
    with open_pictures(manifest, info) as pictures:

        def read(place: int, rows: list[int]) -> list[Pixels | None]:
            return pictures.thumbnails(place, rows, SIZE)

        with (
            closing(map_ordered(read, there, workers=cpu_count())) as all_shown,
            progress("pictures", len(there), "videos") as advance,
        ):
            for (place, rows), shown in zip(there, all_shown, strict=True):
                for row, picture in zip(rows, shown, strict=True):
                    if picture is not None:
                        found[place, row] = picture
                advance(1)
        return found, dict(sorted((absent | pictures.missing).items()))
