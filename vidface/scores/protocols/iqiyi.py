"""iQIYI-VID: every identity's template is searched against the gallery; mAP@100 with the full denominator.

A template is the L2-normalised mean of the embeddings of the identity's enrolment videos. The ground truth is the
identities of the gallery split; a gallery video without identity is a distractor and stays in the gallery.

Several systems are compared by the same definitions, kept apart by identity so that they can be drawn again. Tested in
``tests/runs/test_compare.py``: the values are those of ``vidface score``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vidface.errors import ManifestError
from vidface.manifest.manifest import Manifest
from vidface.scores.metrics.bootstrap import bootstrap_mean
from vidface.scores.metrics.ranking import average_precision_at_k, rank_k_hits
from vidface.scores.options import ScoreOptions
from vidface.scores.protocols import challenges
from vidface.scores.protocols.lfrc import TARGETS
from vidface.scores.protocols.protocol import HITS, RANKS, Protocol, Result
from vidface.scores.scored import Scored, merge_numbers, refuse_count

CUT_OFF = 100
DEFINITION = (
    "AP = sum over hits at rank k <= 100 of (hits up to k) / k, divided by ALL gallery videos of the identity; "
    "mAP = mean over the identities of the gallery; hit@k = share of them with any of their videos among the first k "
    "(rank-k of openset counts every video as a search of its own)"
)


def rank_gallery(
    embeddings: NDArray[np.float32],
    manifest: Manifest,
    *,
    enrolment_split: str = "train",
    gallery_split: str = "val",
) -> dict[str, list[str]]:
    """Rank the gallery videos for every enrolled identity.

    A video with a zero embedding (no usable frame) is never ranked, and an identity whose enrolment videos are all
    zero gets an empty list.

    Args:
        embeddings: float32 [V, D], L2-normalised or zero, row i for video i of the manifest.
        manifest: who is in which video, and in which split.
        enrolment_split: videos that the templates are made of.
        gallery_split: videos that are searched.

    Returns:
        For every identity of the enrolment split, in text order, at most 100 video ids, best first; ties by id.

    Raises:
        ManifestError: a split is empty, or nobody is enrolled.
        ValueError: another number of rows than videos, or rows that are neither of unit length nor zero.
    """
    refuse_count(embeddings, manifest)
    from vidface.scores.search.retrieval import identity_templates, search

    usable = np.any(embeddings != 0, axis=1)
    splits = np.array(manifest.splits, object)  # else each takes the room of the longest
    enrolled = [i for i in np.flatnonzero(splits == enrolment_split).tolist() if manifest.identities[i]]
    gallery = np.flatnonzero(splits == gallery_split)
    if not enrolled:
        raise ManifestError(
            f"{manifest.path}: no video with an identity in the enrolment split '{enrolment_split}'; "
            f"splits here: {_listed(manifest.splits)}"
        )
    if not len(gallery):
        raise ManifestError(
            f"{manifest.path}: no video in the gallery split '{gallery_split}'; "
            f"splits here: {_listed(manifest.splits)}"
        )
    searched = gallery[usable[gallery]].tolist()
    names, templates = identity_templates(embeddings[enrolled], [manifest.identities[i] for i in enrolled])
    rankings: dict[str, list[str]] = {name: [] for name in names}
    known = np.flatnonzero(np.any(templates != 0, axis=1))
    if len(known) and searched:
        ids = [manifest.video_ids[i] for i in searched]
        _, found = search(templates[known], embeddings[searched], ids, CUT_OFF)
        for row, columns in zip(known.tolist(), found.tolist(), strict=True):
            rankings[names[row]] = [ids[column] for column in columns]
    return rankings


def score_rankings(
    rankings: Mapping[str, Sequence[str]],
    manifest: Manifest,
    *,
    enrolment_split: str = "train",
    gallery_split: str = "val",
) -> dict[str, Any]:
    """Score rankings, from memory or from a submission file, against the manifest's gallery.

    For each identity repeated videos are dropped (the first stays) and at most 100 count; an identity of the gallery
    that is not ranked scores 0.

    Args:
        rankings: identity -> video ids, best first.
        manifest: the ground truth.
        enrolment_split: only counted.
        gallery_split: the split whose identities are the ground truth.

    Returns:
        ``mAP@100``, ``hit@1``, ``hit@5``, ``hit@10``; ``ci95`` with the 95 % intervals of the same names; ``counts``;
        ``warnings``; ``per_identity``, identity -> AP.

    Raises:
        ManifestError: no identity has a gallery video.
    """
    gallery, truth, hits = ranked_hits(rankings, manifest, gallery_split=gallery_split)
    relevant_videos = Counter(identity for identity in gallery.values() if identity)
    values = {
        "mAP@100": average_precision_at_k(hits, np.array([relevant_videos[name] for name in truth])),
        **hit_values(hits),
    }
    enrolled = {
        identity
        for identity, split in zip(manifest.identities, manifest.splits, strict=True)
        if identity and split == enrolment_split
    }
    missing = [name for name in truth if not rankings.get(name)]
    warnings = []
    if missing:
        warnings.append(
            f"{len(missing)} of {len(truth)} identities of the gallery are not ranked and score 0 "
            f"(no usable enrolment video, or missing from the submission): {_some(missing)}"
        )
    return {
        **{name: float(np.mean(value)) for name, value in values.items()},
        "ci95": {name: list(bootstrap_mean(value)) for name, value in values.items()},
        "counts": {
            "identities": len(truth),
            "identities_not_ranked": len(missing),
            "identities_without_gallery": len(enrolled - set(truth)),
            "enrolment_videos": sum(
                split == enrolment_split and identity != ""
                for identity, split in zip(manifest.identities, manifest.splits, strict=True)
            ),
            "gallery_videos": len(gallery),
            "distractors": sum(identity == "" for identity in gallery.values()),
        },
        "warnings": warnings,
        "per_identity": dict(zip(truth, values["mAP@100"].tolist(), strict=True)),
    }


def ranked_hits(
    rankings: Mapping[str, Sequence[str]], manifest: Manifest, *, gallery_split: str = "val"
) -> tuple[dict[str, str], list[str], NDArray[np.bool_]]:
    """Which answers are right.

    Args:
        rankings: identity -> video ids, best first.
        manifest: the ground truth.
        gallery_split: the split whose identities are the ground truth.

    Returns:
        (gallery, identities, hits): gallery video id -> identity; the I identities of the gallery in text order; bool
        [I, 100], whether the video at each rank of an identity's list, repeated ones dropped, is one of its own.

    Raises:
        ManifestError: no identity has a gallery video.
    """
    gallery = {
        video: identity
        for video, identity, split in zip(
            manifest.video_ids, manifest.identities, manifest.splits, strict=True
        )
        if split == gallery_split
    }
    truth = sorted(set(gallery.values()) - {""})
    if not truth:
        raise ManifestError(
            f"{manifest.path}: no video with an identity in the gallery split '{gallery_split}'; "
            f"splits here: {_listed(manifest.splits)}"
        )
    hits = np.zeros((len(truth), CUT_OFF), bool)
    for row, identity in enumerate(truth):
        ranked = list(dict.fromkeys(rankings.get(identity, ())))[:CUT_OFF]
        hits[row, : len(ranked)] = [gallery.get(video) == identity for video in ranked]
    return gallery, truth, hits


def hit_values(hits: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    """1 for every identity with a hit among the first k, else 0, float64 [I], for every name of `HITS`."""
    return {name: rank_k_hits(hits, k).astype(np.float64) for name, k in zip(HITS, RANKS, strict=True)}


def _listed(splits: Sequence[str]) -> str:
    return ", ".join(f"'{split}' ({n})" for split, n in Counter(splits).most_common(5)) or "none"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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
    from vidface.scores.search.ranks import gallery_ranks
    from vidface.scores.search.retrieval import identity_templates

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
    """AP at 100 and the hits among the first k, float64 [I] each, whose means are mAP@100 and `HITS`."""
    hits = np.zeros((len(wanted.names), CUT_OFF), bool)
    found = (ranks > 0) & (ranks <= CUT_OFF)
    hits[wanted.identity[found], ranks[found] - 1] = True
    return {
        "mAP@100": average_precision_at_k(hits, np.bincount(wanted.identity, minlength=len(wanted.names))),
        **hit_values(hits),
    }


def add(result: dict[str, Any], scored: Scored, manifest: Manifest, options: ScoreOptions) -> None:
    """Add the numbers of a ranking, or of embeddings that are ranked here, to an object of `challenges.begin`.

    Raises:
        ManifestError: a split is empty, or nobody is enrolled or in the gallery.
    """
    splits = {"enrolment_split": options.enrolment_split, "gallery_split": options.gallery_split}
    rankings = scored.rankings
    if rankings is None and scored.embeddings is not None:
        rankings = rank_gallery(scored.embeddings, manifest, **splits)
    merge_numbers(result, score_rankings(rankings or {}, manifest, **splits))
    result["definitions"] |= {
        "iqiyi": DEFINITION,
        "splits": f"{options.enrolment_split} -> {options.gallery_split}",
    }


def _score(scored: Scored, manifest: Manifest, options: ScoreOptions) -> Result:
    result = challenges.begin(scored, options)
    add(result, scored, manifest, options)
    return challenges.finish(result, scored, manifest)


# It has no targets of its own; those of lfrc stand in the record of what a recipe's files were made from.
PROTOCOLS = (
    Protocol("iqiyi", _score, challenges.lines, challenges.measures, TARGETS, figures=("rankings",)),
)
