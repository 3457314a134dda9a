"""The ranks of iQIYI-VID kept apart by identity, so that several systems are compared and can be drawn again.

The definitions are those of `vidface.scores.protocols.iqiyi`. Tested in ``tests/runs/test_compare.py``: the values are
those of ``vidface score``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.ranking import average_precision_at_k
from vidface.scores.protocols.iqiyi import CUT_OFF, failed_queries, hit_values
from vidface.scores.scored import refuse_count

__all__ = ["Wanted", "failed_of", "identity_values", "ranks_by_search", "ranks_in", "wanted_videos"]


class Wanted(NamedTuple):
    """The gallery videos that somebody should be found in.

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
    """The ground truth of the iqiyi protocol; empty where the gallery split has no identity."""
    gallery = np.flatnonzero(np.array(manifest.splits, object) == gallery_split)
    videos = np.array([v for v in gallery.tolist() if manifest.identities[v]], np.int64)
    names = sorted({manifest.identities[v] for v in videos.tolist()})
    number = {name: i for i, name in enumerate(names)}
    identity = np.array([number[manifest.identities[v]] for v in videos.tolist()], np.int64)
    return Wanted(videos, identity, names, gallery)


def ranks_by_search(
    embeddings: NDArray[np.float32], manifest: Manifest, wanted: Wanted, enrolment_split: str
) -> NDArray[np.int64]:
    """The rank of every wanted video in the whole ranking of its identity, also beyond 100.

    Args:
        embeddings: float32 [V, D], unit or zero rows, row i for video i of the manifest.
        manifest: who is in which video.
        wanted: from `wanted_videos`.
        enrolment_split: the videos that templates are made of.

    Returns:
        int64 [N]; 0 where a video is never ranked: it, or all enrolment videos of its identity, have no usable frame.

    Raises:
        ValueError: as `rank_gallery`.
    """
    refuse_count(embeddings, manifest)
    from vidface.scores.search.retrieval import gallery_ranks, identity_templates

    ranks = np.zeros(len(wanted.videos), np.int64)
    usable = np.any(embeddings != 0, axis=1)
    enrolled = [
        v
        for v, (split, name) in enumerate(zip(manifest.splits, manifest.identities, strict=True))
        if split == enrolment_split and name
    ]
    names, templates = identity_templates(embeddings[enrolled], [manifest.identities[v] for v in enrolled])
    has_template = {name for name, row in zip(names, templates, strict=True) if row.any()}
    template = {name: row for row, name in enumerate(names)}
    searched = wanted.gallery[usable[wanted.gallery]]
    column = {v: c for c, v in enumerate(searched.tolist())}
    known = [
        n
        for n, (v, i) in enumerate(zip(wanted.videos.tolist(), wanted.identity.tolist(), strict=True))
        if usable[v] and wanted.names[i] in has_template
    ]
    if known:
        ranks[known] = gallery_ranks(
            templates,
            embeddings[searched],
            [manifest.video_ids[v] for v in searched.tolist()],
            [template[wanted.names[wanted.identity[n]]] for n in known],
            [column[int(wanted.videos[n])] for n in known],
        )
    return ranks


def ranks_in(rankings: Mapping[str, Sequence[str]], manifest: Manifest, wanted: Wanted) -> NDArray[np.int64]:
    """The rank of every wanted video in rankings that are given: int64 [N], 0 where it is not among the first 100.

    Repeated videos are dropped (the first stays) before ranks are counted, as `score_rankings` does.
    """
    place = {
        (name, video): rank
        for name in wanted.names
        for rank, video in enumerate(list(dict.fromkeys(rankings.get(name, ())))[:CUT_OFF], 1)
    }
    asked = zip(wanted.videos.tolist(), wanted.identity.tolist(), strict=True)
    return np.array([place.get((wanted.names[i], manifest.video_ids[v]), 0) for v, i in asked], np.int64)


def identity_values(ranks: NDArray[np.int64], wanted: Wanted) -> dict[str, NDArray[np.float64]]:
    """AP at 100 and the hits among the first k, float64 [I] each, whose means are mAP@100 and hit@k."""
    hits = _hits(ranks, wanted)
    return {
        "mAP@100": average_precision_at_k(hits, np.bincount(wanted.identity, minlength=len(wanted.names))),
        **hit_values(hits),
    }


def failed_of(
    ranks: NDArray[np.int64], wanted: Wanted, usable: NDArray[np.bool_] | None, ranked: set[str]
) -> dict[str, Any]:
    """What each measure loses by queries and videos that cannot be found, as `vidface.scores.protocols.iqiyi` says it.

    Args:
        ranks: int64 [N].
        wanted: from `wanted_videos`.
        usable: bool [V], which videos have a usable frame; None: that is not known.
        ranked: the identities that have a ranking.
    """
    there = wanted.identity if usable is None else wanted.identity[usable[wanted.videos]]
    videos, found = (dict(Counter(wanted.names[i] for i in of.tolist())) for of in (wanted.identity, there))
    searched = usable is not None
    return failed_queries(_hits(ranks, wanted), wanted.names, videos, found, ranked, searched=searched)


def _hits(ranks: NDArray[np.int64], wanted: Wanted) -> NDArray[np.bool_]:
    """Bool [I, 100], whether the video at each rank of an identity's list is one of its own."""
    hits = np.zeros((len(wanted.names), CUT_OFF), bool)
    found = (ranks > 0) & (ranks <= CUT_OFF)
    hits[wanted.identity[found], ranks[found] - 1] = True
    return hits
