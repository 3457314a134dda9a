"""The ranks of iQIYI-VID by identity, as in `vidface.scores.protocols.iqiyi`, to compare and resample systems.

Tested in ``tests/runs/test_compare.py``: the values are those of ``vidface score``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.manifest.identities import as_read
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.ranking import average_precision_at_k, rank_k_hits
from vidface.scores.protocols.protocol import HITS, RANKS, costs
from vidface.scores.scored import refuse_count

__all__ = [
    "CUT_OFF",
    "Wanted",
    "failed_of",
    "hits_of",
    "identity_values",
    "ranks_by_search",
    "ranks_in",
    "wanted_videos",
]

CUT_OFF = 100


class Wanted(NamedTuple):
    """The N gallery videos that somebody should be found in.

    Attributes:
        videos: int64 [N], rows of the manifest, in its order.
        identity: int64 [N], which of ``names``.
        names: the I identities of the gallery, in text order.
        gallery: int64 [G], rows of all gallery videos, distractors among them.
    """

    videos: NDArray[np.int64]
    identity: NDArray[np.int64]
    names: list[str]
    gallery: NDArray[np.int64]


def wanted_videos(manifest: Manifest, gallery_split: str) -> Wanted:
    """The ground truth of the iqiyi protocol; empty if the gallery split has no identity."""
    gallery = np.flatnonzero(np.array(manifest.splits, object) == gallery_split)
    videos = np.array([v for v in gallery.tolist() if manifest.identities[v]], np.int64)
    names = sorted({manifest.identities[v] for v in videos.tolist()})
    number = {name: i for i, name in enumerate(names)}
    identity = np.array([number[manifest.identities[v]] for v in videos.tolist()], np.int64)
    return Wanted(videos, identity, names, gallery)


def ranks_by_search(
    embeddings: NDArray[np.float32], manifest: Manifest, wanted: Wanted, enrolment_split: str
) -> NDArray[np.int64]:
    """The rank of every wanted video in the whole ranking of its identity, also beyond 100: int64 [N].

    It is 0 if it or all enrolment videos of its identity have no usable frame. ``embeddings``: float32 [V, D], unit or
    zero rows, row i for video i of the manifest.

    Raises:
        ValueError: another number of rows than videos, or rows that are neither of unit length nor zero.
    """
    refuse_count(embeddings, manifest)
    from vidface.scores.search.retrieval import gallery_ranks, identity_templates

    ranks = np.zeros(len(wanted.videos), np.int64)
    rows = zip(manifest.splits, manifest.identities, strict=True)
    enrolled = [v for v, (split, name) in enumerate(rows) if split == enrolment_split and name]
    names, templates = identity_templates(embeddings[enrolled], [manifest.identities[v] for v in enrolled])
    template = {name: row for row, name in enumerate(names) if templates[row].any()}
    usable = np.any(embeddings != 0, axis=1)
    searched = wanted.gallery[usable[wanted.gallery]]
    column = {v: c for c, v in enumerate(searched.tolist())}
    asked = [
        (n, template[wanted.names[i]], column[v])
        for n, (v, i) in enumerate(zip(wanted.videos.tolist(), wanted.identity.tolist(), strict=True))
        if v in column and wanted.names[i] in template
    ]
    if asked:
        known, own, places = (list(each) for each in zip(*asked, strict=True))
        ids = [manifest.video_ids[v] for v in searched.tolist()]
        ranks[known] = gallery_ranks(templates, embeddings[searched], ids, own, places)
    return ranks


def ranks_in(rankings: Mapping[str, Sequence[str]], manifest: Manifest, wanted: Wanted) -> NDArray[np.int64]:
    """The rank of every wanted video in given rankings without repeated videos: int64 [N], 0 beyond the first 100."""
    place = {
        (name, video): rank
        for name in wanted.names
        for rank, video in enumerate(list(dict.fromkeys(rankings.get(name, ())))[:CUT_OFF], 1)
    }
    asked = zip(wanted.videos.tolist(), wanted.identity.tolist(), strict=True)
    return np.array([place.get((wanted.names[i], manifest.video_ids[v]), 0) for v, i in asked], np.int64)


def identity_values(ranks: NDArray[np.int64], wanted: Wanted) -> dict[str, NDArray[np.float64]]:
    """AP at 100 and the hits among the first k, float64 [I] each, whose means are mAP@100 and hit@k."""
    return _values(hits_of(ranks, wanted), np.bincount(wanted.identity, minlength=len(wanted.names)))


def _values(hits: NDArray[np.bool_], relevant: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    return {"mAP@100": average_precision_at_k(hits, relevant)} | {
        name: rank_k_hits(hits, k).astype(np.float64) for name, k in zip(HITS, RANKS, strict=True)
    }


def failed_of(
    ranks: NDArray[np.int64], wanted: Wanted, usable: NDArray[np.bool_] | None, ranked: set[str]
) -> dict[str, Any]:
    """What each measure loses by queries and gallery videos that cannot be found; empty if all can.

    ``ranks``: int64 [N]. ``usable``: bool [V], which videos have a usable frame; None: unknown, of a submission.
    ``ranked``: the identities with a ranking, also those that are no query.
    """
    people = len(wanted.names)
    there = wanted.identity if usable is None else wanted.identity[usable[wanted.videos]]
    of_all, found = (np.bincount(each, minlength=people) for each in (wanted.identity, there))
    rest = np.array([name in ranked for name in wanted.names], np.bool_) & (found > 0)
    lost, videos = people - int(rest.sum()), int((of_all - found)[rest].sum())
    if lost:
        failed, of = lost, people
        why = "queries are not ranked"
        if usable is not None:
            why = "queries have no usable enrolment or gallery video and score 0"
        spellings = set(as_read(ranked).values())
        again = sum(text in spellings for text in as_read(set(wanted.names) - ranked).values())
        why += f" ({again:,} of them have a ranking in another spelling)" if again else ""
        why += f", and {videos:,} gallery videos of others are never found" if videos else ""
    else:
        failed, of = videos, len(wanted.videos)
        why = "gallery videos of somebody have no usable frame and are never found"
    values = _values(hits_of(ranks, wanted)[rest], found[rest])
    means = {name: float(np.mean(each)) if len(each) else None for name, each in values.items()}
    return costs(why, failed, of, means)


def hits_of(ranks: NDArray[np.int64], wanted: Wanted) -> NDArray[np.bool_]:
    """Bool [I, 100], whether the video at each rank of an identity's list is one of its own."""
    hits = np.zeros((len(wanted.names), CUT_OFF), bool)
    found = (ranks > 0) & (ranks <= CUT_OFF)
    hits[wanted.identity[found], ranks[found] - 1] = True
    return hits
